"""How far a run's numbers would move with other queries: bootstrap intervals for its report.

* Queries of one group, such as two drawings of a thing, are drawn together.
* Small sets only: of thousands of queries the interval is narrower than a bar shows.
* A mean over several retrievals of unequal size is not the mean over all queries; its interval is
  as wide as that of the mean over all queries.
* A median rank, or what else is no mean or ratio over queries, has none.
"""

from __future__ import annotations

import numpy as np

from mmjax.data.source import Source
from mmjax.evaluation.base import Result
from mmjax.evaluation.measures import bootstrap

MOST = 2000  # groups of queries
SAMPLES = 1000  # draws, which give the bounds to about a twentieth of the width


def intervals(name: str, source: Source, result: Result) -> dict[str, tuple[float, float]]:
    """95% bounds of the metrics that are means or ratios: {"<name>/<metric>": (0.57, 0.71)}.

    Args:
      name: of the evaluation. source: what it asked. result: what it returned.
    """
    bounds = {}
    for metric, value in result.metrics.items():
        if metric not in result.queries:
            continue
        groups = _groups(source, result, metric)
        if groups is not None and len(np.unique(groups)) > MOST:
            continue
        interval = bootstrap.mean(result.queries[metric], cluster=groups, samples=SAMPLES)
        low = value + interval.low - interval.mean
        high = value + interval.high - interval.mean
        bounds[f"{name}/{metric}"] = (low, high)
    return bounds


def differences(
    source: Source, ours: Result, theirs: Result
) -> dict[str, bootstrap.Interval]:
    """By how much one system is above another, by metric, where both say the values of the same
    queries; paired, with 95% intervals.

    Args:
      source: what both were asked.
    """
    found = {}
    for metric in ours.metrics:
        if metric not in ours.queries or metric not in theirs.queries:
            continue
        parent = metric.rpartition("/")[0]
        name = f"{parent}/index" if parent else "index"
        asked = [result.queries.get(name) for result in (ours, theirs)]
        if any(one is None for one in asked) or not np.array_equal(*asked):
            continue
        sides = [result.queries[metric] for result in (ours, theirs)]
        groups = _groups(source, ours, metric)
        found[metric] = bootstrap.paired(*sides, cluster=groups, samples=SAMPLES)
    return found


def _groups(source: Source, result: Result, metric: str) -> np.ndarray | None:
    """Which queries belong together: those of a group, or of an example; None: not known."""
    parent = metric.rpartition("/")[0]
    index = result.queries.get(f"{parent}/index" if parent else "index")
    if index is None:
        return None
    column = source.column("group")
    return index if column is None else np.asarray(column)[index]
