"""Contrastive losses, in both forms, against the formulas of the papers, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.objectives import contrastive, ring

B, E = 6, 5
SCALE, BIAS = 7.0, -3.0


def unit(rng):
    x = rng.normal(size=(B, E)).astype(np.float32)
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return unit(rng), unit(rng)


@pytest.fixture(params=[contrastive, ring], ids=["plain", "ring"])
def form(request):
    return request.param


def softmax(form, a, b, weights=None, groups=None):
    weights = jnp.ones(len(a)) if weights is None else weights
    return form.softmax(a, b, jnp.float32(SCALE), weights, groups)


def sigmoid(form, a, b, weights=None, groups=None, bias=BIAS):
    weights = jnp.ones(len(a)) if weights is None else weights
    return form.sigmoid(a, b, jnp.float32(SCALE), jnp.float32(bias), weights, groups)


def softmax_by_hand(a, b, keep):
    """Row i against the columns of keep[i], its own always among them."""
    logits = SCALE * np.asarray(a, np.float64) @ np.asarray(b, np.float64).T
    return np.array([
        np.log(np.exp(logits[i][keep[i]]).sum()) - logits[i, i] for i in range(len(a))
    ])  # fmt: skip


def test_softmax_is_infonce(form, pair):
    a, b = pair
    pairs = softmax(form, a, b)
    everything = np.ones((B, B), bool)
    np.testing.assert_allclose(pairs.loss_a_to_b, softmax_by_hand(a, b, everything), rtol=1e-5)
    np.testing.assert_allclose(pairs.loss_b_to_a, softmax_by_hand(b, a, everything), rtol=1e-5)


def test_groups_are_not_negatives(form, pair):
    a, b = pair
    groups = jnp.array([0, 1, 0, 2, 3, 1])
    keep = np.asarray(groups[:, None] != groups[None]) | np.eye(B, dtype=bool)
    pairs = softmax(form, a, b, groups=groups)
    np.testing.assert_allclose(pairs.loss_a_to_b, softmax_by_hand(a, b, keep), rtol=1e-5)
    np.testing.assert_allclose(pairs.loss_b_to_a, softmax_by_hand(b, a, keep), rtol=1e-5)


@pytest.mark.parametrize("loss", [softmax, sigmoid])
def test_rows_of_weight_zero_change_nothing(form, pair, loss):
    a, b = pair
    weights = jnp.array([1.0, 1, 0, 1, 1, 0])
    real = np.asarray(weights) > 0
    pairs, without = loss(form, a, b, weights), loss(form, a[real], b[real])
    for found, right in zip(pairs, without, strict=True):
        np.testing.assert_allclose(np.asarray(found)[real], right, rtol=1e-5)
    # and no gradient flows into them
    grads = jax.grad(lambda a: (loss(form, a, b, weights).loss_a_to_b * weights).sum())(a)
    assert not np.any(np.asarray(grads)[~real])


def test_sigmoid_is_siglip(form, pair):
    """-sum_ij log sigmoid(z_ij (scale a_i b_j + bias)) / B, z = 1 on the diagonal, else -1."""
    a, b = pair
    pairs = sigmoid(form, a, b)
    signs = 2 * np.eye(B) - 1
    logits = SCALE * np.asarray(a, np.float64) @ np.asarray(b, np.float64).T + BIAS
    losses = np.log1p(np.exp(-signs * logits))
    np.testing.assert_allclose(pairs.loss_a_to_b, losses.sum(1), rtol=1e-5)
    np.testing.assert_allclose(pairs.loss_b_to_a, losses.sum(0), rtol=1e-5)


def test_the_bias_of_the_sigmoid_has_a_gradient(form, pair):
    a, b = pair

    def loss(bias):
        return sigmoid(form, a, b, bias=bias).loss_a_to_b.sum()

    slope = (loss(BIAS + 0.1) - loss(BIAS - 0.1)) / 0.2
    np.testing.assert_allclose(jax.grad(loss)(jnp.float32(BIAS)), slope, rtol=1e-2)
    assert abs(slope) > 1e-3


@pytest.mark.parametrize("loss", [softmax, sigmoid])
def test_nearest_partners_are_found(form, pair, loss):
    a, _ = pair
    for found in loss(form, a, a)[2:]:
        assert np.all(np.asarray(found) == 1)
    shifted = jnp.roll(a, 1, axis=0)
    for found in loss(form, a, shifted)[2:]:
        assert np.all(np.asarray(found) == 0)
    constant = jnp.tile(a[:1], (B, 1))  # a collapsed model has found nothing
    for found in loss(form, constant, constant)[2:]:
        assert np.all(np.asarray(found) == 0)


@pytest.mark.parametrize("loss", [softmax, sigmoid])
@pytest.mark.parametrize("weights, groups", [
    ([1.0] * B, [4] * B), ([0.0] * B, range(B)), ([0.0, 0, 1, 0, 0, 0], range(B)),
], ids=["one group", "no row", "one row"])  # fmt: skip
def test_a_row_without_negatives(form, pair, loss, weights, groups):
    """Only its own pair is left: nothing under softmax, one question under sigmoid."""
    a, b = pair
    weights, groups = jnp.array(weights), jnp.array(groups)
    pairs = loss(form, a, b, weights, groups)
    own = SCALE * np.einsum("be,be->b", a, b) + BIAS
    alone = np.log1p(np.exp(-own)) if loss is sigmoid else np.zeros(B)
    for found in pairs[:2]:
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)
    grads = jax.grad(lambda a: loss(form, a, b, weights, groups).loss_a_to_b.sum())(a)
    assert np.all(np.isfinite(grads)) and np.any(grads) == (loss is sigmoid)


@pytest.mark.parametrize("loss", [softmax, sigmoid])
def test_what_is_not_a_number_is_not_hidden(form, pair, loss):
    a, b = pair
    pairs = loss(form, a.at[2, 1].set(jnp.nan), b)
    assert np.all(np.isnan(pairs.loss_b_to_a)) and np.isnan(pairs.loss_a_to_b[2])


def test_half_precision_is_compared_in_float32(form, pair):
    a, b = (x.astype(jnp.bfloat16) for x in pair)
    pairs = softmax(form, a, b)
    right = softmax_by_hand(*(np.asarray(x, np.float64) for x in (a, b)), np.ones((B, B), bool))
    np.testing.assert_allclose(pairs.loss_a_to_b, right, rtol=1e-5)
    assert jax.grad(lambda a: softmax(form, a, b).loss_a_to_b.sum())(a).dtype == jnp.bfloat16
