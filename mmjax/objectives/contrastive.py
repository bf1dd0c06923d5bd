"""Contrastive losses over a batch of pairs: softmax (CLIP, InfoNCE) and sigmoid (SigLIP), plainly.

* CLIP https://arxiv.org/abs/2103.00020, SigLIP https://arxiv.org/abs/2303.15343.
* Per-example values, no reduction: the mean over the whole batch is the papers' loss. The loss of a
  batch is NOT the mean of its micro-batches' losses (fewer negatives): accumulate over `encode`,
  not over the loss.
* Rows of weight 0 (corrupt, padding) are nobody's negatives; rows of the same group (the same
  caption, another drawing of one concept) are not negatives of each other.
* The whole matrix of logits is formed, and several of its size beside it. `ring.py` has the same
  functions for batches where that is too much.

Letters: B batch, E embedding size. Embeddings are unit vectors; row i of one side belongs to row i
    of the other, its partner.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.typing import Array, Bool, Float, Int

# Cosines that differ by less are equal: so much is left to float32's rounding, and a model whose
# embeddings are all the same must not be said to find anything.
TIE = 2e-6
# The default of TPUs and GPUs rounds the factors of a product to 8 or 11 bits; times a scale of 100
# that moves the logits. The towers cost a thousand times as much.
PRECISION = jax.lax.Precision.HIGHEST


class Comparison(NamedTuple):
    """What each row's comparison with the batch gave: `a_to_b` looks from a row of a for its
    partner in b, `b_to_a` from a row of b for its partner in a."""

    loss_a_to_b: Float[Array, " B"]  # nats
    loss_b_to_a: Float[Array, " B"]
    correct_a_to_b: Float[Array, " B"]  # 1 where no negative is as near as the partner, otherwise 0
    correct_b_to_a: Float[Array, " B"]

    @property
    def loss(self) -> Float[Array, " B"]:
        """The mean of both directions."""
        return (self.loss_a_to_b + self.loss_b_to_a) / 2


def negatives(weights: Float[Array, " B"], groups: Int[Array, " B"] | None) -> Bool[Array, "B B"]:
    """True where rows i and j are negatives of each other: both exist, and of different groups."""
    if groups is None:
        groups = jnp.arange(weights.shape[0])
    real = weights > 0
    return (groups[:, None] != groups[None]) & real[:, None] & real[None]


def scaled(
    a: Float[Array, "B E"], b: Float[Array, "C E"], scale: Float[Array, ""]
) -> tuple[Float[Array, "B E"], Float[Array, "C E"]]:
    """Both sides in float32 at least, the scale on a: their products are the logits."""
    a = a.astype(jnp.promote_types(a.dtype, jnp.float32))
    b = b.astype(jnp.promote_types(b.dtype, jnp.float32))
    return scale * a, b


def softmax(
    a: Float[Array, "B E"],
    b: Float[Array, "B E"],
    scale: Float[Array, ""],
    weights: Float[Array, " B"],
    groups: Int[Array, " B"] | None = None,
) -> Comparison:
    """Cross-entropy of finding the partner among the batch, in both directions.

    Args:
      scale: factor on the cosines (1 / temperature), above 0.
      weights: 0 for rows that do not exist.
      groups: rows of equal group are left out of each other's negatives.

    Returns:
      Losses of which CLIP's is the mean, over rows and directions. A row without negatives has 0.
    """
    a, b = scaled(a, b, scale)
    logits = jnp.einsum("BE,CE->BC", a, b, precision=PRECISION)
    others, partner = _negatives_and_partner(logits, weights, groups)
    # log(1 + e^x), x what the negatives have over the partner: no digits are lost where that is
    # little, as they are in the difference of two logarithms
    return Comparison(
        loss_a_to_b=jax.nn.softplus(jax.nn.logsumexp(others, 1) - partner),
        loss_b_to_a=jax.nn.softplus(jax.nn.logsumexp(others, 0) - partner),
        correct_a_to_b=correct(partner, others.max(1), scale),
        correct_b_to_a=correct(partner, others.max(0), scale),
    )


def sigmoid(
    a: Float[Array, "B E"],
    b: Float[Array, "B E"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    weights: Float[Array, " B"],
    groups: Int[Array, " B"] | None = None,
) -> Comparison:
    """Every pair is a yes / no question of its own, with the logit scale * cosine + bias.

    Returns:
      Minus the log-likelihood of a row's pairs, summed. Either direction's mean over rows is
        SigLIP's loss.
    """
    a, b = scaled(a, b, scale)
    logits = jnp.einsum("BE,CE->BC", a, b, precision=PRECISION) + bias
    others, partner = _negatives_and_partner(logits, weights, groups)
    return Comparison(
        loss_a_to_b=jax.nn.softplus(-partner) + jax.nn.softplus(others).sum(1),
        loss_b_to_a=jax.nn.softplus(-partner) + jax.nn.softplus(others).sum(0),
        correct_a_to_b=correct(partner, others.max(1), scale),
        correct_b_to_a=correct(partner, others.max(0), scale),
    )


def _negatives_and_partner(
    logits: Array, weights: Array, groups: Array | None
) -> tuple[Array, Array]:
    """The logits of negatives, -inf elsewhere, and those of partners."""
    negative = negatives(weights, groups)
    return jnp.where(negative, logits, -jnp.inf), jnp.diagonal(logits)


def correct(
    partner: Float[Array, " B"], nearest: Float[Array, " B"], scale: Float[Array, ""]
) -> Float[Array, " B"]:
    """1 where the partner's logit is above the nearest negative's."""
    return (partner > nearest + TIE * scale).astype(jnp.float32)
