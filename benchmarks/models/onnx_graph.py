"""ONNX graphs as networks: black boxes that answer and have no gradients."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.models.preprocessing import Preprocessing
from benchmarks.models.weights import WeightsError

TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(double)": torch.float64}
PIXELS = {"tensor(uint8)": torch.uint8, "tensor(int32)": torch.int32, "tensor(int64)": torch.int64}  # these take 0 to 255


__version__ = "1"


class OnnxNet(nn.Module):
    """An ONNX graph as a black box: images to scores, without gradients.

    Images are cast to the graph's type, and put channels last where the graph takes them so; a fixed batch is kept to.

    Parameters
    ----------
    path : str
        The graph's file.
    output : str, optional
        The name of the output to use, needed where the graph has several.

    Raises
    ------
    WeightsError
        For a graph that cannot be used so.
    """

    def __init__(self, path: str, output: str | None = None) -> None:
        super().__init__()
        import onnxruntime

        file = Path(path).expanduser()
        if not file.is_file():
            raise WeightsError(f"no ONNX file at {path}: pass model.weights=/path/to/model.onnx")
        self.sha256 = graph_sha256(file)
        try:
            self.session = onnxruntime.InferenceSession(str(file), providers=onnxruntime.get_available_providers())
        except Exception as error:
            raise WeightsError(f"{path} is not a graph that ONNX Runtime can run: {' '.join(str(error).split())}") from None
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        first = inputs[0] if inputs else None
        if first is None or len(inputs) > 1:
            raise WeightsError(f"{path} takes {_listed(inputs)}: it must take one input, the images")
        self.output = _chosen(path, outputs, output)
        self.input, shape = first.name, list(first.shape)
        self.pixels = first.type in PIXELS
        kind = (TYPES | PIXELS).get(first.type)
        if kind is None or len(shape) not in (0, 4):
            raise WeightsError(f"{path} takes {_listed(inputs)}: it must take images, float [n, 3, height, width]")
        self.kind, shape = kind, shape or [None] * 4
        self.channels_last = shape[3] == 3 and shape[1] != 3
        channels = shape[3 if self.channels_last else 1]
        if isinstance(channels, int) and channels != 3:
            raise WeightsError(f"{path} takes {_listed(inputs)}, images of {channels} channels, not 3: put what makes them from red, "
                               "green and blue into the graph")  # fmt: skip
        self.batch = shape[0] if isinstance(shape[0], int) else None
        self.sides = [side for side in (shape[1:3] if self.channels_last else shape[2:]) if isinstance(side, int)]

    def forward(self, images: Tensor) -> Tensor:
        """Run the graph, in its own batch size where that is fixed.

        Parameters
        ----------
        images : Tensor [m, 3, h, w]
            As the graph takes them.

        Returns
        -------
        Tensor [m, classes]
            Scores.
        """
        chunks = images.split(self.batch or len(images))
        return torch.cat([self._run(chunk, self.batch or len(chunk)) for chunk in chunks])

    def _run(self, chunk: Tensor, batch: int) -> Tensor:
        padded = torch.cat([chunk, chunk[-1:].expand(batch - len(chunk), -1, -1, -1)]).detach()
        shown = padded.permute(0, 2, 3, 1) if self.channels_last else padded
        shown = shown.round().clamp(0, 255) if self.pixels else shown
        (scores,) = self.session.run([self.output], {self.input: shown.to(self.kind).contiguous().cpu().numpy()})
        found = torch.from_numpy(scores)[: len(chunk)].to(chunk.device)
        return found.float() if found.is_floating_point() else found


def onnx_net(weights: str | None, *, output: str | None = None) -> nn.Module:
    """An ONNX file as a black box.

    Parameters
    ----------
    weights : str
        The graph's file.
    output : str, optional
        The name of the output to use, where it has several.

    Returns
    -------
    OnnxNet
        Without gradients.

    Raises
    ------
    WeightsError
        Where there is no such file, and for a graph that cannot be used so.
    """
    if weights is None:
        raise WeightsError("model=onnx needs a graph: pass model.weights=/path/to/model.onnx")
    return OnnxNet(weights, output)


def check_graph(net: OnnxNet, preprocessing: Preprocessing) -> None:
    """Raises ValueError for images of another size, or in another range, than a graph takes."""
    if any(side != preprocessing.size for side in net.sides):
        raise ValueError(f"model.size={preprocessing.size}: the graph takes images of {' x '.join(map(str, net.sides))} pixels")
    if net.pixels and (any(preprocessing.mean) or any(abs(255 * value - 1) > 1e-3 for value in preprocessing.std)):
        raise ValueError(
            f"model.mean={list(preprocessing.mean)} model.std={list(preprocessing.std)}: the graph takes whole numbers, 0 to 255: give "
            "model.mean=[0,0,0] model.std=[0.00392157,0.00392157,0.00392157]"
        )


def graph_sha256(file: Path) -> str:
    """SHA-256 of a graph: of its file, and of those that it keeps tensors in. Raises WeightsError where one of these is missing."""
    content = file.read_bytes()
    own = hashlib.sha256(content).hexdigest()
    outside = external_files(content)
    if not outside:
        return own
    digest = hashlib.sha256(own.encode())
    for name in outside:
        other = file.parent / name
        if not other.is_file():
            raise WeightsError(f"{file} keeps its weights in {name}, and there is no file {other}: put it beside the graph")
        with other.open("rb") as stream:
            digest.update(f"{name} {hashlib.file_digest(stream, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()


def external_files(content: bytes) -> list[str]:
    """The other files that a serialised graph keeps tensors in, as it names them, sorted; none of what is no graph."""
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # ONNX Runtime says what is wrong with it
        return []
    return sorted({entry.value for tensor in _tensors(model) for entry in tensor.external_data if entry.key == "location"})


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in a protocol buffer, at any depth: initializers, sparse ones, attributes, subgraphs, functions."""
    if type(message).__name__ == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if hasattr(value, "__len__") else [value]:
                yield from _tensors(part)


def _chosen(path: str, outputs: Any, name: str | None) -> str:
    known = [output.name for output in outputs]
    if name is None and len(known) > 1:
        raise WeightsError(f"{path} has several outputs, {_listed(outputs)}: say which with model.net.output={known[-1]}")
    if name is not None and name not in known:
        raise WeightsError(f"model.net.output={name}: {path} has {_listed(outputs)}")
    return str(name or known[0])


def _listed(values: Any) -> str:
    """Names, types and shapes of inputs or outputs."""
    return ", ".join(f"{value.name} {value.type.removeprefix('tensor(').removesuffix(')')} {list(value.shape)}" for value in values)
