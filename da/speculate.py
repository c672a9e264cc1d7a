"""Exact speculation: the decisions of a walk's next steps in one batch, as long as they start from the same state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Rows = Int[Tensor, " m"]
Propose = Callable[..., Bool[Tensor, "m s"]]  # of a state, a step and rows
Decide = Callable[[Bool[Tensor, "m s"], Rows], Bool[Tensor, " m"]]


class Lookahead:
    """Answers for the steps to come, an image at a time.

    A proposal depends on the last accepted state and on its own step alone. After a rejection the next proposal starts from the same
    state, so the next ``depth`` proposals can be asked about in one batch as if all were to be rejected. The answers count up to the
    first acceptance; the rest are thrown away and asked again from the new state. The walk is bit for bit the one without speculation.

    propose: the segments kept after a step from a state (x, y, r, area bound) of images ``rows``. decide: whether these keep the class.
    ``queries`` counts what was asked for each image, thrown away or not, and ``rounds`` the batches.
    """

    def __init__(self, propose: Propose, decide: Decide, steps: Float[Tensor, "t n 3 k"], depth: int) -> None:
        self.propose, self.decide, self.steps, self.depth = propose, decide, steps, depth
        t, n = steps.shape[:2]
        self.answers = torch.zeros(t, n, dtype=torch.bool, device=steps.device)
        self.known = torch.zeros(n, dtype=torch.long, device=steps.device)  # steps whose answer is known
        self.queries = torch.zeros(n, dtype=torch.long, device=steps.device)
        self.rounds = 0

    def __call__(self, t: int, *state: Tensor) -> Bool[Tensor, " n"]:
        """The answers at step ``t`` from a state."""
        rows = (self.known <= t).nonzero()[:, 0]
        if len(rows):
            ahead = self.steps[t : t + self.depth]
            kept = [self.propose(*(of[rows] for of in state), step[rows], rows) for step in ahead]
            self.answers[t : t + len(ahead), rows] = self.decide(torch.cat(kept), rows.repeat(len(ahead))).view(len(ahead), -1)
            self.known[rows] = t + len(ahead)
            self.queries[rows] += len(ahead)
            self.rounds += 1
        return self.answers[t]

    def forget(self, t: int, accepted: Bool[Tensor, " n"]) -> None:
        """What was asked past step ``t`` holds no longer for images whose proposal was accepted."""
        self.known = torch.where(accepted, t + 1, self.known)
