"""Measures are equal to other implementations on the same maps and draws, see ``tests/reference/measures.py``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from hydra.utils import instantiate

from benchmarks import measures
from benchmarks.data import Evidence
from benchmarks.models.planted import shipped
from da.types import Attribution
from results.artefacts.likeness import discrete_entropy
from tests.conftest import REPOSITORY
from tests.helpers import configured, rngs
from tests.reference.measures_settings import DRAWS, NOISY, RADIUS, SHARES, SIDE, SIGMA, SIZE, STEPS, SUBSETS, TOLERANCE, K, at_points

FOLDER = REPOSITORY / "tests" / "reference"
SAME = 1e-5


@pytest.fixture(scope="module")
def recorded():
    said = json.loads((FOLDER / "measures.json").read_text())
    arrays = dict(np.load(FOLDER / "measures.npz"))
    now = hashlib.sha256(Path(shipped("planted_cnn")).read_bytes()).hexdigest()
    assert now == said["weights_sha256"], "the network has other weights than the recorded maps: record anew, tests/reference/measures.py"
    net = torch.nn.Sequential(instantiate(configured("model=planted_cnn").model).module, torch.nn.Softmax(1)).eval()
    return said, arrays, net


@pytest.fixture(params=["absolute", "product"])
def given(request, recorded):
    """What others said, and a measure of the same images and maps as a mapping from metric to numbers."""
    said, arrays, net = recorded
    images = torch.from_numpy(arrays["pixels"]).permute(0, 3, 1, 2).float() / 255
    maps, targets = torch.from_numpy(arrays[request.param]), torch.from_numpy(arrays["targets"])
    evidence = [Evidence(torch.from_numpy(mask)[None], (0,)) for mask in arrays["masks"]]

    def asked(measure, maps=maps, **chosen):
        known = {"evidence": evidence} if measure is measures.localisation else {}
        with torch.no_grad():
            frame = measure(lambda shown: net(shown), images, targets, targets.tolist(), Attribution(maps), rngs=rngs(4), **known, **chosen)
        return {name: of.pivot(index="image", columns="x", values="value").to_numpy() for name, of in frame.groupby("metric")}

    return said[request.param], asked, maps


def same(name, ours, theirs):
    ours, theirs = np.squeeze(np.asarray(ours, float)), np.squeeze(np.asarray(theirs, float))
    np.testing.assert_allclose(ours, theirs, rtol=SAME, atol=SAME, err_msg=name)


def test_localisation_is_quantus_and_torchray(given):
    said, asked, _ = given
    chosen = {"tolerance": 15.0, "k": round(K * 224**2 / 64**2), "sign": "positive", "target": "any"}
    found = asked(measures.localisation, **chosen)
    for name in ("pointing_hit", "pointing_exact", "relevance_mass", "relevance_rank", "topk_intersection"):
        same(name, found[name], said[name])


def test_a_point_at_the_tolerance_is_that_of_torchray(recorded):
    said, arrays, _ = recorded
    maps = torch.from_numpy(at_points(arrays["points"], *arrays["masks"].shape[1:]))
    evidence = [Evidence(torch.from_numpy(mask)[None], (0,)) for mask in arrays["masks"].repeat(4, axis=0)]
    images, classes = torch.zeros(len(maps), 3, *maps.shape[1:]), torch.zeros(len(maps), dtype=torch.long)
    frame = measures.localisation(
        lambda shown: shown, images, classes, [None] * len(maps), Attribution(maps), rngs=rngs(len(maps)), evidence=evidence,
        tolerance=float(TOLERANCE), k=1000, sign="positive", target="any",
    )  # fmt: skip
    same("hits at the tolerance", frame.loc[frame["metric"] == "pointing_hit", "value"], said["points_hit"])
    assert set(said["points_hit"]) == {0, 1}


def test_pixel_flipping_is_that_of_quantus_but_for_the_whole_image(given):
    said, asked, _ = given
    found = asked(measures.pixel_flipping, fills=["black"], steps=STEPS, target="predicted")
    for order in ("morf", "lerf"):
        curve, theirs = found[f"{order}_score_black"], np.array(said[f"{order}_curve"])
        same(f"{order}, curve", curve[:, 1:], theirs)
        raw = np.trapezoid(theirs, axis=1)  # theirs: from the first step on, and not divided by the steps
        same(f"{order}, area", found[f"{order}_black"], (raw + (curve[:, 0] + theirs[:, 0]) / 2) / STEPS)


def test_road_imputes_as_its_authors_and_quantus(given):
    said, asked, _ = given
    found = asked(measures.remove_and_debias, shares=SHARES, target="predicted")
    for order in ("morf", "lerf"):
        same(f"road, probabilities, {order}", found[f"road_{order}_score"], said[f"road_{order}_score"])
    assert said["road_largest"] < SAME


def test_irof_is_that_of_quantus_but_for_the_whole_image_and_the_scale(given):
    said, asked, _ = given
    found = asked(measures.iterative_removal, sp_num=100, compactness=10.0, fill="black", target="predicted")["irof"]
    first, count = np.array(said["irof_first"]).T
    same("irof", found, 1 - (count - np.array(said["irof_raw"]) + (1 + first) / 2) / count)


@pytest.mark.parametrize("kind", ["noise", "square"])
def test_infidelity_is_that_of_captum_where_its_factor_is_not_negative(given, kind):
    said, asked, maps = given
    chosen = {"draws": DRAWS, "perturbation": kind, "sigma": SIGMA, "side": SIDE, "fill": "black", "sign": "signed", "normalise": False}
    found = asked(measures.infidelity, **chosen, target="predicted")
    same(f"infidelity, {kind}", found["infidelity"], said[f"infidelity_{kind}"])
    positive = np.array(said[f"infidelity_{kind}"]) < said[f"infidelity_{kind}_negative"]  # captum's factor, which it does not tell
    for which, of in ((positive, maps), (~positive, -maps)):  # captum's value of a map and of its negative is one
        scaled = asked(measures.infidelity, maps=of, **chosen, target="predicted")["infidelity_scaled"]
        theirs = np.where(which, said[f"infidelity_{kind}_scaled"], said[f"infidelity_{kind}_nothing"])
        np.testing.assert_allclose(np.squeeze(scaled), theirs, rtol=SAME, atol=1e-8)


def test_faithfulness_correlation_is_that_of_quantus(given):
    said, asked, _ = given
    size = round(SIZE * 224**2 / 64**2)
    found = asked(measures.faithfulness_correlation, size=size, draws=SUBSETS, fill="black", sign="signed", target="predicted")
    theirs = np.where([True, True, False, True], said["faithfulness_correlation"], np.nan)  # the third probability is 1 but for rounding
    same("faithfulness_correlation", found["faithfulness_correlation"], theirs)
    at_one_size = asked(measures.sensitivity_n, shares=[SIZE / 64**2], draws=SUBSETS, fill="black", sign="signed", target="predicted")
    same("sensitivity_n at that size", at_one_size["sensitivity_n"], theirs)


def test_sparseness_is_that_of_quantus(given):
    said, asked, maps = given
    found = asked(measures.sparseness, sign="absolute", threshold=1e-5)
    for name in ("gini", "entropy", "effective_complexity"):
        same(name, found[name], said[name])
    same("discrete entropy", [discrete_entropy(one.double().numpy()) for one in maps], said["discrete_entropy"])


def test_max_sensitivity_is_that_of_captum_and_quantus(recorded):
    said, arrays, net = recorded
    images = torch.from_numpy(arrays["pixels"]).permute(0, 3, 1, 2).float() / 255
    targets = torch.from_numpy(arrays["targets"])

    def explain(shown: torch.Tensor) -> torch.Tensor:
        return Saliency(net).attribute(shown.clone().requires_grad_(), targets).amax(1)

    # captum asks for all noisy versions of an image at once, so that an image's draws follow each other there, too
    frame = measures.max_sensitivity(
        lambda shown: shown, images, targets, targets.tolist(), Attribution(explain(images)), rngs=rngs(4), explain=explain,
        draws=NOISY, radius=RADIUS,
    )  # fmt: skip
    for name, theirs in said["max_sensitivity"].items():
        same(f"max_sensitivity, {name}", frame["value"], theirs)
