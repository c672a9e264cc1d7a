"""What every method of the catalogue promises, on every configuration there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from benchmarks.engines.engine import Engine, torch_engine
from benchmarks.jobs import plan
from benchmarks.jobs.attribute import attribute
from benchmarks.jobs.resolve import state_model
from benchmarks.models.classifier import Model, build
from benchmarks.tools.works import NEEDS, SMALL, SMALL_OF
from da.rng import image_rng
from da.types import Attribution
from tests.conftest import REPOSITORY
from tests.helpers import configured

METHODS = sorted(path.stem for path in (REPOSITORY / "conf" / "method").glob("*.yaml"))
BATCH = 3
AT_MOST = ("sis", "greedy", "igos_pp")  # by the segments that an image has, or the steps that are tried; and whatever has a budget
# The number of passes depends on the image's size, the model's layers, or the algorithm that is named.
UNPLANNED = ("occlusion", "score_cam", "ablation_cam", "cam", "captum", "deeplift", "gradient_shap", "xrai", "blur_ig", "guided_ig")
REFUSED = {
    ("attention_rollout", None): "no vision transformers",
    ("transformer_attribution", None): "no vision transformers",
    ("guided_ig", None): "does not run with the installed NumPy",
    ("deeplift", "efficientnet_lite0"): "no rule for hardtanh",
    ("deeplift", "resnet18"): "used more than once",
}

# Forward and backward passes per image, as docs/methods.md states them, at the SMALL hyper-parameters.
PASSES = {
    "da_pos": (4, 0),
    "da_neg": (4, 0),
    "gradient": (1, 1),
    "guided_backprop": (1, 1),
    "gradcam": (1, 1),
    "rise": (12, 0),
    "rise_eclique": (12, 0),
    "ep": (3 * 2 + 2, 3 * 2),
    "random": (0, 0),
    "centre": (0, 0),
    "sobel": (0, 0),
    "integrated_gradients": (4, 4),
    "smoothgrad": (6, 6),
    "occlusion": (9 + 1, 0),
    "kernel_shap": (6, 0),
    "lime": (6, 0),
    "sobol": (4 * (9 + 1), 0),
    "hsic": (12, 0),
    "bg_sis": (4 + 1, 4),
    "score_cam": (1 + 16, 0),
    "ablation_cam": (2 + 16, 0),
    "cam": (1, 1),
    "captum": (1, 1),
    "lrp": (2, 1),
    "blur_ig": (4, 4),
}


def small_vgg() -> Model:
    """A network for 32 x 32 images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
        )  # fmt: skip
    preprocessing = {"size": 32, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
    return build(net, name="small_vgg", classes=[str(i) for i in range(10)], gradcam_layer="net.5", **preprocessing)


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[Model, Engine]]:
    lite0, resnet18 = (instantiate(configured("model.size=96", *model).model) for model in ([], ["model=resnet18", "model.weights=random"]))
    found = {"efficientnet_lite0": lite0, "resnet18": resnet18, "small_vgg": small_vgg()}
    return {name: (model, torch_engine(model, batch=BATCH, device="cpu")) for name, model in found.items()}


def small_node(name: str, model: Model):
    """The configuration of a method of the catalogue with a small budget."""
    cfg = configured(f"method={name}")
    state_model(cfg, model)
    for key, value in (SMALL | SMALL_OF.get(name, {})).items():
        if key in cfg.method:
            cfg.method[key] = value
    return cfg.method


def small(name: str, model: Model):
    return instantiate(small_node(name, model))


def run(name: str, model: Model, engine: Engine, images: Tensor, ids: list[str]) -> tuple[Attribution, object]:
    targets = engine.module(images).argmax(1)
    return attribute(small(name, model), model, engine, images, targets, [image_rng(0, "method", i) for i in ids])


def state(module: nn.Module) -> list[object]:
    """What a method must leave as it was."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in module.modules()]
    flags = [(p.requires_grad, p.grad is None, float(p.double().sum())) for p in module.parameters()]
    modes = [m.training for m in module.modules()] + [getattr(m, "inplace", None) for m in module.modules()]
    rng = np.random.get_state()[1].tolist()  # noqa: NPY002
    return [hooks, flags, modes, torch.get_rng_state().tolist(), rng, torch.is_grad_enabled()]


MODELS = ("efficientnet_lite0", "resnet18", "small_vgg")
OF_FILES = "precomputed"  # which needs maps
PER_FEATURE_MAP = ("score_cam", "ablation_cam", "xrai")  # long on a large model, and the same code as on the small one


@pytest.mark.parametrize(
    ("name", "model_name"), [(n, m) for n in METHODS for m in (MODELS[2:] if n in PER_FEATURE_MAP else MODELS) if n != OF_FILES]
)
def test_every_method_on_every_kind_of_model(name, model_name, models, photographs):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    model, engine = models[model_name]
    size = model.preprocessing.size
    images = nn.functional.interpolate(photographs[:BATCH], (size, size), mode="area")
    ids = ["a", "b", "c"]
    before = state(engine.module)
    shown = images.clone()
    if words := REFUSED.get((name, model_name)) or REFUSED.get((name, None)):
        with pytest.raises(ValueError, match=words):
            run(name, model, engine, images, ids)
        assert state(engine.module) == before
        return
    together, passes = run(name, model, engine, images, ids)
    assert state(engine.module) == before
    assert torch.equal(images, shown)
    assert together.saliency.shape == (BATCH, *images.shape[-2:])
    assert torch.isfinite(together.saliency).all()
    assert not together.saliency.requires_grad
    if name in PASSES:
        forward, backward = PASSES[name]
        assert (passes.forward / BATCH, passes.backward / BATCH) == (forward, backward)
    node = OmegaConf.to_container(small_node(name, model), resolve=True)
    stated = plan.job_cost("", "", 1, node, [])
    if stated.passes is not None:  # the plan: one pass for the prediction, and a backward pass has a forward one
        spent = (passes.forward / BATCH, passes.backward / BATCH)
        planned = (stated.passes - 1 + stated.backward_passes, stated.backward_passes)
        assert spent <= planned if "budget" in node or name in AT_MOST else spent == planned
    else:
        assert name in UNPLANNED
    alone, _ = run(name, model, engine, images[1:2], ids[1:2])
    assert torch.equal(alone.saliency[0], together.saliency[1])
    if together.kept is not None:
        assert torch.equal(alone.kept[0], together.kept[1])


def test_the_table_in_the_docs_has_every_method():
    text = (REPOSITORY / "docs" / "methods.md").read_text()
    for name in METHODS:
        assert f"`{name}`" in text, name
