"""How many length buckets a run is worth: each is one compilation of the train step.

* A compilation takes as long as some hundred steps. A small set is learnt in not many more, and in
  any set a random batch holds some long row, so that most batches fall into the last buckets.
* Decided by the lengths and the order of rows alone, so that every host decides the same, and a run
  that is made longer keeps its buckets.
"""

from collections.abc import Sequence

import numpy as np

from mmjax.data.plan import BatchPlan, lengths_of

SMALL = 20_000  # rows; sets of fewer have one bucket
SAVED = 0.25  # share of what is padded that several buckets must save, at least
BATCHES = 32  # that are looked at
MULTIPLE = 4  # that a bucket's length is one of


def worthwhile(
    plan: BatchPlan, lengths: Sequence[np.ndarray], edges: Sequence[int]
) -> tuple[int, ...]:
    """The buckets that rows need, or one as long as the longest row where more do not pay.

    Args:
      lengths: of the rows of each source, int [rows].
      edges: rising lengths; the last is at least the longest row's.
    """
    longest = max(int(np.max(column)) for column in lengths)
    needed = tuple(edges[: int(np.searchsorted(edges, longest)) + 1])
    one = min(MULTIPLE * -(-longest // MULTIPLE), needed[-1])
    if sum(map(len, lengths)) < SMALL:
        return (one,)
    steps = BATCHES if plan.steps is None else min(BATCHES, plan.steps)
    padded = []
    for step in range(steps):
        longest_row = int(lengths_of(plan(step), lengths).max(initial=1))
        padded.append(needed[int(np.searchsorted(needed, longest_row))])
    pays = np.mean(padded) <= (1 - SAVED) * one
    return needed if pays else (one,)
