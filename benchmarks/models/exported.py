"""Networks as files without their source: TorchScript, and programs of ``torch.export``, as black boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from benchmarks.models.weights import WeightsError

__version__ = "1"


class ExportedNet(nn.Module):
    """A file's network: images to what it returns, without gradients.

    Parameters
    ----------
    path : str
        A file of ``torch.export.save`` (``.pt2``) or of ``torch.jit.save``.

    Raises
    ------
    WeightsError
        For a file that is missing, or neither of the two, and for one that was exported in training mode, as far as its operations say so:
        normalisation by what is shown in the place of the statistics that it has, and dropout.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        file = Path(path).expanduser()
        if not file.is_file():
            raise WeightsError(f"no file at {path}: pass model.weights=/path/to/model.pt2, or a TorchScript file")
        self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        self.batch: int | None = None
        self.inside: list[Any] = []  # in a list: a program of torch.export cannot be put into evaluation mode
        try:
            if file.suffix.lower() == ".pt2":
                program = torch.export.load(file)
                self.inside.append(program.module())
                operations = list(_operations(program.graph_module))
                shapes = [node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder" and "val" in node.meta]
                self.batch = shapes[-1][0] if shapes and isinstance(shapes[-1][0], int) else None
            else:
                self.inside.append(torch.jit.load(str(file), map_location="cpu").eval())
                operations = list(_scripted(self.inside[0].inlined_graph))
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise WeightsError(f"{path} is neither TorchScript nor a program of torch.export: {said}") from None
        if trained := sorted({name for name, given in operations if _in_training(given)}):
            raise WeightsError(f"{path} was exported in training mode ({', '.join(trained)}): export it after net.eval()")

    def forward(self, images: Tensor) -> Any:
        """Run it, in its own batch size where that is fixed.

        Parameters
        ----------
        images : Tensor [m, 3, h, w]
            As it takes them.

        Returns
        -------
        Any
            What it returns.
        """
        (inside,) = self.inside
        inside.to(images.device)
        with torch.no_grad():
            if self.batch is None or self.batch == len(images):
                return inside(images)
            found = []
            for chunk in images.split(self.batch):
                leaves, form = tree_flatten(inside(torch.cat([chunk, chunk[-1:].expand(self.batch - len(chunk), -1, -1, -1)])))
                found.append(leaves)
            whole = [
                torch.cat(parts)[: len(images)] if isinstance(parts[0], Tensor) and parts[0].shape[:1] == (self.batch,) else parts[0]
                for parts in zip(*found, strict=True)
            ]
            return tree_unflatten(whole, form)


def _operations(graphs: nn.Module) -> Iterator[tuple[str, dict[str, Any]]]:
    """The operations of a program, by name, with their arguments by name; those of its branches, too."""
    for part in graphs.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            if isinstance(node.target, torch._ops.OpOverload):
                names = [argument.name for argument in node.target._schema.arguments]
                yield node.target.overloadpacket.__name__, dict(zip(names, node.args, strict=False)) | node.kwargs


def _scripted(block: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same of TorchScript, but for branches, most of which are of training mode; what is no constant stands for itself."""
    for node in block.nodes():
        if node.kind().startswith("aten::"):
            names = [argument.name for argument in torch._C.parse_schema(node.schema()).arguments]
            values = [value.toIValue() if value.node().kind() == "prim::Constant" else value for value in node.inputs()]
            yield node.kind().removeprefix("aten::"), dict(zip(names, values, strict=False))
        for inner in node.blocks() if node.kind() != "prim::If" else ():
            yield from _scripted(inner)


def _in_training(given: Mapping[str, Any]) -> bool:
    """Whether the arguments of an operation say that it is computed as in training."""
    training = True in (given.get("training"), given.get("train"), given.get("use_input_stats"))
    if "momentum" in given:  # without statistics of its own a normalisation always goes by the batch
        return training and given.get("running_mean") is not None
    share = given.get("dropout_p", 0)
    return (training and given.get("p", given.get("dropout", 1)) != 0) or (isinstance(share, int | float) and share != 0)


def exported_net(weights: str | None) -> nn.Module:
    """A TorchScript file, or a program of ``torch.export``, as a black box.

    Parameters
    ----------
    weights : str
        The file.

    Returns
    -------
    ExportedNet
        Without gradients.

    Raises
    ------
    WeightsError
        Where there is no such file, and for one that cannot be used so.
    """
    if weights is None:
        raise WeightsError("model=exported needs a file: pass model.weights=/path/to/model.pt2, or a TorchScript file")
    return ExportedNet(weights)
