"""Contrastive losses against the formulas of the papers, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.objectives import contrastive

B, E = 6, 5
SCALE, BIAS = 7.0, -3.0


def unit(rng):
    x = rng.normal(size=(B, E)).astype(np.float32)
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return unit(rng), unit(rng)


def softmax_by_hand(a, b, keep):
    """Row i against the columns of keep[i], its own always among them."""
    logits = SCALE * np.asarray(a, np.float64) @ np.asarray(b, np.float64).T
    return np.array([
        np.log(np.exp(logits[i][keep[i]]).sum()) - logits[i, i] for i in range(len(a))
    ])  # fmt: skip


def test_softmax_is_infonce(pair):
    a, b = pair
    there, back = contrastive.softmax_contrastive(a, b, jnp.float32(SCALE), jnp.ones(B))
    everything = np.ones((B, B), bool)
    np.testing.assert_allclose(there, softmax_by_hand(a, b, everything), rtol=1e-5)
    np.testing.assert_allclose(back, softmax_by_hand(b, a, everything), rtol=1e-5)


def test_groups_are_not_negatives(pair):
    a, b = pair
    groups = jnp.array([0, 1, 0, 2, 3, 1])
    keep = np.asarray(groups[:, None] != groups[None]) | np.eye(B, dtype=bool)
    there, back = contrastive.softmax_contrastive(a, b, jnp.float32(SCALE), jnp.ones(B), groups)
    np.testing.assert_allclose(there, softmax_by_hand(a, b, keep), rtol=1e-5)
    np.testing.assert_allclose(back, softmax_by_hand(b, a, keep), rtol=1e-5)


def test_rows_of_weight_zero_change_nothing(pair):
    a, b = pair
    weights = jnp.array([1.0, 1, 0, 1, 1, 0])
    real = np.asarray(weights) > 0
    for loss in (
        lambda a, b, w: contrastive.softmax_contrastive(a, b, jnp.float32(SCALE), w)[0],
        lambda a, b, w: contrastive.sigmoid_contrastive(
            a, b, jnp.float32(SCALE), jnp.float32(BIAS), w
        ),
    ):
        without = loss(a[real], b[real], jnp.ones(real.sum()))
        np.testing.assert_allclose(np.asarray(loss(a, b, weights))[real], without, rtol=1e-5)
        # and no gradient flows into them
        grads = jax.grad(lambda a, loss=loss: (loss(a, b, weights) * weights).sum())(a)
        assert not np.any(np.asarray(grads)[~real])


def test_sigmoid_is_siglip(pair):
    """-sum_ij log sigmoid(z_ij (scale a_i b_j + bias)) / B, z = 1 on the diagonal, else -1."""
    a, b = pair
    values = contrastive.sigmoid_contrastive(
        a, b, jnp.float32(SCALE), jnp.float32(BIAS), jnp.ones(B)
    )
    signs = 2 * np.eye(B) - 1
    logits = SCALE * np.asarray(a, np.float64) @ np.asarray(b, np.float64).T + BIAS
    np.testing.assert_allclose(values, np.log1p(np.exp(-signs * logits)).sum(1), rtol=1e-5)


def test_bias_has_no_gradient_under_softmax_and_one_under_sigmoid(pair):
    a, b = pair
    grad = jax.grad(
        lambda bias: contrastive.sigmoid_contrastive(
            a, b, jnp.float32(SCALE), bias, jnp.ones(B)
        ).sum()
    )(jnp.float32(BIAS))
    assert abs(float(grad)) > 1e-3


def test_retrieved_counts_nearest_partners(pair):
    a, _ = pair
    assert np.all(np.asarray(contrastive.retrieved(a, a, jnp.ones(B))) == 1)
    shifted = jnp.roll(a, 1, axis=0)
    assert np.all(np.asarray(contrastive.retrieved(a, shifted, jnp.ones(B))) == 0)
    constant = jnp.tile(a[:1], (B, 1))  # a collapsed model has found nothing
    assert np.all(np.asarray(contrastive.retrieved(constant, constant, jnp.ones(B))) == 0)
