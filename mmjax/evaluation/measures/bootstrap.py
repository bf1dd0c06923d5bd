"""Bootstrap intervals of means and ratios over queries and seeds (Efron, 1979), of one system or a
difference.

* Paired: both systems answered the same queries, so queries are drawn together and only what
  differs between the systems is left in the interval.
* Seeds are drawn too, for each system on its own (seed 0 of one has nothing to do with seed 0 of
  the other). Three seeds show little of their own spread, so that part of the interval is coarse.
* `cluster` draws whole groups: the two drawings of one emoji are one observation, not two.
* A ratio of sums (word errors over words) is taken anew in every draw; a mean is the ratio of the
  values' sum to their number.
* Deterministic: the same values and seed give the same interval.

Letters: R runs (seeds), Q queries.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from mmjax.evaluation.base import Ratio

CHUNK = 2**22  # counts drawn at a time, 32 MB


class Interval(NamedTuple):
    """A mean and its confidence bounds; bounds are NaN where nothing tells how far it spreads."""

    mean: float
    low: float
    high: float

    def __str__(self):
        if math.isnan(self.low):
            return f"{self.mean:+.3f}"
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def mean(
    values: Num[np.ndarray, "..."] | Ratio,
    *,
    cluster: Shaped[np.ndarray, "..."] | None = None,
    samples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean of per-query values (hits of one or several seeds), or a ratio of their sums, with its
    percentile interval."""
    side = _as_ratio(values)
    nothing = np.zeros_like(side.numerator)
    return paired(side, nothing, cluster=cluster, samples=samples, level=level, seed=seed)


def paired(
    ours: Num[np.ndarray, "..."] | Ratio,
    theirs: Num[np.ndarray, "..."] | Ratio,
    *,
    cluster: Shaped[np.ndarray, "..."] | None = None,
    samples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Difference of two systems on the same queries, with its interval.

    Args:
      ours, theirs: values [Q] or [R, Q], of which means are compared, or a Ratio of such arrays.
      cluster: [Q], which queries are drawn together; None: each is drawn for itself.
    """
    sides = [_as_ratio(ours), _as_ratio(theirs)]
    shapes = [side.numerator.shape for side in sides]
    if shapes[0][1] != shapes[1][1] or not all(math.prod(shape) for shape in shapes):
        raise ValueError(
            f"paired values must be [seeds, queries] over the same queries, "
            f"not {shapes[0]} and {shapes[1]}"
        )
    queries = shapes[0][1]
    cluster = np.arange(queries) if cluster is None else np.asarray(cluster)
    if cluster.shape != (queries,):
        raise ValueError(f"cluster must name a cluster for each of {queries} queries")
    clusters, member = np.unique(cluster, return_inverse=True)
    member = member.reshape(-1)
    sums = [Ratio(*(_per_cluster(part, member) for part in side)) for side in sides]

    rng = np.random.default_rng(seed)
    draws = []
    chunk = max(1, CHUNK // len(clusters))
    for start in range(0, samples, chunk):
        count = min(chunk, samples - start)
        drawn = rng.multinomial(len(clusters), np.full(len(clusters), 1 / len(clusters)), count)
        values = [_drawn_value(side, drawn, rng) for side in sums]
        draws.append(values[0] - values[1])
    low, high = _quantiles(np.concatenate(draws), level)
    difference = value(sides[0]) - value(sides[1])
    return Interval(difference, low, high)


def runs(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    samples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Difference of the means of numbers that are one for each run, such as an FID.

    The interval draws runs; with a single run on a side nothing tells how far its number spreads.
    """
    difference = float(np.mean(ours) - np.mean(theirs))
    if min(len(ours), len(theirs)) < 2:
        return Interval(difference, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    means = [rng.choice(side, (samples, len(side))).mean(1) for side in (ours, theirs)]
    low, high = _quantiles(means[0] - means[1], level)
    return Interval(difference, low, high)


def value(side: Num[np.ndarray, "..."] | Ratio) -> float:
    """The mean over runs of each run's mean, or ratio of sums."""
    side = _as_ratio(side)
    if (side.denominator == 1).all():
        return float(side.numerator.mean())
    return float((side.numerator.sum(1) / side.denominator.sum(1)).mean())


def _as_ratio(side: Num[np.ndarray, "..."] | Ratio) -> Ratio:
    """Arrays [R, Q] of float64."""
    if not isinstance(side, Ratio):
        side = Ratio(np.asarray(side), np.ones_like(side))
    return Ratio(*(np.atleast_2d(np.asarray(part, np.float64)) for part in side))


def _per_cluster(
    values: Float[np.ndarray, "R Q"], member: Int[np.ndarray, " Q"]
) -> Float[np.ndarray, "R G"]:
    """Sums over the queries of each cluster."""
    return np.stack([np.bincount(member, row) for row in values])


def _drawn_value(
    sums: Ratio, drawn: Int[np.ndarray, "S G"], rng: np.random.Generator
) -> Float[np.ndarray, " S"]:
    """A system's number in each of S draws of clusters, over runs that are drawn as well."""
    count = len(sums.numerator)
    seeds = rng.multinomial(count, np.full(count, 1 / count), len(drawn))
    of_run = (drawn @ sums.numerator.T) / (drawn @ sums.denominator.T)  # [S, R]
    return (of_run * seeds).sum(1) / count


def _quantiles(values: Float[np.ndarray, " S"], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
