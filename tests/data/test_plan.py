"""Plans: every row once per epoch, exact shares, any step at once, shapes that fit."""

import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.data.orders import Curriculum, Shuffle, Stage, permuted
from mmjax.data.plan import (
    Bucketed,
    Mixture,
    Packed,
    Sequential,
    buckets,
    curriculum,
    interleaved,
)
from mmjax.data.source import DataError


def taken(plan, steps):
    return [plan(step) for step in range(steps)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_permutations_are_permutations(size):
    orders = [permuted(np.arange(size), size, (7, epoch)) for epoch in range(3)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(size))
    assert size < 16 or not np.array_equal(orders[0], orders[1])
    some = np.arange(size)[::3]
    assert np.array_equal(permuted(some, size, (7, 0)), orders[0][some])


@pytest.mark.parametrize("size", [3, 5, 8, 21])
def test_permutations_are_uniform(size):
    draws = 1000
    counts = np.zeros((size, size))
    for key in range(draws):
        counts[np.arange(size), permuted(np.arange(size), size, (key,))] += 1
    chi2 = ((counts - draws / size) ** 2 / (draws / size)).sum()
    freedom = (size - 1) ** 2
    assert abs(chi2 - freedom) < 5 * np.sqrt(2 * freedom)


def test_neighbours_are_not_related():
    orders = [permuted(np.arange(1000), 1000, (key,)) for key in range(100)]
    along = [np.corrcoef(order[:-1], order[1:])[0, 1] for order in orders]
    between = [np.corrcoef(a, b)[0, 1] for a, b in zip(orders, orders[1:], strict=False)]
    assert abs(np.mean(along)) < 0.01 and abs(np.mean(between)) < 0.01


def test_every_row_once_per_epoch():
    plan = Mixture((50,), batch=15, seed=3)
    rows = taken(plan, 10)  # three epochs
    index = np.concatenate([one.index for one in rows])
    visit = np.concatenate([one.visit for one in rows])
    for epoch in range(3):
        assert np.array_equal(np.sort(index[visit == epoch]), np.arange(50))
    assert np.array_equal(visit, np.arange(150) // 50)
    assert not np.array_equal(index[:50], index[50:100])


def test_a_plan_is_a_function_of_seed_and_step():
    for one, two in zip(
        taken(Mixture((90,), 16, seed=1), 5), taken(Mixture((90,), 16, seed=1), 5), strict=True
    ):
        assert all(np.array_equal(a, b) for a, b in zip(one[:4], two[:4], strict=True))
    first, second = Mixture((90,), 16, seed=1)(0), Mixture((90,), 16, seed=2)(0)
    assert not np.array_equal(first.index, second.index)
    far = Mixture((10**12,), 4096, seed=1)(10**9)
    assert len(np.unique(far.index)) == 4096 and far.index.max() < 10**12


def test_sequential_ends_with_padding():
    plan = Sequential(size=10, batch=4)
    assert plan.steps == 3
    assert [one.index.tolist() for one in taken(plan, 3)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, -1, -1],
    ]
    assert Sequential(size=3, batch=8)(0).index.tolist() == [0, 1, 2, -1, -1, -1, -1, -1]


def test_mixture_is_exact():
    plan = Mixture(sizes=(40, 100, 30), batch=20, weights=(2.0, 5.0, 3.0), seed=4)
    rows = taken(plan, 30)
    source = np.concatenate([one.source for one in rows])
    assert np.bincount(source).tolist() == [120, 300, 180]
    for one in rows:  # nearly so in each batch
        assert np.abs(np.bincount(one.source, minlength=3) - [4, 10, 6]).max() <= 1
    for number, size in enumerate(plan.sizes):
        index = np.concatenate([one.index[one.source == number] for one in rows])
        visit = np.concatenate([one.visit[one.source == number] for one in rows])
        for epoch in range(3):
            assert np.array_equal(np.sort(index[visit == epoch]), np.arange(size))


def test_mixture_of_one_source_is_shuffled():
    one, other = Mixture(sizes=(33,), batch=10, seed=5), Mixture((33,), 10, seed=5)
    for step in range(8):
        assert np.array_equal(one(step).index, other(step).index)


def test_mixture_by_size_gives_all_rows_the_same_weight():
    plan = Mixture(sizes=(30, 10), batch=8)
    assert np.bincount(np.concatenate([one.source for one in taken(plan, 5)])).tolist() == [30, 10]


def test_tables():
    assert interleaved((1, 1)).tolist() == [0, 1]
    assert interleaved((0.5, 0.25, 0.25)).tolist() == [0, 1, 2, 0]
    assert len(interleaved((1, 2))) == 3
    assert np.bincount(interleaved((np.pi, 1))).sum() == 10_000
    with pytest.raises(ValueError, match="weights are positive"):
        interleaved((1, 0))
    with pytest.raises(ValueError, match="below 1/10000"):
        interleaved((1, 1e-7))
    with pytest.raises(ValueError, match="2 weights for 3 sources"):
        Mixture(sizes=(5, 5, 5), batch=3, weights=(1.0, 2.0))


def test_a_batch_larger_than_the_data_names_both():
    message = "takes 512 rows of the data, which has only 300: .* batch 300 rows at most"
    with pytest.raises(ValueError, match=message):
        Mixture((300,), 512)
    with pytest.raises(ValueError, match="takes 90 rows of source 1, which has only 50"):
        Mixture(sizes=(1000, 50), batch=100, weights=(0.1, 0.9))
    with pytest.raises(ValueError, match="the data has no rows"):
        Sequential(0, 8)
    with pytest.raises(ValueError, match="at least 1"):
        Mixture((10,), 0)


def test_buckets_choose_shapes_and_nothing_else():
    lengths = np.random.default_rng(0).integers(1, 30, 200).astype(np.int32)
    inner = Mixture((200,), 8, seed=1, shape={"audio": (100,)})
    plan = Bucketed(inner, [lengths], (8, 16, 24, 32))
    assert (plan.batch, plan.steps) == (8, None)
    assert plan.largest_shape == {"audio": (100,), "text": (32,)}
    seen = set()
    for step in range(40):
        rows, same = plan(step), inner(step)
        assert all(np.array_equal(a, b) for a, b in zip(rows[:3], same[:3], strict=True))
        longest = lengths[rows.index].max()
        bucket = rows.shape["text"][0]
        assert longest <= bucket and (bucket == 8 or longest > bucket - 8)
        assert rows.shape["audio"] == (100,)
        seen.add(bucket)
    assert len(seen) > 1


def test_buckets_of_several_captions_and_of_padding():
    plan = Bucketed(Sequential(3, 2, shape={"text": (5, 1)}), [np.array([3, 9, 2])], (4, 12))
    assert [plan(step).shape["text"] for step in range(2)] == [(5, 12), (5, 4)]


def test_buckets_that_do_not_fit():
    with pytest.raises(ValueError, match="length 9, the last bucket is 8"):
        Bucketed(Sequential(3, 2), [np.array([3, 9, 2])], (4, 8))
    for wrong in ((), (8, 4), (4, 4)):
        with pytest.raises(ValueError, match="rising"):
            Bucketed(Sequential(3, 2), [np.array([3, 1, 2])], wrong)


@pytest.mark.parametrize("longest", [1, 4, 23, 77, 512])
def test_bucket_edges(longest):
    edges = buckets(longest, multiple=4, most=8)
    assert longest <= edges[-1] and len(edges) <= 8 and all(edge % 4 == 0 for edge in edges)
    assert len(edges) == 1 or edges[-2] < longest


STAGES = (Stage(0.2, until=7), Stage(0.5, until=19), Stage(1.0))


def graded(rows=60, seed=0):
    """Difficulties in no order."""
    return np.random.default_rng(seed).permutation(rows).astype(np.float32)


def test_a_curriculum_takes_the_easiest_rows_and_keeps_the_shares():
    """Within a stage every row of it once per epoch; the mixture and the other source are the
    same."""
    hard = graded()
    plain = Mixture((60, 100), 12, weights=(1.0, 2.0), seed=4)
    plan = curriculum(plain, 0, hard, STAGES)
    came = np.zeros(60, int)
    for step in range(40):
        rows, same = plan(step), plain(step)
        assert np.array_equal(rows.source, same.source)
        other = rows.source == 1
        assert np.array_equal(rows.index[other], same.index[other])
        index = rows.index[~other]
        count = 12 if step < 7 else 30 if step < 19 else 60
        assert hard[index].max() < count
        for row, visit in zip(index, rows.visit[~other], strict=True):
            assert visit == came[row]  # exact, over stages and epochs that were cut off
            came[row] += 1
    easiest_first = came[np.argsort(hard)]
    assert easiest_first.sum() == 40 * 4
    # 28 places over 12 rows, 48 over 30, 84 over 60
    assert easiest_first[:12].min() >= 2 + 1 + 1 and easiest_first[30:].max() <= 2


def test_a_curriculum_is_a_function_of_the_step():
    plan = curriculum(Mixture((60,), 8, seed=4), 0, graded(), STAGES)
    again = curriculum(Mixture((60,), 8, seed=4), 0, graded(), STAGES)
    for step in (33, 3, 20, 6, 7):  # in any order, as a run does that goes on
        for one, other in zip(plan(step)[:3], again(step)[:3], strict=True):
            assert np.array_equal(one, other)
    assert repr(plan) == repr(again)
    others = [
        curriculum(Mixture((60,), 8, seed=4), 0, graded(seed=1), STAGES),
        curriculum(Mixture((60,), 8, seed=4), 0, graded(), (Stage(0.2, until=8), *STAGES[1:])),
        curriculum(Mixture((60,), 8, seed=4), 0, graded(), (*STAGES[:2], Stage(0.9))),
        Mixture((60,), 8, seed=4),
    ]
    assert len({repr(one) for one in (plan, *others)}) == 5  # what a checkpoint compares


def test_a_curriculum_composes_with_buckets_and_packing():
    """The lengths are those of the rows that the curriculum takes."""
    lengths = np.arange(60) % 9 + 1
    plan = curriculum(Mixture((60,), 8, seed=4), 0, graded(), STAGES)
    bucketed = Bucketed(plan, [lengths], (3, 6, 9))
    laid = Packed(plan, [lengths], 12, pack=4)
    for step in range(25):
        for one in (bucketed(step), laid(step)):
            assert np.array_equal(one.index, plan(step).index)
        longest = lengths[plan(step).index].max()
        assert longest <= bucketed(step).shape["text"][0] < longest + 3


def test_a_curriculum_that_does_not_fit():
    plain = Mixture((60,), 12)
    cases = [
        ((Stage(0.1, until=5), Stage(1.0)), "takes 12 rows .* its curriculum has only 6"),
        ((Stage(0.5), Stage(1.0)), "every stage of a curriculum but the last"),
        ((Stage(0.5, until=5), Stage(1.0, until=9)), "every stage of a curriculum but the last"),
        ((Stage(0.5, until=9), Stage(0.7, until=9), Stage(1.0)), "end one after the other"),
        ((Stage(0.0, until=5), Stage(1.0)), "shares above 0"),
        ((), "has stages with shares"),
    ]
    for stages, message in cases:
        with pytest.raises(ConfigError, match=message):
            curriculum(plain, 0, graded(), stages)
    hard = graded()
    hard[17] = np.nan
    with pytest.raises(DataError, match="row 17 has the difficulty nan"):
        curriculum(plain, 0, hard, STAGES)
    with pytest.raises(ConfigError, match="needs an end for each but the last"):
        Curriculum(graded(), (10, 20), ())
    with pytest.raises(ValueError, match="other numbers of rows"):
        Mixture((60,), 12, orders=(Shuffle(59),))


def test_how_many_rows_were_taken():
    plan = Mixture((40, 100, 30), 7, weights=(2.0, 5.0, 3.0))
    counts = np.zeros(3, int)
    for step in range(12):
        assert np.array_equal(plan.taken(step), counts)
        counts += np.bincount(plan(step).source, minlength=3)


def test_several_fields_with_lengths():
    """Two fields of one layout, and another with lengths of its own around them."""
    tokens = np.arange(60) % 9 + 1
    frames = np.arange(60) % 40 + 1
    plan = Bucketed(Mixture((60,), 8), [tokens], (4, 9), also=("text_weight",))
    plan = Bucketed(plan, [frames], (20, 40), field="audio")
    assert plan.largest_shape == {"text": (9,), "text_weight": (9,), "audio": (40,)}
    assert plan.follows == {"text_weight": "text"} and plan.packed == () and plan.pack == 0
    shape = plan(0).shape
    assert shape["text"] == shape["text_weight"]
    laid = Packed(Mixture((60,), 8), [tokens], 12, pack=4, also=("text_weight",))
    laid = Bucketed(laid, [frames], (20, 40), field="audio")
    assert laid.packed == ("text", "text_weight") and laid.pack == 4
    assert laid.largest_shape == {"text": (4, 12), "text_weight": (4, 12), "audio": (40,)}
    assert laid(0).row is not None
    with pytest.raises(ValueError, match="use `also`"):
        Packed(laid, [frames], 40, pack=4, field="audio")
