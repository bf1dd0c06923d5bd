"""Intervals of a result: of means and ratios over queries, groups drawn together, small sets."""

import numpy as np
import pytest

from mmjax.data.source import InMemory
from mmjax.evaluation.base import Ratio, Result
from mmjax.run import intervals as module
from mmjax.run.intervals import intervals

HITS = (np.arange(200) < 120).astype(float)


def bounds_of(result, group=range(200)):
    """Intervals of an evaluation whose rows are of these groups."""
    source = InMemory([{"group": number} for number in group])
    return intervals("unseen", source, result)


def result(value=0.6, values=HITS):
    metrics = {"a/r1": value, "a/median_rank": 2.0}
    queries = {"a/r1": values, "a/rank": HITS + 1, "a/index": np.arange(200)}
    return Result(metrics, queries=queries)


def test_means_have_the_interval_of_their_queries():
    bounds = bounds_of(result())
    assert list(bounds) == ["unseen/a/r1"]  # a median has none
    half = 1.96 * np.sqrt(0.6 * 0.4 / 200)
    assert bounds["unseen/a/r1"] == pytest.approx((0.6 - half, 0.6 + half), abs=0.015)


def test_queries_of_a_group_are_drawn_together():
    low, high = bounds_of(result())["unseen/a/r1"]
    low_of_pairs, high_of_pairs = bounds_of(result(), np.arange(200) // 2)["unseen/a/r1"]
    assert 1.3 * (high - low) < high_of_pairs - low_of_pairs < 1.5 * (high - low)


def test_a_mean_over_parts_keeps_its_place():
    low, high = bounds_of(result())["unseen/a/r1"]
    moved = bounds_of(result(value=0.7))["unseen/a/r1"]
    assert moved == pytest.approx((low + 0.1, high + 0.1))


def test_ratios_have_intervals_too():
    errors = Ratio(np.arange(200) % 3, np.full(200, 4))
    (bounds,) = bounds_of(result(value=errors.value, values=errors)).values()
    assert bounds[0] < errors.value < bounds[1] < bounds[0] + 0.1


def test_large_sets_have_none(monkeypatch):
    monkeypatch.setattr(module, "MOST", 150)
    assert bounds_of(result()) == {}
    assert bounds_of(result(), np.arange(200) // 2)  # a hundred groups
