"""How far apart two sets of feature vectors are: what sets of samples are compared with data by.

* The Frechet distance of two normal distributions (FID, https://arxiv.org/abs/1706.08500; of clips
  FVD, https://arxiv.org/abs/1812.01717). It is biased upwards for few samples: compare equal
  numbers.
* The kernel distance (KID, https://arxiv.org/abs/1801.01401): the squared maximum mean discrepancy
  with the kernel (x . y / D + 1)^3, unbiased, with an interval over subsets.
* Both say nothing without the name of what the features are of: it stands in the metric's name.

Letters: N and M vectors of the two sets, D width.
"""

from __future__ import annotations

import numpy as np

from mmjax.evaluation.measures.bootstrap import Interval
from mmjax.typing import Float

DEGREE = 3  # of the kernel


def frechet(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]) -> float:
    """|mean difference|^2 + trace(A + B - 2 (A B)^(1/2)) of the covariances A and B.

    Raises:
      ValueError: fewer than two vectors of a set.
    """
    _check(a, b, 2)
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    apart = a.mean(0) - b.mean(0)
    # A B has the eigenvalues of R B R, where R is the root of A: symmetric, so all are real
    of_a = np.atleast_2d(np.cov(a, rowvar=False))
    of_b = np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = np.linalg.eigh(of_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    between = np.linalg.eigvalsh(root @ of_b @ root)
    shared = np.sqrt(between.clip(0)).sum()
    return float(apart @ apart + np.trace(of_a) + np.trace(of_b) - 2 * shared)


def kernel(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]) -> float:
    """The unbiased squared maximum mean discrepancy; 0 on average for one distribution.

    Raises:
      ValueError: fewer than two vectors of a set.
    """
    _check(a, b, 2)
    within_a = _products(a, a)
    within_b = _products(b, b)
    of_a = (within_a.sum() - np.trace(within_a)) / (len(a) * (len(a) - 1))
    of_b = (within_b.sum() - np.trace(within_b)) / (len(b) * (len(b) - 1))
    return float(of_a + of_b - 2 * _products(a, b).mean())


def kernel_interval(
    a: Float[np.ndarray, "N D"],
    b: Float[np.ndarray, "M D"],
    *,
    subsets: int = 100,
    size: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of `kernel` over subsets of both sets, and where most subsets' lie.

    Args:
      size: of a subset, drawn without replacement; at most half of the smaller set.
    """
    rng = np.random.default_rng(seed)
    size = max(2, min(size, len(a) // 2, len(b) // 2))
    found = np.array([
        kernel(
            a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)]
        )
        for _ in range(subsets)
    ])  # fmt: skip
    low, high = np.quantile(found, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(found.mean()), float(low), float(high))


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a = np.asarray(a, np.float64)
    return (a @ np.asarray(b, np.float64).T / a.shape[1] + 1) ** DEGREE


def _check(a: np.ndarray, b: np.ndarray, least: int) -> None:
    if min(len(a), len(b)) < least or a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"sets of {list(a.shape)} and {list(b.shape)} numbers: {least} vectors of each at "
            "least, all of one width"
        )
