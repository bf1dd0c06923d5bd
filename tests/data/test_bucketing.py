"""One length bucket where several cost more compilations than they save."""

import numpy as np
import pytest

from mmjax.data import bucketing
from mmjax.data.bucketing import worthwhile
from mmjax.data.plan import Bucketed, Mixture, buckets
from mmjax.data.source import InMemory
from mmjax.processors import image_text

EDGES = buckets(48)  # 8, 16, ..., 48


def rows(short, long, count):
    """Lengths of a set in which every 1,000th row is long."""
    lengths = np.full(count, short, np.int32)
    lengths[::1000] = long
    return lengths


def test_a_small_set_has_one_bucket_as_long_as_its_longest_row():
    lengths = [rows(5, 18, 3000), rows(7, 9, 2000)]
    assert worthwhile(Mixture((3000, 2000), 8), lengths, EDGES) == (20,)
    assert worthwhile(Mixture((3000,), 8), [rows(5, 46, 3000)], (8, 30, 46)) == (46,)


def test_a_large_set_has_those_that_it_needs():
    lengths = [rows(5, 38, bucketing.SMALL)]
    assert worthwhile(Mixture((bucketing.SMALL,), 8), lengths, EDGES) == (8, 16, 24, 32, 40)


def test_buckets_that_save_little_are_one():
    """Of a large batch nearly every one holds a long row."""
    lengths = [rows(5, 38, bucketing.SMALL)]
    assert worthwhile(Mixture((bucketing.SMALL,), 4096), lengths, EDGES) == (40,)


@pytest.mark.parametrize("steps", [1, 100, None])
def test_a_run_that_is_made_longer_keeps_its_buckets(steps):
    lengths = [np.full(bucketing.SMALL, 5, np.int32)]
    lengths[0][0] = 40
    assert worthwhile(Mixture((bucketing.SMALL,), 8, steps=steps), lengths, EDGES)[0] == 8


def test_the_processor_asks_and_a_config_that_names_buckets_has_them():
    source = InMemory([{"text": f"word {at} " * (1 + at % 3)} for at in range(40)])
    plan = Mixture((40,), 8)
    few = dict(tokenizer="words", max_length=48)
    made = image_text.build(image_text.Config(**few), lambda: [source], None)
    one = made.plan(plan, [source])
    assert isinstance(one, Bucketed) and one.buckets == (8,)  # start, 6 words, end
    named = image_text.build(image_text.Config(**few, buckets=(8, 64)), lambda: [source], None)
    assert named.plan(plan, [source]).buckets == (8, 48)


def test_on_paper_a_caption_is_as_long_as_may_be():
    config = image_text.Config(max_length=30)
    source = InMemory([image_text.paper(config)] * 8)
    plan = image_text.build(config, None, None).plan(Mixture((8,), 8), [source])
    assert plan.largest_shape == {"text": (30,)}
