"""Contrast against the embeddings of a slow copy of the model, which soften the targets; and the
hard negatives that the same similarities choose.

* ALBEF https://arxiv.org/abs/2107.07651, section 3.3; BLIP https://arxiv.org/abs/2201.12086.
* Candidates are the slow copy's embeddings of the batch, and of batches before it (a queue).
* Several candidates may be right: the target is shared by them, as in BLIP's released code for
  retrieval.
* Per-row values, no reduction. Candidates that are not there (an empty place of the queue, a row
  that does not exist) are in no sum.

Letters: B batch, C candidates, E embedding size.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.objectives.contrastive import PRECISION, scaled
from mmjax.typing import Array, Bool, Float, Int

# added to each probability of being drawn, so that a negative without any likeness may come too
FLOOR = 1e-4


class Found(NamedTuple):
    """What the comparison gave for each row."""

    loss: Float[Array, " B"]  # nats
    correct: Float[Array, " B"]  # 1 where a right candidate is the most similar, otherwise 0


class Negatives(NamedTuple):
    """A wrong candidate for each row."""

    index: Int[Array, " B"]  # its number
    exists: Bool[Array, " B"]  # False: the row has no wrong candidate, and `index` means nothing


def similarity(
    a: Float[Array, "B E"], b: Float[Array, "C E"], scale: Float[Array, ""]
) -> Float[Array, "B C"]:
    """Scaled cosines of unit vectors, float32."""
    a, b = scaled(a, b, scale)
    return jnp.einsum("BE,CE->BC", a, b, precision=PRECISION)


def soft_softmax(
    logits: Float[Array, "B C"],
    slow_logits: Float[Array, "B C"],
    right: Bool[Array, "B C"],
    there: Bool[Array, " C"],
    share: Float[Array, ""] | float,
) -> Found:
    """Cross-entropy of finding the right candidates, with targets that the slow copy softens.

    Args:
      logits: similarities of the model's rows with the candidates.
      slow_logits: those of the slow copy's rows; no gradient goes through them.
      right: which candidates are a row's own.
      there: which candidates exist.
      share: of the target that is the slow copy's distribution, 0 to 1.
    """
    there = there[None]
    right = right & there
    slow = jax.nn.softmax(jnp.where(there, jax.lax.stop_gradient(slow_logits), -jnp.inf))
    hard = right / jnp.maximum(right.sum(1, keepdims=True), 1)
    target = share * slow + (1 - share) * hard
    log_probs = jax.nn.log_softmax(jnp.where(there, logits, -jnp.inf))
    loss = -(target * jnp.where(there, log_probs, 0.0)).sum(1)
    best = jnp.where(right, logits, -jnp.inf).max(1)
    nearest = jnp.where(there & ~right, logits, -jnp.inf).max(1)
    return Found(loss, (best > nearest).astype(jnp.float32))


def hard_negatives(
    key: jax.Array,
    logits: Float[Array, "B C"],
    right: Bool[Array, "B C"],
    there: Bool[Array, " C"],
) -> Negatives:
    """Draws a wrong candidate for each row, in proportion to the softmax of its similarities."""
    there = there[None]
    wrong = there & ~right
    probabilities = jax.nn.softmax(jnp.where(there, jax.lax.stop_gradient(logits), -jnp.inf))
    chances = jnp.where(wrong, jnp.log(probabilities + FLOOR), -jnp.inf)
    exists = wrong.any(1)
    chances = jnp.where(exists[:, None], chances, 0.0)  # something must be drawn
    return Negatives(jax.random.categorical(key, chances), exists)
