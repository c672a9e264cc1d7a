"""The efficient randomisation test, on a run as ``experiment=sanity`` leaves it: a learned network, and the same with random weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.engines.engine import torch_engine
from results.artefacts.likeness import discrete_entropy
from results.artefacts.parts import Run
from results.artefacts.randomisation import randomisation
from tests.benchmarks.test_job import job, planted

__all__ = ["planted"]

RANDOMISED = {"net": None, "net randomised 0 to 1": [0, 1], "net randomised 0.5 to 1": [0.5, 1]}


def rough(model, images, targets, *, rngs, levels=4):
    """A map of some levels, of which each image and seed has its own draw."""
    return torch.from_numpy(np.stack([rng.integers(0, levels, images.shape[2:]) for rng in rngs])).float()


def run_of(tmp_path, planted, levels, seeds=(0,)):
    """Jobs under each network whose maps have more levels under random weights, and the records that they leave."""
    images, model, _ = planted
    records, rows = [], []
    for seed in seeds:
        for name, layers in RANDOMISED.items():
            named = replace(model, name=name)
            method = partial(rough, levels=levels[name])
            a_job = job(tmp_path / name, images, named, torch_engine(named, batch=4, device="cpu"), method=method, benchmarks={}, seed=seed)
            a_job.run()
            record = {"job": f"{name} {seed}", "method": "rough", "model": name, "dataset": "set", "engine": "torch", "seed": seed}
            record |= {"parameters": {}, "config": {"model": {"name": "net", "randomise": layers}}, "keys": a_job.keys}
            records.append(record | {"store": str(tmp_path / name), "images": [(*image, 1) for image in a_job.contents]})
            rows.append(a_job.rows("attribution").assign(**{key: record[key] for key in ("job", "method", "model", "seed")}))
    return Run(tmp_path, pd.concat(rows, ignore_index=True), records, {})


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_the_rise_of_entropy_is_that_of_the_maps_and_seeds_are_no_images(tmp_path, planted, seeds):
    levels = {"net": 4, "net randomised 0 to 1": 16, "net randomised 0.5 to 1": 2}
    assert "randomisation.csv" in [path.name for path in randomisation(run_of(tmp_path, planted, levels, seeds))]
    found = pd.read_csv(tmp_path / "randomisation.csv").iloc[0]
    assert found["method"] == "rough"
    assert found["images"] == len(planted[0].photographs)
    assert found["learned"] == pytest.approx(np.log(4), abs=0.01)
    assert found["random"] == pytest.approx(np.log(16), abs=0.03)
    assert float(found["rise"].split()[0]) == pytest.approx(1, abs=0.03)  # log 16 is twice log 4


def test_a_constant_map_of_the_learned_network_has_no_rise(tmp_path, planted):
    list(randomisation(run_of(tmp_path, planted, {"net": 1, "net randomised 0 to 1": 16, "net randomised 0.5 to 1": 2})))
    found = pd.read_csv(tmp_path / "randomisation.csv").iloc[0]
    assert found["images"] == 0
    assert found["learned"] == 0


def test_without_random_weights_there_is_nothing_to_compare(tmp_path, planted):
    run = run_of(tmp_path, planted, dict.fromkeys(RANDOMISED, 4))
    learned = [record for record in run.records if record["model"] == "net"]
    with pytest.raises(ValueError, match="run both"):
        list(randomisation(replace(run, records=learned)))


def test_entropy_of_neighbours_in_single_precision_and_of_one_value():
    two = np.full((4, 4), 1, np.float32)
    two[:2] = np.nextafter(np.float32(1), np.float32(2))
    assert discrete_entropy(two) == pytest.approx(np.log(2))
    assert discrete_entropy(np.full((4, 4), 0.3, np.float32)) == 0
