"""Weights: from files, downloads and packages into networks, without running any code that is in them."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

StateDict = dict[str, Tensor]
RANDOM = "random"


class WeightsError(ValueError):
    """Weights that are missing, unsafe or of another architecture."""


def load(net: nn.Module, weights: str | None, *, url: str | None = None) -> nn.Module:
    """Load a local file of weights, or those at ``url`` through torch's cache; ``random`` leaves the initial values."""
    if weights == RANDOM:
        return net
    if weights is not None:
        return fit(net, read_state(Path(weights)), weights)
    assert url is not None
    try:
        state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True, progress=False)
    except (URLError, OSError) as error:
        file = url.rsplit("/", 1)[-1]
        raise WeightsError(
            f"the weights {file} are not in torch's cache and could not be downloaded from {url} ({error}): "
            f"fetch that file on another machine and pass model.weights=/path/to/{file}"
        ) from None
    return fit(net, state, url)


def read_state(path: Path) -> StateDict:
    """A state dict from a ``.safetensors`` file or a PyTorch file, without running any code that is in it."""
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: model.weights takes a .safetensors or PyTorch state-dict file")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} holds more than tensors and was not opened, since it could run code: save its state dict alone"
        ) from None
    except Exception as error:
        raise WeightsError(f"{path} is not a readable file of weights: {error}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold a state dict (a dictionary of tensors)")
    return state


def state_sha256(state: StateDict) -> str:
    """SHA-256 of the names, types, shapes and values of a state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fit(net: nn.Module, state: StateDict, source: str) -> nn.Module:
    """Load a state dict. source: its name for the WeightsError that is raised where it is of another architecture."""
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    own = net.state_dict()
    missing = sorted(name for name in own.keys() - state.keys() if not name.endswith("num_batches_tracked"))
    wrong = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    surplus = sorted(state.keys() - own.keys())
    if missing or wrong or surplus:
        problems = [
            f"{what} {', '.join(names[:3])}" for what, names in (("lacks", missing), ("misshapes", wrong), ("adds", surplus)) if names
        ]
        raise WeightsError(f"{source} holds weights of another architecture: it {'; '.join(problems)}")
    net.load_state_dict(state, strict=False)
    return net
