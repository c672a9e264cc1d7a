"""Which method works on which family of models, and why not: ``python -m benchmarks.tools.works`` writes docs/works.md.

Every method of ``conf/method`` explains one photograph by a small network of each family, untrained, of 64 pixels, with a small budget. A
refusal is one line; anything else that goes wrong stops the program, and so does a map that is in truth a plain gradient.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from skimage.data import coffee
from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.transforms.functional import resize, to_tensor

from benchmarks.engines.engine import Engine, torch_engine
from benchmarks.inputs import own_folders
from benchmarks.inputs.compose import composed
from benchmarks.jobs.attribute import attribute
from benchmarks.jobs.resolve import state_model
from benchmarks.keys.provenance import target_name
from benchmarks.models.classifier import Model, build
from benchmarks.models.clip import ZeroShot
from benchmarks.models.networks import timm_net, unloaded
from benchmarks.models.onnx_graph import onnx_net
from benchmarks.models.planted import planted_cnn
from benchmarks.models.weights import RANDOM
from da.rng import image_rng
from da.types import OK

SIZE, CLASSES = 64, 11
PAGE = Path("docs/works.md")
BEGIN, END = "<!-- begin: python -m benchmarks.tools.works -->", "<!-- end -->"
WORKS = "works"
NEEDS = {"lrp": "zennit", "xrai": "saliency", "blur_ig": "saliency", "guided_ig": "saliency"}
NEEDS |= dict.fromkeys(("cam", "score_cam", "ablation_cam"), "pytorch_grad_cam")
CLIP_NEEDS = "open_clip"
ELSEWHERE = "precomputed"  # maps of a file: no model is asked

FAMILIES = ("CNN", "ResNet", "EfficientNet", "ViT", "ViT, registers", "Swin", "ConvNeXt", "CLIP", "ONNX")

SMALL: dict[str, Any] = {"iterations": 3, "budget": 40, "masks": 12, "samples": 6, "steps": 4, "areas": [0.1, 0.2]}
SMALL |= {"window": 0.4, "stride": 0.3}
SMALL_OF: dict[str, dict[str, Any]] = {
    "sis": {"sp_num": 6},
    "greedy": {"sp_num": 6},
    "sag": {"cells": 3},
    "sobol": {"cells": 3, "designs": 4},
    "hsic": {"cells": 3},
    "igos_pp": {"size": 7, "iterations": 2, "steps": 1, "step_size": 0.001},
    "gradient_shap": {"options": {"n_samples": 4, "stdevs": 0.0}},
}

# So that a search finds something and the values of superpixels are decided.
ENOUGH_OF: dict[str, dict[str, Any]] = {name: {"samples": 100} for name in ("lime", "kernel_shap")}
ENOUGH_OF |= {name: {"iterations": 100} for name in ("da_pos", "da_neg")}
ENOUGH_OF |= {name: {"budget": 150} for name in ("da_minimal", "da_minimal_neg", "da_minimal_share")}


def families(folder: Path) -> dict[str, Callable[[], nn.Module]]:
    """A small network of each family. folder: for the graph of one."""

    def graph() -> nn.Module:
        path = folder / "net.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shown = torch.rand(1, 3, SIZE, SIZE)
            torch.onnx.export(
                unloaded(lambda: _spread(planted_cnn(weights=RANDOM)), RANDOM), (shown,), str(path), dynamo=False, input_names=["images"]
            )
        return onnx_net(str(path))

    def clip() -> nn.Module:
        from open_clip.transformer import VisionTransformer as Encoder

        encoder = Encoder(SIZE, 8, width=32, layers=2, heads=2, mlp_ratio=4.0, output_dim=16)
        return ZeroShot(encoder, nn.functional.normalize(torch.randn(CLASSES, 16), dim=1), 10.0)

    return {
        "CNN": lambda: planted_cnn(weights=RANDOM),
        "ResNet": lambda: ResNet(BasicBlock, (1, 1, 1, 1), num_classes=CLASSES, channels=(8, 16, 16, 16)),
        "EfficientNet": partial(timm_net, "test_efficientnet", weights=RANDOM, num_classes=CLASSES),
        "ViT": partial(_vit, num_classes=CLASSES),
        "ViT, registers": partial(_vit, num_classes=CLASSES, reg_tokens=2, global_pool="avg"),
        "Swin": lambda: SwinTransformer(SIZE, 4, num_classes=CLASSES, embed_dim=16, depths=(1, 1), num_heads=(2, 2), window_size=4),
        "ConvNeXt": lambda: ConvNeXt(num_classes=CLASSES, depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)),
        "CLIP": clip,
        "ONNX": graph,
    }


def _vit(**more: Any) -> nn.Module:
    return VisionTransformer(SIZE, 8, embed_dim=32, depth=2, num_heads=2, **more)


def loaded(make: Callable[[], nn.Module], name: str) -> tuple[Model, Engine]:
    """A family's network as a model, ready to run; its values are the same each time."""
    net = unloaded(lambda: _spread(make()), RANDOM)
    shown: dict[str, Any] = {"size": SIZE, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
    layer = "net.14" if isinstance(net, nn.Sequential) else None  # of no family: the last activation, as planted_cnn.yaml says
    model = build(net, name=name, gradcam_layer=layer, classes=[str(i) for i in range(CLASSES)], outputs="logits", **shown)
    return model, torch_engine(model, batch=1, device="cpu")


def _spread(net: nn.Module) -> nn.Module:
    """A network that sees something in the photograph, as a trained one does: another class than in a black image, and surely.

    Its last layer is initialised anew: some networks begin with zeros there, and have no gradient.
    """
    shown = (torch.cat([photograph(), torch.zeros(1, 3, SIZE, SIZE)]) - 0.5) / 0.25
    net.eval()
    with torch.no_grad():
        if isinstance(net, ZeroShot):
            net.texts[:2] = nn.functional.normalize(net.visual(shown), dim=1)
        elif last := [layer for layer in net.modules() if isinstance(layer, nn.Linear)]:
            nn.init.normal_(last[-1].weight, std=0.2)
            last[-1].bias.sub_(net(shown)[1])
            sure = 4 / net(shown)[0].max()
            for weight in (last[-1].weight, last[-1].bias):
                weight.mul_(sure)
            last[-1].bias[net(shown)[0].argmin()] += 1e-3
    return net


def methods() -> list[str]:
    """The methods of the catalogue that ask a model."""
    return sorted(path.stem for path in own_folders.files("method") if path.stem != ELSEWHERE)


def small(name: str, model: Model) -> Any:
    """A configured method with a small budget."""
    cfg = composed(f"method={name}")
    state_model(cfg, model)
    for key, value in (SMALL | SMALL_OF.get(name, {}) | ENOUGH_OF.get(name, {})).items():
        if key in cfg.method:
            cfg.method[key] = value
    OmegaConf.resolve(cfg.method)
    return instantiate(cfg.method)


def outcome(name: str, model: Model, engine: Engine, images: Tensor) -> str:
    """``works``, or the line with which a method refuses a model.

    The predicted class is explained, and where a map is constant the next: of a class that an untrained network decides for, a class
    activation map may have no positive value. A search may find nothing, if its status says so. Raises RuntimeError for a refusal of
    more than a line, a map that is none of the image, and one that is a plain gradient in disguise.
    """

    def explained(method: str, target: Tensor) -> tuple[Tensor, bool]:
        rngs = [image_rng(0, "method", "coffee")]
        said = attribute(small(method, model), model, engine, images, target[None], rngs)[0]
        found = said.saliency[0]
        return (found - found.min()) / (found.max() - found.min()).clamp_min(1e-12), said.status in (None, (OK,))

    try:
        for target in engine.module(images)[0].argsort(descending=True):
            found, ok = explained(name, target)
            if found.max() == 1:
                break
    except ValueError as error:
        said = str(error)
        if "\n" in said:
            raise RuntimeError(f"{name} on {model.name}: more than a line: {said}") from error
        function = target_name(small(name, model)).rsplit(".", 1)[-1]
        return said.removeprefix(function).removeprefix(":").strip()
    if found.shape != images.shape[2:] or not torch.isfinite(found).all() or (found.max() < 1 and ok):
        raise RuntimeError(f"{name} on {model.name}: a map of {[*found.shape]}, constant or not finite")
    if name != "gradient" and model.differentiable and torch.allclose(found, explained("gradient", target)[0], atol=1e-3):
        raise RuntimeError(f"{name} on {model.name} is the plain gradient")
    return WORKS


def photograph() -> Tensor:
    """One photograph in colour."""
    return resize(to_tensor(coffee()[:, 100:500])[None], [SIZE, SIZE], antialias=True).clamp(0, 1)


def table(names: list[str], chosen: list[str]) -> dict[str, dict[str, str]]:
    """The outcome of each method on each family."""
    images = photograph()
    with tempfile.TemporaryDirectory() as folder:
        made = families(Path(folder))
        known = {family: loaded(made[family], family) for family in chosen}
        return {name: {family: outcome(name, *known[family], images) for family in chosen} for name in names}


def written(found: dict[str, dict[str, str]]) -> str:
    """The table as Markdown: reasons are numbered below it."""
    columns = list(next(iter(found.values())))
    reasons = list(dict.fromkeys(cell for row in found.values() for cell in row.values() if cell != WORKS))
    lines = ["| `method=` | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in found.items():
        cells = [WORKS if row[family] == WORKS else f"no ({reasons.index(row[family]) + 1})" for family in columns]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{i}. {reason}" for i, reason in enumerate(reasons, 1))])


def read(page: str) -> dict[str, dict[str, str]]:
    """The outcomes that a page states."""
    lines = page.split(BEGIN)[1].split(END)[0].strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    reasons = {line.split(". ", 1)[0]: line.split(". ", 1)[1] for line in lines if line[:1].isdigit()}
    return {
        row[0].strip("`"): {
            family: cell if cell == WORKS else reasons[cell.split("(")[1].rstrip(")")]
            for family, cell in zip(rows[0][1:], row[1:], strict=True)
        }
        for row in rows[2:]
    }


def main() -> None:
    """Write the page's table. Raises RuntimeError where a package of a method is missing."""
    missing = sorted({package for package in (CLIP_NEEDS, *NEEDS.values()) if find_spec(package) is None})
    if missing:
        raise RuntimeError(f"the table needs {', '.join(missing)}: pip install 'dynamic-ablation[all]'")
    found = table(methods(), list(FAMILIES))
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{written(found)}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
