"""Contrast against a slow copy, and hard negatives, against the formulas of the released code."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.objectives import momentum


def sides(rows=5, candidates=9, width=4, seed=0):
    rng = np.random.default_rng(seed)
    made = [rng.normal(size=(n, width)).astype(np.float32) for n in (rows, rows, candidates)]
    return [jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in made]


def softmax(x):
    x = np.exp(x - x.max(1, keepdims=True))
    return x / x.sum(1, keepdims=True)


def test_soft_targets_are_those_of_the_released_code():
    a, slow, candidates = sides()
    right = np.eye(5, 9, dtype=bool)
    right[0, 7] = True  # another drawing of the same thing, in the queue
    there = np.ones(9, bool)
    there[[2, 8]] = False  # a row that does not exist, and an empty place of the queue
    logits = momentum.similarity(a, candidates, jnp.float32(14))
    slow_logits = momentum.similarity(slow, candidates, jnp.float32(14))
    np.testing.assert_allclose(logits, 14 * a @ candidates.T, rtol=1e-5)
    arrays = jnp.asarray(right), jnp.asarray(there)
    found = momentum.soft_softmax(logits, slow_logits, *arrays, 0.4)

    kept = np.flatnonzero(there)
    own = right[:, kept].astype(float)
    own /= np.maximum(own.sum(1, keepdims=True), 1)
    target = 0.4 * softmax(14 * slow @ candidates[kept].T) + 0.6 * own
    log_probs = np.log(softmax(14 * a @ candidates[kept].T))
    exists = there[:5]
    np.testing.assert_allclose(found.loss[exists], -(target * log_probs).sum(1)[exists], rtol=1e-4)
    assert np.isfinite(found.loss).all()
    nearest = kept[np.asarray(logits)[:, kept].argmax(1)]
    wanted = right[np.arange(5), nearest]
    assert found.correct[exists].tolist() == wanted[exists].tolist()


def test_the_slow_copy_has_no_gradient():
    a, slow, candidates = sides()
    right = jnp.eye(5, 9, dtype=bool)
    there = jnp.ones(9, bool)

    def loss(slow):
        logits = momentum.similarity(a, candidates, jnp.float32(5))
        slow_logits = momentum.similarity(slow, candidates, jnp.float32(5))
        return momentum.soft_softmax(logits, slow_logits, right, there, 0.4).loss.sum()

    assert not np.any(jax.grad(loss)(slow))


def test_negatives_come_in_proportion_to_their_similarity():
    a, _, candidates = sides(candidates=6)
    logits = 3 * a @ candidates.T
    right = np.eye(5, 6, dtype=bool)
    right[1, 4] = True
    there = np.ones(6, bool)
    there[5] = False
    keys = jax.random.split(jax.random.key(1), 20_000)
    arrays = jnp.asarray(right), jnp.asarray(there)
    drawn = jax.vmap(lambda key: momentum.hard_negatives(key, logits, *arrays))(keys)
    assert np.all(drawn.exists)
    chances = np.zeros((5, 6))
    chances[:, :5] = softmax(logits[:, :5]) + momentum.FLOOR
    chances[right] = 0
    chances /= chances.sum(1, keepdims=True)
    for row in range(5):
        counts = np.bincount(drawn.index[:, row], minlength=6)
        possible = chances[row] > 0
        assert not counts[~possible].any()
        expected = chances[row][possible] * len(keys)
        apart = (np.square(counts[possible] - expected) / expected).sum()
        assert apart < 18.5  # chi-square of 4 degrees of freedom at most: 1 in 1,000


def test_a_row_without_any_negative_says_so():
    logits = jnp.zeros((2, 2))
    everywhere = jnp.ones((2, 2), bool)
    drawn = momentum.hard_negatives(jax.random.key(0), logits, everywhere, everywhere[0])
    assert drawn.exists.tolist() == [False, False]
