"""Graphs and checkpoints as people have them: the right weights, told apart by content, or one line that says what differs."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from safetensors.torch import save_file
from torch import nn

from benchmarks.engines.loading import load
from benchmarks.engines.probes import probes
from benchmarks.engines.views import View
from benchmarks.inputs.compose import composed
from benchmarks.inputs.messages import cause
from benchmarks.models.classifier import Model
from benchmarks.models.onnx_graph import external_files
from benchmarks.models.state import state_sha256
from benchmarks.models.weights import WeightsError
from benchmarks.models.weights import load as load_weights
from tests.strangers.networks import Base, make

TORCH = json.dumps({"_target_": "benchmarks.engines.torch_engine", "_partial_": True, "batch": 4, "device": "cpu"})
BYTES = {"mean": [0, 0, 0], "std": [0.00392157] * 3}


def export(
    net: nn.Module, file: Path, example: torch.Tensor | None = None, fixed: bool = False, names: tuple[str, ...] = ("logits",)
) -> Path:
    axes = None if fixed else {name: {0: "n"} for name in ("images", *names)}
    example = torch.rand(1, 3, 64, 64) if example is None else example
    options = {"dynamo": False, "input_names": ["images"], "output_names": list(names), "dynamic_axes": axes}
    torch.onnx.export(net.eval(), (example,), str(file), **options)
    return file


def graph(file: Path, output: str | None = None, engine: str = TORCH, **other):
    net = {"_target_": "benchmarks.models.onnx_net", "weights": str(file), "output": output}
    config = {"_target_": "benchmarks.models.build", "name": "graph", "net": net, "classes": list("abcde"), "size": 64, "crop_pct": 1.0}
    config |= {"interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1], **other}
    load.cache_clear()  # files change under one name
    try:
        return load(json.dumps(config), engine)
    except InstantiationException as error:
        raise ValueError(cause(error)) from None


def logits_of(model: Model, engine) -> torch.Tensor:
    return View(engine).logits(probes(model.preprocessing, 4)[:6])


class Nhwc(Base):
    def forward(self, x):
        return super().forward(x.permute(0, 3, 1, 2))


class Bytes(Base):
    def forward(self, x):
        return super().forward(x.float())


class Both(Base):
    def forward(self, x):
        y = super().forward(x)
        return y * 0 + 1, y


def of_seed(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return kind()


@pytest.mark.parametrize("kind", ["plain", "fixed", "nhwc", "half", "uint8", "chosen"])
def test_a_graph_of_any_layout_and_type_gives_the_right_logits(kind, tmp_path):
    file, given = tmp_path / "net.onnx", {}
    if kind in ("plain", "fixed"):
        export(make("base"), file, fixed=kind == "fixed")
    elif kind == "nhwc":
        export(of_seed(Nhwc), file, torch.rand(1, 64, 64, 3))
    elif kind == "half":
        export(make("half"), file, torch.rand(1, 3, 64, 64).half())
    elif kind == "uint8":
        export(of_seed(Bytes), file, torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8))
        given = BYTES
    else:
        export(of_seed(Both), file, names=("features", "logits"))
        given = {"output": "logits"}
    model, engine = graph(file, **given)
    with torch.no_grad():
        images = probes(model.preprocessing, 4)[:6]
        right = make("base").eval()((images * 255).round() if kind == "uint8" else images)
    torch.testing.assert_close(logits_of(model, engine), right, atol=5e-3 if kind == "half" else 1e-3, rtol=1e-3)
    assert model.identity["net"].get("output") == given.get("output")


def test_graphs_that_cannot_be_used_so_say_what_to_give(tmp_path):
    file = tmp_path / "net.onnx"
    export(of_seed(Both), file, names=("features", "logits"))
    with pytest.raises(ValueError, match=r"features float \['n', 5\], logits float \['n', 5\]: say which with model\.net\.output=logits"):
        graph(file)
    with pytest.raises(ValueError, match=r"model\.net\.output=scores: .* has features"):
        graph(file, output="scores")
    export(make("softmax"), file)
    with pytest.raises(ValueError, match=r"model\.outputs=probabilities"):
        graph(file)
    export(make("gray"), file, torch.rand(1, 1, 64, 64))
    with pytest.raises(ValueError, match=r"images of 1 channels, not 3"):
        graph(file)
    export(of_seed(Bytes), file, torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"whole numbers, 0 to 255: give model\.mean=\[0,0,0\] model\.std=\[0\.00392157"):
        graph(file)
    with pytest.raises(ValueError, match=r"model\.size=32: the graph takes images of 64 x 64"):
        graph(export(make("base"), file), size=32)
    with pytest.raises(ValueError, match=r"is an ONNX file already: engine=torch"):
        graph(file, engine=json.dumps({"_target_": "benchmarks.engines.onnxruntime_engine", "_partial_": True, "batch": 4}))


def outside(file: Path, seed: int, together: bool = True) -> list[str]:
    """A graph whose weights are in other files."""
    inside = onnx.load(export(of_seed(Base, seed), file.with_suffix(".tmp")))
    options = {"all_tensors_to_one_file": together, "location": "net.onnx.data" if together else None, "size_threshold": 0}
    onnx.save(inside, str(file), save_as_external_data=True, **options)
    return external_files(file.read_bytes())


@pytest.mark.parametrize("together", [True, False])
def test_a_graph_is_told_apart_by_the_files_beside_it(together, tmp_path):
    file, hashes, answers = tmp_path / "net.onnx", [], []
    for seed in (1, 2):
        for old in tmp_path.iterdir():
            old.unlink()
        others = outside(file, seed, together)
        assert len(others) == 1 if together else len(others) > 1
        model, engine = graph(file)
        hashes.append(model.weights_sha256)
        answers.append(logits_of(model, engine))
    assert hashes[0] != hashes[1]
    assert not torch.allclose(*answers)
    assert graph(file)[0].weights_sha256 == hashes[1]
    (tmp_path / others[-1]).unlink()
    with pytest.raises(ValueError, match=rf"keeps its weights in {others[-1]}, and there is no file"):
        graph(file)


# checkpoints


def checkpoint(kind: str, state: dict[str, torch.Tensor]) -> object:
    prefixed = {name: {f"{name}.{key}": value for key, value in state.items()} for name in ("module", "model", "net", "_orig_mod")}
    return {
        "plain": state,
        "module": prefixed["module"],
        "net": prefixed["net"],
        "compiled in parallel": {f"module.{key}": value for key, value in prefixed["_orig_mod"].items()},
        "state_dict": {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.rand(3)}}, "param_groups": []}},
        "model_state_dict": {"model_state_dict": state, "epoch": 3},
        "model": {"model": state},
        "deep": {"checkpoint": {"model": prefixed["module"]}},
        "lightning": {"state_dict": prefixed["model"] | {"criterion.weight": torch.rand(5)}, "epoch": 3},
        "beside a number": state | {"epoch": 3},
        "half": {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
        "twice the same": {"model": state, "ema": state},
    }[kind]


KINDS = ["plain", "module", "net", "state_dict", "model_state_dict", "model", "deep", "lightning", "half"]


@pytest.mark.parametrize("kind", [*KINDS, "compiled in parallel", "beside a number", "twice the same"])
def test_checkpoints_load_wherever_the_weights_are(kind, tmp_path):
    torch.manual_seed(5)
    state = Base().state_dict()
    torch.save(checkpoint(kind, state), tmp_path / "w.pth")
    net = load_weights(make("base"), str(tmp_path / "w.pth"))
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, state[name], atol=1e-3 if kind == "half" else 0, rtol=0)


def test_weights_load_into_a_network_that_puts_a_prefix_before_them(tmp_path):
    torch.manual_seed(5)
    state = Base().state_dict()
    torch.save(state, tmp_path / "w.pth")
    wrapped = nn.Sequential()
    wrapped.add_module("backbone", make("base"))
    assert load_weights(wrapped, str(tmp_path / "w.pth")).state_dict()["backbone.fc.bias"].equal(state["fc.bias"])


def test_shards_load_by_their_index(tmp_path):
    torch.manual_seed(5)
    state = Base().state_dict()
    names = sorted(state)
    index = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(index.values()):
        save_file({name: state[name] for name in names if index[name] == file}, tmp_path / file)
    whole = tmp_path / "model.safetensors.index.json"
    whole.write_text(json.dumps({"weight_map": index}))
    net = load_weights(make("base"), str(whole))
    assert state_sha256(net) == state_sha256(state)
    with pytest.raises(WeightsError, match="lacks"):
        load_weights(make("base"), str(tmp_path / index[names[0]]))
    (tmp_path / index[names[0]]).unlink()
    with pytest.raises(WeightsError, match=r"no weights at .*of-00002"):
        load_weights(make("base"), str(whole))


def test_two_sets_of_weights_are_not_chosen_between(tmp_path):
    torch.save({"model": Base().state_dict(), "model_ema": Base().state_dict()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="several weights for this network, model, model_ema: save the ones to use alone"):
        load_weights(make("base"), str(tmp_path / "w.pth"))
    student = {f"{who}.{name}": value for who in ("student", "teacher") for name, value in make("base").state_dict().items()}
    student["teacher.fc.bias"] = student["teacher.fc.bias"] + 1
    torch.save(student, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="several weights for this network, student, teacher"):
        load_weights(make("base"), str(tmp_path / "w.pth"))


@pytest.mark.parametrize("model", ["resnet18", "timm"])
def test_another_number_of_classes_is_said_and_loads_when_it_is_given(model, tmp_path):
    of = [f"model={model}", f"model.weights={tmp_path}/ten.pth", *["model.net.architecture=resnet10t"] * (model == "timm")]
    random = [given.replace(f"{tmp_path}/ten.pth", "random") for given in of]
    ten = instantiate(composed(*random, "model.num_classes=10").model.net)
    torch.save(ten.state_dict(), tmp_path / "ten.pth")
    with pytest.raises(InstantiationException) as refused:
        instantiate(composed(*of).model)
    assert "fc.bias ([10] there, [1000] here), fc.weight ([10, 512] there, [1000, 512] here)" in cause(refused.value)
    assert "give model.num_classes=10 and model.classes, a list of 10 names" in cause(refused.value)
    found = instantiate(composed(*of, "model.num_classes=10", f"model.classes=[{','.join('abcdefghij')}]").model)
    assert found.weights_sha256 == state_sha256(ten)
    with pytest.raises(InstantiationException) as refused:
        instantiate(composed(of[0], "model.num_classes=10", *of[2:]).model)
    assert "give a number from 1 on, and model.weights=FILE" in cause(refused.value)


def test_what_differs_is_said_with_shapes(tmp_path):
    state = make("base").state_dict()
    state["c1.weight"], state["more"] = torch.rand(4, 3, 3, 3), torch.rand(2)
    del state["c2.bias"]
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"lacks c2\.bias; misshapes c1\.weight \(\[4, 3, 3, 3\] there, \[8, 3.* here\); adds more"):
        load_weights(make("base"), str(tmp_path / "w.pth"))
    torch.save(make("base"), tmp_path / "whole.pth")
    with pytest.raises(WeightsError, match="could run code: save its state dict alone"):
        load_weights(make("base"), str(tmp_path / "whole.pth"))


# identity


def test_the_hash_covers_what_is_held_outside_of_the_state_dict():
    class Held(Base):
        def __init__(self, value):
            super().__init__()
            self.table = torch.full((2,), float(value))

    class Listed(Base):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.more = [nn.Linear(2, 2)]
            self.known = [self.c1, {"itself": self}]

    torch.manual_seed(0)
    state = Base().state_dict()
    for kind in (Held, Listed):
        first, same, other = kind(1), kind(1), kind(2)
        for net in (first, same, other):
            net.load_state_dict(state)
        assert state_sha256(first) == state_sha256(same) != state_sha256(other)
    assert state_sha256(make("base")) == state_sha256(make("base").state_dict())


@pytest.mark.parametrize("kind", ["half", "bf16", "quant", "weightnorm", "script"])
def test_weights_of_every_kind_are_told_apart(kind):
    hashes = {state_sha256(make(kind)), state_sha256(make(kind))}
    assert len(hashes) == 1
    other = make(kind)
    with torch.no_grad():
        next(iter(other.parameters())).flatten()[0] += 1
    assert state_sha256(other) not in hashes
    state = make("base").state_dict() | {"extra": {"a": [1, None]}, "scale": 2.0}
    assert state_sha256(state) != state_sha256(state | {"scale": 3.0})


def test_packed_weights_are_told_apart():
    one, other = Base().eval(), Base().eval()
    other.load_state_dict(one.state_dict())
    other.fc.weight.data[0, 0] += 1
    packed = [torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8) for net in (one, one, other)]
    hashes = [state_sha256(net) for net in packed]
    assert hashes[0] == hashes[1] != hashes[2]
