"""Batches of rows that are alike in length, so that little of them is padding.

* The rows of some batches that follow each other are sorted by length and dealt out anew: what a
  plan takes of each source, and how often, stays as it is; which rows meet in a batch does not.
* For losses of single rows, such as CTC; a contrastive batch must not be chosen by length.
* Equal rows are alike: a window that holds a row twice may put both into one batch. It is to hold
  no more rows than there are, and even then it may hold the end of an epoch and the next one.

Letters: B rows of a batch, W batches of a window.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mmjax.data.orders import permuted
from mmjax.data.plan import BatchPlan, Mixture, Rows, Shape, lengths_of
from mmjax.typing import Positive

PLACES = ("source", "index", "visit")  # of the fields of Rows, those that say which row


@dataclasses.dataclass(frozen=True, eq=False)
class Alike:
    """Another plan's rows, W batches at a time in order of their length."""

    plan: BatchPlan
    lengths: Sequence[np.ndarray] = dataclasses.field(repr=False)  # of each source, int [rows]
    window: Positive = 16  # W
    seed: int = 0  # of the order in which the batches of a window come

    def __post_init__(self) -> None:
        """
        Raises:
          ValueError: around a plan that packs.
        """
        if self.plan.pack:
            raise ValueError("rows that share a place cannot be dealt out anew: sort, then pack")

    @property
    def batch(self) -> int:
        return self.plan.batch

    @property
    def steps(self) -> int | None:
        return self.plan.steps

    @property
    def pack(self) -> int:
        return 0

    @property
    def packed(self) -> tuple[str, ...]:
        return ()

    @property
    def follows(self) -> Mapping[str, str]:
        return self.plan.follows

    @property
    def largest_shape(self) -> Shape:
        return self.plan.largest_shape

    def __call__(self, step: int) -> Rows:
        number, place = divmod(step, self.window)
        batches = self._window(number)
        return self.plan(step)._replace(**{name: column[place] for name, column in batches.items()})

    def _window(self, number: int) -> dict[str, np.ndarray]:
        """The batches of a window, [W, B] each."""
        first = number * self.window
        steps = [self.plan(step) for step in range(first, first + self.window)]
        order = np.argsort(
            np.concatenate([lengths_of(rows, self.lengths) for rows in steps]), kind="stable"
        ).reshape(self.window, self.batch)
        turn = permuted(np.arange(self.window), self.window, (self.seed, number))
        return {
            name: np.concatenate([getattr(rows, name) for rows in steps])[order[turn]]
            for name in PLACES
        }


def alike(
    plan: Mixture, lengths: Sequence[np.ndarray], most: int, seed: int = 0
) -> Mixture | Alike:
    """`most` batches of a plan at a time, or as many as hold no more rows of a source than it has:
    else a row would meet itself in a batch of its length."""
    window = most
    while window > 1 and (plan.taken(window) > np.array(plan.sizes)).any():
        window -= 1
    return Alike(plan, lengths, window, seed) if window > 1 else plan
