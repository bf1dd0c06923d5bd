import numpy as np
import pytest

from mmjax.evaluation.base import Ratio
from mmjax.evaluation.measures import bootstrap


def test_the_interval_of_a_mean_is_that_of_the_binomial():
    hits = (np.arange(400) < 240).astype(float)
    interval = bootstrap.mean(hits)
    half = 1.96 * np.sqrt(0.6 * 0.4 / 400)
    assert interval.mean == pytest.approx(0.6)
    np.testing.assert_allclose(interval[1:], [0.6 - half, 0.6 + half], atol=0.004)
    assert str(interval).startswith("+0.600 [+0.55")


def test_pairing_removes_what_both_systems_share():
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    ours, theirs = (hard < 0.55).astype(float), (hard < 0.5).astype(float)
    paired = bootstrap.paired(ours, theirs)
    apart = bootstrap.paired(ours, rng.permutation(theirs))
    assert paired.mean == pytest.approx(apart.mean) and paired.low > 0 > apart.low


def test_the_95_percent_interval_covers_the_truth_about_95_times_in_100():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(200):
        values = rng.standard_normal((2, 60))
        interval = bootstrap.paired(values[0], values[1], samples=400)
        inside += interval.low <= 0 <= interval.high
    assert 0.90 <= inside / 200 <= 0.98


def test_clusters_are_drawn_whole():
    one = np.random.default_rng(0).random(100)
    single, doubled = bootstrap.mean(one), np.repeat(one, 2)
    clustered = bootstrap.mean(doubled, cluster=np.repeat(np.arange(100), 2))
    np.testing.assert_allclose(clustered, single)
    naive = bootstrap.mean(doubled)
    assert naive.high - naive.low < 0.8 * (single.high - single.low)


def test_seeds_widen_the_interval_and_may_differ_in_number():
    rng = np.random.default_rng(0)
    queries = rng.random(200)
    ours = queries + np.array([[0.0], [0.2], [-0.2]])
    wide, narrow = bootstrap.mean(ours), bootstrap.mean(np.stack([queries] * 3))
    assert wide.mean == pytest.approx(narrow.mean)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    difference = bootstrap.paired(ours, queries)
    assert difference.mean == pytest.approx(0, abs=1e-12) and difference.low < 0 < difference.high


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random((3, 50))
    assert bootstrap.mean(values, seed=4) == bootstrap.mean(values, seed=4)
    assert bootstrap.mean(values, seed=4) != bootstrap.mean(values, seed=5)


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 4\) and \(1, 5\)"):
        bootstrap.paired(np.zeros(4), np.zeros(5))
    with pytest.raises(ValueError, match="a cluster for each of 4 queries"):
        bootstrap.paired(np.zeros(4), np.zeros(4), cluster=np.zeros(3))


def test_a_ratio_is_one_of_sums_in_every_draw():
    rng = np.random.default_rng(0)
    words = rng.integers(1, 30, 200)
    errors = rng.binomial(words, 0.2)
    rate = Ratio(errors, words)
    assert bootstrap.value(rate) == rate.value == errors.sum() / words.sum()
    nothing = Ratio(np.zeros(200), words)
    interval = bootstrap.paired(rate, nothing)
    assert interval.mean == pytest.approx(rate.value)
    # the standard error of a ratio of means (Cochran, 1977, 2.46)
    residual = errors - rate.value * words
    half = 1.96 * residual.std() / np.sqrt(200) / words.mean()
    np.testing.assert_allclose(interval[1:], [rate.value - half, rate.value + half], atol=0.004)


def test_a_mean_is_the_ratio_over_the_number_of_values():
    hits = (np.random.default_rng(0).random((2, 50)) < 0.3).astype(float)
    ones = Ratio(hits, np.ones_like(hits))
    other = np.zeros(50)
    assert bootstrap.paired(hits, other) == bootstrap.paired(ones, other)


def test_ratios_of_runs_are_paired_by_query():
    words = np.full(100, 10)
    worse = np.random.default_rng(0).integers(1, 9, 100)
    ours = Ratio(np.stack([worse - 1, worse - 1]), np.stack([words, words]))
    interval = bootstrap.paired(ours, Ratio(worse, words))
    np.testing.assert_allclose(interval, [-0.1, -0.1, -0.1])


def test_numbers_of_whole_runs():
    interval = bootstrap.runs([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert interval.mean == -3 and -5 <= interval.low < -3 < interval.high <= -1
    alone = bootstrap.runs([1.0], [4.0, 5.0])
    assert alone.mean == -3.5 and np.isnan(alone[1:]).all() and str(alone) == "-3.500"
