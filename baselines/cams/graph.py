"""What autograd's graph of a pass says: the order of a tensor's axes, and of what a result is computed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# What autograd calls the operations whose result is [n, channels, h, w] whatever they are given.
FIRST = ("Convolution", "NativeBatchNorm", "CudnnBatchNorm", "NativeGroupNorm", "MaxPool2D", "AvgPool2D", "Adaptive", "Upsample")
# And those after which it cannot be said which axis is which.
MIXED = {"View", "UnsafeView", "Reshape", "Transpose", "T", "Unsqueeze", "Squeeze", "Select", "Index", "Mean", "Sum", "Expand", "Stack"}
MIXED |= {"AsStrided", "Unfold"}

Edge = tuple[Any, int]  # an operation, and which of its results


def edge(result: Tensor) -> Edge:
    """Where a tensor stands in the graph, as it is now: what changes it in place comes after."""
    return result.grad_fn, result.output_nr


def computed_of(result: Tensor, around: Edge | None = None) -> set[Edge]:
    """All that a result is computed of; around: what not to pass through, so that what remains reaches the result around it."""
    found: set[Edge] = set()
    ahead = [edge(result)]
    while ahead:
        here = ahead.pop()
        if here[0] is not None and here != around and here not in found:
            found.add(here)
            ahead += here[0].next_functions
    return found


def axes_of(node: Any, known: dict[Any, str | None]) -> str | None:
    """What the operation behind a tensor says of its axes: channels ``first`` or ``last``, ``tokens`` against tokens, or None.

    known: operations that were looked at.
    """
    if node is None:
        return None
    name = _operation(node)
    if name.startswith(FIRST):
        return "first"
    if name in ("NativeLayerNorm", "FusedRmsNorm") and len(node._saved_normalized_shape) == 1:
        return "last"
    if name == "Softmax" or (name in ("View", "UnsafeView") and _operation(node.next_functions[0][0]) == "Bmm"):
        return "tokens"  # attention
    if name in MIXED:
        return None
    if node not in known:
        known[node] = None
        before = {axes_of(parent, known) for parent, _ in node.next_functions} - {None}
        before = before - {"tokens"} or before
        known[node] = before.pop() if len(before) == 1 else None  # elementwise, or along an axis
        if name == "Permute":
            order = tuple(dim - 2**64 if dim >= 2**63 else dim for dim in node._saved_dims)  # saved as unsigned numbers
            turned = {(0, 2, 3, 1): "last", (0, 3, 1, 2): "first"}.get(tuple(dim % len(order) for dim in order))
            known[node] = known[node] if known[node] == "tokens" else None if turned == known[node] else turned
    return known[node]


def _operation(node: Any) -> str:
    return type(node).__name__.rstrip("0123456789").removesuffix("Backward")
