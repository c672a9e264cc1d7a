"""Networks as files without their source: TorchScript, and programs of ``torch.export``, as black boxes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
        For a file that is missing, or neither of the two.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        file = Path(path).expanduser()
        if not file.is_file():
            raise WeightsError(f"no file at {path}: pass model.weights=/path/to/model.pt2, or a TorchScript file")
        self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        self.batch: int | None = None
        # In a list: a program of torch.export cannot be put into evaluation mode, in which it is already.
        self.inside: list[Any] = []
        try:
            if file.suffix.lower() == ".pt2":
                program = torch.export.load(file)
                self.inside.append(program.module())
                shapes = [node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder" and "val" in node.meta]
                self.batch = shapes[-1][0] if shapes and isinstance(shapes[-1][0], int) else None
            else:
                self.inside.append(torch.jit.load(str(file), map_location="cpu").eval())
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise WeightsError(f"{path} is neither TorchScript nor a program of torch.export: {said}") from None

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
                padded = torch.cat([chunk, chunk[-1:].expand(self.batch - len(chunk), -1, -1, -1)])
                found.append(inside(padded)[: len(chunk)])
            return torch.cat(found)


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
