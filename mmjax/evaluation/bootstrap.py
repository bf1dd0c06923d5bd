"""Bootstrap intervals of means over queries and seeds (Efron, 1979), of one system or a difference.

* Paired: both systems answered the same queries, so queries are drawn together and only what
  differs between the systems is left in the interval.
* Seeds are drawn too, for each system on its own (seed 0 of one has nothing to do with seed 0 of
  the other). Three seeds show little of their own spread, so that part of the interval is coarse.
* `cluster` draws whole groups: the two drawings of one emoji are one observation, not two.
* Deterministic: the same values and seed give the same interval.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Num, Shaped


class Interval(NamedTuple):
    """A mean and its confidence bounds."""

    mean: float
    low: float
    high: float

    def __str__(self):
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def mean(
    values: Num[np.ndarray, "..."],
    *,
    cluster: Shaped[np.ndarray, "..."] | None = None,
    samples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean of per-query values (hits of one or several seeds) with its percentile interval."""
    values = np.atleast_2d(np.asarray(values, np.float64))
    return paired(
        values, np.zeros_like(values), cluster=cluster, samples=samples, level=level, seed=seed
    )


def paired(
    ours: Num[np.ndarray, "..."],
    theirs: Num[np.ndarray, "..."],
    *,
    cluster: Shaped[np.ndarray, "..."] | None = None,
    samples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean difference of two systems' per-query values on the same queries, with its interval."""
    ours, theirs = (np.atleast_2d(np.asarray(x, np.float64)) for x in (ours, theirs))
    if ours.shape[1] != theirs.shape[1] or not ours.size or not theirs.size:
        raise ValueError(
            f"paired values must be [seeds, queries] over the same queries, "
            f"not {ours.shape} and {theirs.shape}"
        )
    queries = ours.shape[1]
    cluster = np.arange(queries) if cluster is None else np.asarray(cluster)
    if cluster.shape != (queries,):
        raise ValueError(f"cluster must name a cluster for each of {queries} queries")
    clusters, member = np.unique(cluster, return_inverse=True)
    member = member.reshape(-1)
    size = np.bincount(member)
    sums = [np.stack([np.bincount(member, row) for row in x]) for x in (ours, theirs)]

    rng = np.random.default_rng(seed)
    draws = []
    chunk = max(1, 2**22 // len(clusters))  # 32 MB of counts at a time
    for start in range(0, samples, chunk):
        count = min(chunk, samples - start)
        drawn = rng.multinomial(len(clusters), np.full(len(clusters), 1 / len(clusters)), count)
        means = []
        for x in sums:
            seeds = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), count)
            means.append(((drawn @ x.T) * seeds).sum(1) / len(x) / (drawn @ size))
        draws.append(means[0] - means[1])
    low, high = np.quantile(np.concatenate(draws), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(ours.mean() - theirs.mean()), float(low), float(high))
