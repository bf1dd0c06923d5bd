"""Batches of rows that are alike in length: the same rows, dealt out anew."""

from collections import Counter

import numpy as np
import pytest

from mmjax.data.alike import Alike
from mmjax.data.plan import BatchPlan, Bucketed, Mixture, Packed, lengths_of

LENGTHS = [np.random.default_rng(0).integers(1, 100, size) for size in (60, 40)]


def plan(**fields):
    return Mixture((60, 40), 5, weights=(3.0, 2.0), seed=7, **fields)


def rows_of(plan, steps):
    found = Counter()
    for step in steps:
        rows = plan(step)
        found.update(
            zip(rows.source.tolist(), rows.index.tolist(), rows.visit.tolist(), strict=True)
        )
    return found


def test_a_window_holds_the_rows_that_it_held():
    alike = Alike(plan(), LENGTHS, window=4)
    assert isinstance(alike, BatchPlan)
    for first in (0, 4, 40):
        steps = range(first, first + 4)
        assert rows_of(alike, steps) == rows_of(plan(), steps)


def test_batches_are_alike():
    alike = Alike(plan(), LENGTHS, window=8)

    def padding(some):
        lengths = [lengths_of(some(step), LENGTHS) for step in range(80)]
        return np.mean([(one.max() - one).mean() for one in lengths])

    assert padding(alike) < padding(plan()) / 3
    longest = [lengths_of(alike(step), LENGTHS).max() for step in range(8)]
    assert longest != sorted(longest), "the batches of a window come in an order of their own"


def test_it_is_a_function_of_the_step():
    one, other = (Alike(plan(), LENGTHS, window=4, seed=1) for _ in range(2))
    for step in (9, 3, 17):
        for a, b in zip(one(step)[:3], other(step)[:3], strict=True):
            np.testing.assert_array_equal(a, b)
    assert repr(one) == repr(other) and "window=4" in repr(one)


def test_buckets_around_it():
    padded = Bucketed(Alike(plan(), LENGTHS, window=8), LENGTHS, (25, 50, 100), "audio")
    shapes = {padded(step).shape["audio"] for step in range(40)}
    assert shapes == {(25,), (50,), (100,)}
    packed = Packed(plan(), [np.minimum(one, 9) for one in LENGTHS], 10, pack=5)
    with pytest.raises(ValueError, match="sort, then pack"):
        Alike(packed, LENGTHS)
