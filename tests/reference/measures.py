"""Record what other implementations say of fixed maps: ``measures.json`` beside this file, of the maps in ``measures.npz``.

To be run from the repository in a scratch environment that has this project's packages, Quantus 0.6.0 and captum. Its two arguments are
files of the authors: ``road/imputations.py`` of github.com/tleemann/road_evaluation (MIT) and ``torchray/benchmark/pointing_game.py`` of
github.com/facebookresearch/TorchRay (CC BY-NC; run, not copied). What is random is drawn here as the measures draw it, from
``numpy.random.default_rng([0, i])`` for image i, and given to the other implementations in place of their own draws.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

np.__dict__.setdefault("trapz", np.trapezoid)  # which Quantus 0.6.0 calls, and NumPy 2.4 has no more

import quantus
from captum.attr import Saliency
from captum.metrics import infidelity, sensitivity_max
from hydra.utils import instantiate
from quantus.functions.complexity_func import discrete_entropy
from quantus.functions.perturb_func import baseline_replacement_by_mask, noisy_linear_imputation
from scipy.ndimage import distance_transform_edt

from benchmarks.data import planted
from benchmarks.models.planted import shipped
from da.superpixels import superpixels
from tests.helpers import configured
from tests.reference.measures_settings import (
    DRAWS,
    IMAGES,
    NOISY,
    RADIUS,
    SHARES,
    SIDE,
    SIGMA,
    SIZE,
    STEPS,
    SUBSETS,
    TOLERANCE,
    K,
    at_points,
)

HERE = Path(__file__).parent
QUIET = {"disable_warnings": True, "return_aggregate": False}


def rngs() -> list[np.random.Generator]:
    return [np.random.default_rng([0, i]) for i in range(IMAGES)]


def recorded() -> tuple[dict[str, np.ndarray], nn.Module]:
    """Images, masks, classes and two maps of each: absolute gradients, and input times gradient, which has both signs."""
    model = instantiate(configured("model=planted_cnn").model)
    photographs = planted(count=1000).photographs[:IMAGES]
    pixels = np.stack([np.asarray(one.load()) for one in photographs])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    masks = torch.stack([one.evidence(model.preprocessing).union for one in photographs])
    net = nn.Sequential(model.module, nn.Softmax(1)).eval()
    targets = net(images).argmax(1)
    gradients = torch.autograd.grad(model.module(images.requires_grad_()).gather(1, targets[:, None]).sum(), images)[0]
    absolute, product = gradients.abs().amax(1), (gradients * images).sum(1).detach()
    for maps in (absolute, product):
        assert all(len(one.unique()) == one.numel() for one in maps), "a tie: the order of other implementations is their own"
    arrays = {
        "pixels": pixels,
        "masks": masks.numpy(),
        "targets": targets.numpy(),
        "absolute": absolute.numpy(),
        "product": product.numpy(),
        "points": np.stack([points_near(mask.numpy()) for mask in masks]),
    }
    return arrays, net


def points_near(mask: np.ndarray) -> np.ndarray:
    """Pixels ``[4, 2]`` outside a mask: the last before the tolerance of the pointing game and the first from it on, by distance."""
    far = distance_transform_edt(~mask)
    inside, outside = np.where(far < TOLERANCE, far, 0), np.where(far >= TOLERANCE, far, np.inf)
    chosen = [*np.argsort(-inside, axis=None, kind="stable")[:2], *np.argsort(outside, axis=None, kind="stable")[:2]]
    return np.stack(np.unravel_index(chosen, mask.shape), 1)


def ranks(maps: np.ndarray) -> np.ndarray:
    """Maps ``[n, 3, h, w]`` by whose order a pixel's three values go one after the other."""
    flat = maps.reshape(len(maps), -1)
    place = flat.argsort(1).argsort(1).reshape(maps.shape)
    return np.stack([3.0 * place + channel for channel in range(3)], 1) + 1


def main(road: str, torchray: str) -> None:
    arrays, net = recorded()
    np.savez_compressed(HERE / "measures.npz", **arrays)
    images = torch.from_numpy(arrays["pixels"]).permute(0, 3, 1, 2).float() / 255
    x, y, masks = images.numpy(), arrays["targets"], arrays["masks"][:, None]
    h, w = x.shape[2:]
    said: dict[str, Any] = {"weights_sha256": hashlib.sha256(Path(shipped("planted_cnn")).read_bytes()).hexdigest()}

    def ask(metric: Any, maps: np.ndarray, **more: Any) -> Any:
        # The network ends in a softmax, which Quantus cuts off without being asked for it.
        given = {"softmax": True, "channel_first": True, "batch_size": 1} | more
        return metric(model=net, x_batch=x.copy(), y_batch=y, a_batch=maps.copy(), **given)

    for name in ("absolute", "product"):
        maps = arrays[name][:, None].astype(float)
        positive = maps.clip(min=0)
        found: dict[str, Any] = {}
        found["pointing_exact"] = ask(quantus.PointingGame(**QUIET), maps, s_batch=masks)
        found["pointing_hit"] = torchray_hits(torchray, maps[:, 0], masks[:, 0])
        found["relevance_mass"] = ask(quantus.RelevanceMassAccuracy(**QUIET), positive, s_batch=masks)
        found["relevance_rank"] = ask(quantus.RelevanceRankAccuracy(**QUIET), maps, s_batch=masks)
        found["topk_intersection"] = ask(quantus.TopKIntersection(k=K, **QUIET), maps, s_batch=masks)
        flipping = quantus.PixelFlipping(features_in_step=h * w // STEPS, perturb_baseline="black", **QUIET)
        found["morf_curve"] = np.asarray(ask(flipping, ranks(maps[:, 0])))[:, 2::3]  # where whole pixels are gone
        found["lerf_curve"] = np.asarray(ask(flipping, ranks(-maps[:, 0])))[:, 2::3]
        found["road_morf_score"], largest = road_scores(road, net, images, y, maps[:, 0])
        found["road_lerf_score"], other = road_scores(road, net, images, y, -maps[:, 0])
        found["road_largest"] = max(largest, other)
        found["irof_raw"] = ask(quantus.IROF(perturb_baseline="black", perturb_func=of_all_channels, **QUIET), np.repeat(maps, 3, 1))
        found["irof_first"] = first_segments(net, images, y, maps[:, 0])
        found |= infidelities(net, images, y, arrays[name])
        found["infidelity_quantus"] = ask(quantus.Infidelity(n_perturb_samples=1, **QUIET), np.repeat(maps, 3, 1))
        with mock.patch.object(np.random, "choice", side_effect=drawn_subsets(h * w)):
            correlation = quantus.FaithfulnessCorrelation(nr_runs=SUBSETS, subset_size=3 * SIZE, perturb_baseline="black", **QUIET)
            found["faithfulness_correlation"] = ask(correlation, np.repeat(maps, 3, 1))
        by_rank = quantus.SensitivityN(features_in_step=h * w // STEPS, n_max_percentage=0.8, perturb_baseline="black", **QUIET)
        found["sensitivity_n_quantus"] = ask(by_rank, np.repeat(maps, 3, 1), batch_size=IMAGES)
        found["gini"] = ask(quantus.Sparseness(**QUIET), maps)
        found["entropy"] = ask(quantus.Complexity(**QUIET), maps)
        found["effective_complexity"] = [
            quantus.EffectiveComplexity(**QUIET)(net, x[i : i + 1], y[i : i + 1], maps[i : i + 1].copy())[0] / (h * w)
            for i in range(IMAGES)
        ]
        found["effective_complexity_of_a_batch"] = np.asarray(ask(quantus.EffectiveComplexity(**QUIET), maps)) / (h * w)
        found["discrete_entropy"] = [discrete_entropy(one, x[i]) for i, one in enumerate(maps)]
        said[name] = {key: np.asarray(value, float).tolist() for key, value in found.items()}
    masks_of_points = np.repeat(masks[:, 0], 4, axis=0)
    said["points_hit"] = torchray_hits(torchray, at_points(arrays["points"], h, w), masks_of_points)
    said["max_sensitivity"] = sensitivities(net, images, y)
    said["quantus_road"] = quantus_road(ask, arrays["absolute"][:, None].astype(float))
    (HERE / "measures.json").write_text(json.dumps(said, indent=1) + "\n")


def of_all_channels(arr: np.ndarray, mask: np.ndarray, **more: Any) -> np.ndarray:
    """Quantus 0.6.0 refuses masks with one channel of images with three, and makes such masks itself."""
    return baseline_replacement_by_mask(arr, np.broadcast_to(mask, arr.shape), **more)


def torchray_hits(source: str, maps: np.ndarray, masks: np.ndarray) -> list[float]:
    code = Path(source).read_text().partition("class PointingGameBenchmark")[0]
    known: dict[str, Any] = {}
    exec(re.sub(r"^from .*$", "", code, flags=re.MULTILINE), known)
    game = known["PointingGame"](1)
    points = [np.unravel_index(one.argmax(), one.shape) for one in maps]
    return [(game.evaluate(torch.from_numpy(mask), (u, v)) + 1) / 2 for mask, (v, u) in zip(masks, points, strict=True)]


def road_scores(source: str, net: nn.Module, images: Tensor, y: np.ndarray, maps: np.ndarray) -> tuple[list[list[float]], float]:
    """The class's probability after imputation by the authors, and how far Quantus's imputed pixels are from theirs at most."""
    known: dict[str, Any] = {}
    exec(re.sub(r"^from road.*$", "GNet_ResNet = None", Path(source).read_text(), flags=re.MULTILINE), known)
    imputer = known["NoisyLinearImputer"]()
    scores, largest = [], 0.0
    for i, (image, rng) in enumerate(zip(images, rngs(), strict=True)):
        area = maps[i].size
        rng.permutation(area)  # by which ties are broken
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)).reshape(3, -1)
        order = (-maps[i]).ravel().argsort()
        of_image = []
        for share in SHARES:
            kept = np.ones(area)
            kept[order[: round(area * share)]] = 0
            missing = np.flatnonzero(kept == 0)
            with mock.patch.object(torch, "randn_like", return_value=noise[:, missing]):
                imputed = imputer(image, torch.from_numpy(kept).view(image.shape[1:]))
            with mock.patch.object(np.random, "randn", return_value=noise[:, missing].numpy()):
                other = noisy_linear_imputation(image.numpy(), missing)
            largest = max(largest, float(np.abs(other - imputed.numpy()).max()))
            of_image.append(float(net(imputed[None])[0, y[i]].detach()))
        scores.append(of_image)
    return scores, largest


def quantus_road(ask: Callable[..., Any], maps: np.ndarray) -> str:
    """What ROAD of Quantus says of maps with one channel, as of an image with three."""
    try:
        return str(ask(quantus.ROAD(percentages=[50], noise=0.0, **QUIET), maps))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def first_segments(net: nn.Module, images: Tensor, y: np.ndarray, maps: np.ndarray) -> list[list[float]]:
    """The share of the class's probability without the most relevant superpixel, which Quantus starts from, and their number."""
    found, parts = [], superpixels(images, 100)
    for i, image in enumerate(images):
        index = parts.index[i].numpy()
        means = [maps[i][index == s].mean() for s in range(int(parts.count[i]))]
        shown = image * torch.from_numpy(index != int(np.argmax(means)))
        scores = net(torch.stack([image, shown]))[:, y[i]].detach()
        found.append([float(scores[1] / scores[0]), len(means)])
    return found


def infidelities(net: nn.Module, images: Tensor, y: np.ndarray, maps: np.ndarray) -> dict[str, list[float]]:
    found = {}
    attributions, target = torch.from_numpy(maps)[:, None].expand(-1, 3, -1, -1), torch.from_numpy(y)
    for kind in ("noise", "square"):
        taken = []
        for image, rng in zip(images, rngs(), strict=True):
            for _ in range(DRAWS):
                if kind == "noise":
                    drawn = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
                    taken.append(image - (image - SIGMA * drawn).clamp(0, 1))
                else:
                    side = round(SIDE * image.shape[1])
                    top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[1:])
                    square = torch.zeros_like(image)
                    square[:, top : top + side, left : left + side] = 1
                    taken.append(image * square)
        perturbation = torch.stack(taken)

        def perturbed(inputs: Tensor, perturbation: Tensor = perturbation) -> tuple[Tensor, Tensor]:
            return perturbation, inputs - perturbation

        for normalize in (False, True):
            values = infidelity(net, perturbed, images, attributions, target=target, n_perturb_samples=DRAWS, normalize=normalize)
            found[f"infidelity_{kind}{'_scaled' if normalize else ''}"] = values.tolist()
        for name, of in (("negative", -attributions), ("nothing", 0 * attributions)):
            values = infidelity(net, perturbed, images, of, target=target, n_perturb_samples=DRAWS)
            found[f"infidelity_{kind}_{name}"] = values.tolist()
    return found


def drawn_subsets(area: int) -> list[np.ndarray]:
    """In the order in which Quantus asks for them. A pixel stands for its three channels."""
    pixels = [rng.choice(area, SIZE, replace=False) for rng in rngs() for _ in range(SUBSETS)]
    return [np.concatenate([chosen + channel * area for channel in range(3)]) for chosen in pixels]


def sensitivities(net: nn.Module, images: Tensor, y: np.ndarray) -> dict[str, list[float]]:
    """Of absolute gradients of the probability, the largest over the channels."""
    target, generators = torch.from_numpy(y), rngs()
    noisy = [
        torch.stack(
            [(image + torch.from_numpy(rng.uniform(-RADIUS, RADIUS, image.shape).astype(np.float32))).clamp(0, 1) for _ in range(NOISY)]
        )
        for image, rng in zip(images, generators, strict=True)
    ]

    def explain(inputs: Any, target: Tensor) -> Any:
        if isinstance(inputs, tuple):
            return (explain(inputs[0], target),)
        return Saliency(net).attribute(inputs.clone().requires_grad_(), target).amax(1, keepdim=True)

    captum = sensitivity_max(explain, images, lambda _: torch.cat(noisy), n_perturb_samples=NOISY, target=target)
    draws = [(one - image).numpy().reshape(1, -1) for of, image in zip(noisy, images, strict=True) for one in of]

    def explained(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        return explain(torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(targets)).detach().numpy()

    metric = quantus.MaxSensitivity(nr_samples=NOISY, normalise=False, **QUIET)
    with mock.patch.object(np.random, "uniform", side_effect=draws):
        of_quantus = metric(net, images.numpy(), y, softmax=True, channel_first=True, batch_size=1, explain_func=explained)
    return {"captum": captum.tolist(), "quantus": np.asarray(of_quantus, float).tolist()}


if __name__ == "__main__":
    main(*sys.argv[1:])
