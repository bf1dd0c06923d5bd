"""CTC's values held against the sum over all alignments."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.objectives import ctc


def brute(log_probs, text, blank=0):
    """log p(text), by every way that the frames can speak."""
    frames, letters = log_probs.shape
    total = -np.inf
    for said in itertools.product(range(letters), repeat=frames):
        read = [one for one, _ in itertools.groupby(said) if one != blank]
        if read == list(text):
            total = np.logaddexp(total, sum(log_probs[t, one] for t, one in enumerate(said)))
    return total


def test_the_sum_over_all_alignments():
    logits = jax.random.normal(jax.random.key(0), (3, 5, 3))
    frames = jnp.array([5, 5, 3])
    mask = jnp.arange(5)[None] < frames[:, None]
    text = jnp.array([[1, 2, 1], [2, 2, 0], [0, 0, 0]])
    text_mask = jnp.arange(3)[None] < jnp.array([3, 2, 0])[:, None]
    values = ctc.ctc(logits, mask, text, text_mask)
    log_probs = np.asarray(jax.nn.log_softmax(logits))
    wanted = [brute(log_probs[0], [1, 2, 1]), brute(log_probs[1], [2, 2])]
    wanted.append(brute(log_probs[2, :3], []))
    np.testing.assert_allclose(values, -np.array(wanted), rtol=1e-5)


def test_padding_counts_for_nothing():
    logits = jax.random.normal(jax.random.key(0), (2, 6, 4))
    mask = jnp.arange(6)[None] < jnp.array([[4], [6]])
    text = jnp.array([[1, 2], [3, 3]])
    there = jnp.ones_like(text, bool)
    values, gradient = jax.value_and_grad(
        lambda x: ctc.ctc(x, mask, text, there).sum()
    )(logits)  # fmt: skip
    assert np.isfinite(gradient).all() and not np.any(gradient[0, 4:])
    longer = jnp.pad(logits, ((0, 0), (0, 3), (0, 0)), constant_values=7.0)
    wider = jnp.pad(text, ((0, 0), (0, 4)), constant_values=1)
    again = ctc.ctc(
        longer, jnp.pad(mask, ((0, 0), (0, 3))), wider, jnp.pad(there, ((0, 0), (0, 4)))
    )
    np.testing.assert_allclose(again.sum(), values, rtol=1e-6)


def test_which_texts_fit():
    mask = jnp.arange(3)[None] < jnp.array([[3], [3], [2], [0]])
    text = jnp.array([[1, 2, 3], [1, 1, 2], [1, 1, 0], [0, 0, 0]])
    there = jnp.arange(3)[None] < jnp.array([[3], [3], [2], [0]])
    assert ctc.fits(mask, text, there).tolist() == [True, False, False, True]
