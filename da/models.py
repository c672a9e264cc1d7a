"""Models as methods see them: predicted classes, or probabilities, of images in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from da.types import Images, Labels, Scores

Network = nn.Module | Callable[[Tensor], Any]

SCORES = "scores [m, classes]"
ANSWERS = f"{SCORES}, or a function of images that returns classes [m] as whole numbers"


class _Asked:
    """A network or any other callable, asked a batch of one size at a time: an image's answer is the same whoever shares its call."""

    def __init__(self, network: Network, mean: Sequence[float] | None, std: Sequence[float] | None, batch: int) -> None:
        if not callable(network):
            raise TypeError(f"{type(network).__name__} cannot be called: give a torch.nn.Module, or a function of images [m, 3, h, w]")
        if isinstance(network, LabelView | ScoreView):
            raise TypeError("this is a label or score model already: give it to the method as it is")
        if (mean is None) != (std is None):
            raise ValueError("give both mean and std, or neither for a network that takes images in [0, 1]")
        if batch < 1:
            raise ValueError(f"batch={batch}: at least 1 image at a time")
        self.network, self.batch = network, batch
        self.mean, self.std = (None if values is None else _colour(name, values) for name, values in (("mean", mean), ("std", std)))
        self.queries, self.repeats = 0, False

    def answers(self, images: Images) -> list[Tensor]:
        """What the network returns for each batch, without the rows that are padding."""
        self.queries += len(images)
        answers = []
        with torch.no_grad(), _evaluating(self.network) as weights:
            for part in images.split(self.batch):
                padded = torch.cat([part, part[-1:].expand(self.batch - len(part), -1, -1, -1)])
                if self.mean is not None and self.std is not None:
                    mean, std = (padded.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
                    padded = (padded - mean) / std
                shown = padded if weights is None else padded.to(weights)
                copy = None if self.repeats else shown.clone()  # what the network may change
                answer = _tensor(self.network(shown))
                if copy is not None and not _alike(answer.clone(), _tensor(self.network(copy))):
                    raise ValueError(
                        "the network's answers to the same images differ, asked twice: it has chance in it, such as a dropout that "
                        "evaluation mode does not switch off (functional.dropout without training=self.training)"
                    )
                self.repeats = True
                if answer.shape[:1] != (self.batch,):
                    raise TypeError(f"the network returned shape {[*answer.shape]} for {self.batch} images: give {ANSWERS}")
                answers.append(answer[: len(part)].to(images.device))
        return answers


class LabelView(_Asked):
    """A label model, see ``label_model``. queries: images asked about so far."""

    def __call__(self, images: Images, /) -> Labels:
        """Predicted classes ``[m]`` of images ``[m, 3, h, w]``."""
        return torch.cat([answer.argmax(1) if answer.ndim == 2 else answer.long() for answer in map(_classes, self.answers(images))])


class ScoreView(_Asked):
    """A score model, see ``score_model``. queries: images asked about so far."""

    def __init__(self, network: Network, mean: Any, std: Any, batch: int, outputs: str) -> None:
        super().__init__(network, mean, std, batch)
        if outputs not in ("logits", "probabilities"):
            raise ValueError(f"outputs={outputs!r}: choose logits or probabilities")
        self.outputs = outputs

    def __call__(self, images: Images, /) -> Scores:
        """Probabilities ``[m, classes]`` of images ``[m, 3, h, w]``."""
        found = torch.cat([checked_scores(answer) for answer in self.answers(images)]).float()
        shares = bool(((found >= 0) & (found <= 1 + 1e-4)).all())
        if self.outputs == "logits":
            if shares and bool(((found.sum(1) - 1).abs() < 1e-4).all()):
                raise ValueError("outputs='logits', and the network returned probabilities, which sum to 1: give outputs='probabilities'")
            return found.softmax(1)
        if not shares:
            raise ValueError("outputs='probabilities', and the network returned values beyond 0 and 1: give outputs='logits'")
        return found


def label_model(network: Network, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, batch: int = 1) -> LabelView:
    """A model of which only the predicted classes can be seen: all that a decision-based method asks for.

    Parameters
    ----------
    network : torch.nn.Module or callable
        Images ``[m, 3, h, w]`` to logits or probabilities ``[m, classes]`` or, of a callable, to classes ``[m]``: a tensor, an array or
        a list. A module is asked in evaluation mode, without gradients, on its own device.
    mean, std : three floats each, optional
        Subtracted from, and divided into, images in [0, 1]. Left out, the network is shown the images as they are.
    batch : int
        Images at a time; more are faster for several images, above all on a GPU. Fewer are padded, so that an image's answer does not
        depend on the others: with 8, a single image takes as long as eight.

    Returns
    -------
    LabelView
        A callable from images ``[m, 3, h, w]`` in [0, 1] to classes ``[m]``, which counts its ``queries``. The first batch of all is asked
        twice, and counted once, to see that the answers repeat.

    Raises
    ------
    TypeError
        For what cannot be called and, once asked, for answers that are neither scores nor classes.
    ValueError
        For a mean, std or batch out of range and, once asked, for answers that differ when the same images are shown again.
    """
    return LabelView(network, mean, std, batch)


def score_model(
    network: Network,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch: int = 1,
    outputs: str = "logits",
) -> ScoreView:
    """A model of which the classes' probabilities can be seen: what RISE asks for.

    Parameters
    ----------
    network : torch.nn.Module or callable
        As of ``label_model``; it returns scores ``[m, classes]``.
    mean, std : three floats each, optional
        As of ``label_model``.
    batch : int
        Images at a time, as of ``label_model``.
    outputs : {"logits", "probabilities"}
        What the network returns: logits, of which the softmax is taken, or probabilities.

    Returns
    -------
    ScoreView
        A callable from images ``[m, 3, h, w]`` in [0, 1] to probabilities ``[m, classes]``, which counts its ``queries``.

    Raises
    ------
    TypeError, ValueError
        As ``label_model``; ValueError also for probabilities beyond 0 and 1.
    """
    return ScoreView(network, mean, std, batch, outputs)


def _colour(name: str, values: Sequence[float]) -> list[float]:
    numbers: list[float] = np.atleast_1d(np.asarray(values, float)).tolist()
    if len(numbers) != 3 or not all(0 <= number <= 1 and (number > 0 or name == "mean") for number in numbers):
        bounds = "from 0 to 1" if name == "mean" else "above 0, up to 1"
        raise ValueError(f"{name}={numbers}: give three numbers {bounds}, of red, green and blue of images in [0, 1]")
    return numbers


@contextmanager
def _evaluating(network: Network) -> Iterator[Tensor | None]:
    """A module in evaluation mode, and afterwards each of its layers as it was; a weight, for device and type, None of another callable."""
    if not isinstance(network, nn.Module):
        yield None
        return
    training = [layer for layer in network.modules() if layer.training]
    network.eval()
    try:
        yield next((weights for weights in (*network.parameters(), *network.buffers()) if weights.is_floating_point()), None)
    finally:
        for layer in training:
            layer.training = True


def _tensor(answer: Any) -> Tensor:
    try:
        return answer.detach() if isinstance(answer, Tensor) else torch.as_tensor(np.asarray(answer))
    except (TypeError, ValueError):
        given = type(answer).__name__
        raise TypeError(f"the network returned {given}: give {ANSWERS}, such as lambda images: net(images).logits") from None


def _alike(answer: Tensor, again: Tensor) -> bool:
    """Whether two answers are equal, scores up to rounding: a thousandth, in half precision a hundredth, of each or of the median."""
    if answer.shape != again.shape or not answer.is_floating_point():
        return answer.shape == again.shape and torch.equal(answer, again.to(answer))
    near, sizes = 1e-3 if answer.dtype.itemsize > 2 else 1e-2, answer[torch.isfinite(answer)].abs().float()
    least = near * float(sizes.median()) if len(sizes) else 0.0
    return torch.allclose(answer.float(), again.float().to(answer.device), rtol=near, atol=least, equal_nan=True)


def _classes(answer: Tensor) -> Tensor:
    if answer.ndim == 1 and not answer.is_floating_point():
        return answer
    return checked_scores(answer, ANSWERS)


def checked_scores(answer: Any, wanted: str = SCORES) -> Scores:
    """What a network returned, if it is scores of several classes. Raises TypeError for anything else, ValueError for NaN."""
    scores = _tensor(answer)
    if scores.ndim != 2 or scores.shape[1] < 2 or not scores.is_floating_point():
        kind = str(scores.dtype).removeprefix("torch.")
        raise TypeError(f"the network returned {kind} of shape {[*scores.shape]}: give {wanted}")
    if not torch.isfinite(scores.amax(1)).all():  # a class that is ruled out has -inf
        raise ValueError("the network returned scores that are not finite: check its weights, and mean and std")
    return scores
