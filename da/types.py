"""The vocabulary every room shares: shapes, what a method may see of a model, what it returns.

Images are RGB in [0, 1]; a model normalises inside itself. ``n`` counts images, ``h`` and ``w`` are pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images = Float[Tensor, "n 3 h w"]
Targets = Int[Tensor, " n"]
Labels = Int[Tensor, " m"]
Scores = Float[Tensor, "m classes"]
Saliency = Float[Tensor, "n h w"]
Masks = Bool[Tensor, "n h w"]
Rngs = Sequence[np.random.Generator]

OK = "ok"
VACUOUS = "vacuous"  # Pos-R: the wholly ablated image already has class y
UNSATISFIABLE = "unsatisfiable"  # Neg-R: even the wholly ablated image still has class y
NOTHING_ACCEPTED = "nothing_accepted"
MOST_SHOWN = 8  # images in the text of an attribution
STATED_QUERIES = "stated_queries"  # extra of what was made elsewhere: the passes that it is said to have taken, in place of counted ones


@runtime_checkable
class LabelModel(Protocol):
    """All that a decision-based method sees: images ``[m, 3, h, w]`` in, predicted classes ``[m]`` out."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Classify."""
        ...


@runtime_checkable
class ScoreModel(Protocol):
    """All that a score-based black-box method sees: images ``[m, 3, h, w]`` in, softmax probabilities ``[m, classes]`` out."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Score."""
        ...


@dataclass(frozen=True)
class Trace:
    """What became of every state a walk proposed.

    With the image's random stream, the decisions alone are enough to walk it again.

    Attributes
    ----------
    accepted : Tensor [n, steps] of bool
        Whether the rule held.
    circles : Tensor [n, steps, 3, k] or None
        Rows ``x, y, r`` in pixels, ``x`` along the height.
    share : Tensor [n, steps] or None
        Kept share of the image, from 0 to 1.
    """

    accepted: Bool[Tensor, "n steps"]
    circles: Float[Tensor, "n steps 3 k"] | None = None
    share: Float[Tensor, "n steps"] | None = None


@dataclass(frozen=True, repr=False)
class Attribution:
    """What a method says of ``n`` images.

    Attributes
    ----------
    saliency : Tensor [n, h, w]
        Higher is more important.
    kept : Tensor [n, h, w] of bool or None
        The final mask, where the method ends in one; of a negative rule, the pixels to remove.
    status : tuple of str or None
        One word an image, ``"ok"`` unless a premise failed.
    queries : Tensor [n] of int or None
        Forward passes spent on each image, where they differ between the images of a batch.
    extras : mapping of str to Tensor [n]
        Further per-image numbers for the rows.
    trace : Trace or None
        What became of every state, of a method that walks.
    targets : Tensor [n] of int or None
        The class explained of each image, where the method says.
    negative : bool
        Whether ``kept`` is what must be absent.
    """

    saliency: Saliency
    kept: Masks | None = None
    status: tuple[str, ...] | None = None
    queries: Int[Tensor, " n"] | None = None
    extras: Mapping[str, Float[Tensor, " n"]] = field(default_factory=dict)
    trace: Trace | None = None
    targets: Targets | None = None
    negative: bool = False

    def __repr__(self) -> str:
        said = ["saliency " + " x ".join(map(str, self.saliency.shape))]
        if self.kept is not None:
            said.append("kept " + ", ".join(f"{mask.float().mean():.1%}" for mask in self.kept[:MOST_SHOWN]))
        if self.status is not None:
            said.append("status " + ", ".join(self.status[:MOST_SHOWN]))
        return f"Attribution({'; '.join(said)}{', ...' if len(self.saliency) > MOST_SHOWN else ''})"

    def rule(self, class_names: Sequence[str] | None = None) -> str:
        """The rule of each image in words.

        Parameters
        ----------
        class_names : sequence of str, optional
            Names by class index; left out, classes are called by their number.

        Returns
        -------
        str
            A line per image.

        Raises
        ------
        ValueError
            For a method that ends in no mask, which has no rule, or does not say what it explained.
        """
        from da.rule import text

        if self.kept is None or self.targets is None:
            raise ValueError("this method ranks pixels and ends in no mask: da.explain finds the smallest share of them that is a rule")
        sign = "negative" if self.negative else "positive"
        pairs = zip(self.kept.cpu().numpy(), self.targets.tolist(), strict=True)
        return "\n".join(text(mask, _name(target, class_names), sign) for mask, target in pairs)

    def plot(self, images: Images, class_names: Sequence[str] | None = None) -> Figure:
        """Draw a row per image: the image, the kept region where there is one, and the map.

        Parameters
        ----------
        images : Tensor [n, 3, h, w] in [0, 1]
            The images that were explained.
        class_names : sequence of str, optional
            Names by class index; left out, classes are called by their number.

        Returns
        -------
        matplotlib.figure.Figure
            The pictures, to be shown or saved.
        """
        from da.plot import rows_of_pictures

        names = ["image"] * len(images) if self.targets is None else [_name(target, class_names) for target in self.targets.tolist()]
        return rows_of_pictures(images, self, names)


def _name(target: int, class_names: Sequence[str] | None) -> str:
    return f"class {target}" if class_names is None else str(class_names[target])
