"""Distances of sets of features, against scipy and against what is known of normal draws."""

import numpy as np
import pytest
from scipy import linalg

from mmjax.evaluation.generated import distances

RNG = np.random.default_rng(0)
A = RNG.normal(size=(300, 6)) @ RNG.normal(size=(6, 6)) / 3
B = RNG.normal(size=(250, 6)) @ RNG.normal(size=(6, 6)) / 3 + 2


def test_frechet_is_that_of_scipy():
    root = linalg.sqrtm(np.cov(A, rowvar=False) @ np.cov(B, rowvar=False)).real
    apart = A.mean(0) - B.mean(0)
    wanted = apart @ apart + np.trace(np.cov(A, rowvar=False) + np.cov(B, rowvar=False) - 2 * root)
    assert distances.frechet(A, B) == pytest.approx(wanted, rel=1e-9)
    assert distances.frechet(A, A) == pytest.approx(0, abs=1e-8)
    # fewer vectors than numbers in each: covariances without an inverse
    few = A[:4]
    assert distances.frechet(few, few) == pytest.approx(0, abs=1e-6)
    assert distances.frechet(A[:, :1], A[:, :1] + 2) == pytest.approx(4)


def test_kernel_distance_by_its_sum():
    a, b = A[:20], B[:15]

    def k(x, y):
        return (x @ y / 6 + 1) ** 3

    of_a = np.mean([k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    of_b = np.mean([k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    between = np.mean([k(x, y) for x in a for y in b])
    assert distances.kernel(a, b) == pytest.approx(of_a + of_b - 2 * between, rel=1e-9)
    same = distances.kernel_interval(A[:150], A[150:])
    assert same.low < 0 < same.high
    other = distances.kernel_interval(A, B)
    assert other.low < other.mean < other.high
    assert other.mean > same.high
    assert other == distances.kernel_interval(A, B)


def test_sets_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="2 vectors of each"):
        distances.frechet(A[:1], B)
