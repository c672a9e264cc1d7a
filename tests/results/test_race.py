"""Tables of MAR against passes, and over the proven minimum, from rows whose numbers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from da.ranking import prefix_shares
from results.artefacts.evaluation import by_configuration
from results.artefacts.parts import Run
from results.artefacts.race import optimality, race, spent

SHARES = prefix_shares()


def run(out, methods: dict[str, dict[str, list[float]]], seeds: int = 1) -> Run:
    """Of each method its numbers by metric, a list over images, under several seeds one list after the other."""
    common = {"dataset": "d", "model": "m", "engine": "torch", "config": {"benchmark": {"mar": {}}}, "parameters": {}}
    records, rows = [], []
    for method, numbers in methods.items():
        for seed in range(seeds):
            job = f"{method}{seed}"
            records.append({**common, "method": method, "seed": seed, "job": job})
            for metric, values in numbers.items():
                n = len(values) // seeds
                for i, value in enumerate(values[seed * n : (seed + 1) * n]):
                    rows.append({"job": job, "method": method, "seed": seed, "metric": metric, "value": value, "image": f"{i}"})
    frame = pd.DataFrame(rows).assign(digest=lambda of: of["image"], status="ok", x=np.nan)
    return Run(out, frame, records, {})


def test_a_maps_passes_have_the_shares_that_were_tried_and_a_regions_have_not(tmp_path):
    of = run(
        tmp_path,
        {
            "da_minimal": {"mar": [0.1, 0.2], "mar_first": [0.3, 0.4], "queries": [500.0, 100.0]},
            "gradcam": {"mar_first": [SHARES[0], SHARES[9]], "queries": [1.0, 1.0], "backwards": [1.0, 1.0]},
            "random": {"mar_first": [1.0, SHARES[30]], "queries": [0.0, 0.0]},
        },
    )
    found = {one.name: spent(one) for one in by_configuration(of)}
    region, cam, random = found["da_minimal"], found["gradcam"], found["random"]
    assert region["mar"].tolist() == [0.1, 0.2]
    assert region["passes"].tolist() == [500, 100]
    assert cam["passes"].tolist() == [2 + 1, 2 + 10]
    assert random["passes"].tolist() == [31, 31]  # of the whole image nothing is asked
    assert random["mar"].tolist() == [1.0, SHARES[30]]


def test_an_image_has_the_mean_of_its_seeds_passes_not_those_of_its_mean_share(tmp_path):
    of = run(tmp_path, {"rise": {"mar_first": [SHARES[0], SHARES[10]], "queries": [100.0, 100.0]}}, seeds=2)
    found = spent(by_configuration(of)[0])
    assert found["passes"].tolist() == [100 + (1 + 11) / 2]
    assert found["mar"].tolist() == [pytest.approx((SHARES[0] + SHARES[10]) / 2)]


def test_where_passes_are_not_known_the_table_says_so_and_loses_no_image(tmp_path):
    n = 12
    of = run(
        tmp_path,
        {
            "da_minimal": {"mar": [0.1] * n, "mar_first": [0.1] * n, "queries": [100.0] * n},
            "precomputed": {"mar": [0.2, *[np.nan] * (n - 1)], "mar_first": [SHARES[20]] * n, "queries": [50.0] * (n - 1) + [np.nan]},
            "gradcam": {"mar_first": [SHARES[20]] * n, "queries": [1.0] * n},
        },
    )
    assert all(path.exists() for path in race(of))
    table = pd.read_csv(tmp_path / "race.csv").set_index("configuration")
    assert table["images"].tolist() == [n] * 3
    assert table.loc["precomputed", "mar"].startswith(f"{(0.2 + 11 * SHARES[20]) / n:.3f}")
    assert np.isnan(table.loc["precomputed", "passes"])
    assert table.loc["gradcam", "passes"] == 22
    (tested,) = pd.read_csv(tmp_path / "race_tests.csv").to_dict("records")
    assert {tested["A"], tested["B"]} == {"gradcam", "da_minimal"}


def test_a_method_is_compared_with_one_that_could_spend_no_more(tmp_path):
    n = 12
    passes = {"da_minimal": (98, 2), "larger": (484, 16), "da_reduce": (470, 30), "few": (30, 0), "between": (300, 0)}
    numbers = {
        name: {
            "mar": [0.1 + i / 100 for i in range(n)],
            "mar_first": [1.0] * n,
            "queries": [mean + rest, *[mean - rest / (n - 1)] * (n - 1)],
        }
        for name, (mean, rest) in passes.items()
    }
    of = run(tmp_path, {name: {key: [float(value) for value in values] for key, values in of.items()} for name, of in numbers.items()})
    for record in of.records:
        if record["method"] in ("da_minimal", "larger"):
            record["parameters"] = {"budget": 100 if record["method"] == "da_minimal" else 500}
            record["method"] = "da_minimal"
    list(race(of))
    tested = {line["A"]: line["B"] for line in pd.read_csv(tmp_path / "race_tests.csv").to_dict("records")}
    assert tested == {
        "da_reduce": "da_minimal budget=500",  # 470 on average, but 500 of an image, as that one
        "few": "da_minimal budget=100",  # the one that took fewest
        "between": "da_minimal budget=100",
    }


def test_over_the_proven_minimum_only_images_of_the_same_partition_count(tmp_path):
    of = run(
        tmp_path,
        {
            "exact": {
                "mar": [0.1, 0.2, 0.3, 0.0],
                "mar_first": [1.0] * 4,
                "queries": [9.0] * 4,
                "proven": [1.0, 1.0, 0.0, 1.0],
                "mar_lower": [0.1, 0.2, 0.15, 0.0],
                "superpixels": [16.0] * 4,
            },
            "da_minimal": {"mar": [0.1, 0.3, 0.3, 0.0], "mar_first": [1.0] * 4, "queries": [9.0] * 4, "superpixels": [16.0] * 4},
            "greedy": {"mar": [0.2, 0.1, 0.6, 0.0], "mar_first": [1.0] * 4, "queries": [9.0] * 4, "parts": [16.0, 15.0, 16.0, 16.0]},
        },
    )
    assert all(path.exists() for path in optimality(of))
    table = pd.read_csv(tmp_path / "optimality.csv").set_index("method")
    assert table["proven"].to_dict() == {"exact": 2, "da_minimal": 2, "greedy": 1}  # a vacuous image has no ratio
    assert table["ratio"].str.split().str[0].to_dict() == {"exact": "1.00", "da_minimal": "1.25", "greedy": "2.00"}
    assert table["largest"].to_dict() == {"exact": 1, "da_minimal": 1.5, "greedy": 2}
    assert table["minimum reached"].to_dict() == {"exact": "100 %", "da_minimal": "50 %", "greedy": "0 %"}
    assert table["of lower bound"].str.split().str[0].to_dict() == {"exact": "1.33", "da_minimal": "1.50", "greedy": "3.00"}


def test_without_a_proof_there_is_nothing_to_compare_with(tmp_path):
    of = run(tmp_path, {"da_minimal": {"mar": [0.1], "mar_first": [0.1], "queries": [100.0]}})
    with pytest.raises(ValueError, match="no job of method=exact"):
        list(optimality(of))
