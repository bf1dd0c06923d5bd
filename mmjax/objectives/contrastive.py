"""Contrastive losses over a batch of pairs: softmax (CLIP, InfoNCE) and sigmoid (SigLIP).

* CLIP https://arxiv.org/abs/2103.00020, SigLIP https://arxiv.org/abs/2303.15343.
* Per-example values, no reduction: the mean over the whole batch is the papers' loss. The loss of a
  batch is NOT the mean of its micro-batches' losses (fewer negatives): accumulate over `encode`,
  not over the loss.
* Rows of weight 0 (corrupt, padding) are nobody's negatives; rows of the same group (the same
  caption, another drawing of one concept) are not negatives of each other.

Letters: B batch, E embedding size. Embeddings are unit vectors; row i of one side belongs to row i
    of the other.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.typing import Array, Bool, Float, Int


def negatives(weights: Float[Array, " B"], groups: Int[Array, " B"] | None) -> Bool[Array, "B B"]:
    """True where column j may serve as a negative of row i: another group, and a row that
    counts."""
    different = (
        ~jnp.eye(weights.shape[0], dtype=bool)
        if groups is None
        else groups[:, None] != groups[None]
    )
    return different & (weights[None] > 0)


def softmax_contrastive(
    first: Float[Array, "B E"],
    second: Float[Array, "B E"],
    scale: Float[Array, ""],
    weights: Float[Array, " B"],
    groups: Int[Array, " B"] | None = None,
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Cross-entropy of finding the partner among the batch, in both directions.

    Args:
      scale: factor on the cosines (1 / temperature).
      weights: 0 for rows that do not exist.
      groups: rows of equal group are left out of each other's negatives.

    Returns:
      (first-to-second, second-to-first), nats per example. CLIP's loss is the mean of their
        average.
    """
    logits = scale * jnp.einsum("BE,CE->BC", first, second, preferred_element_type=jnp.float32)
    diagonal = jnp.eye(first.shape[0], dtype=bool)
    own = jnp.diagonal(logits)
    allowed = negatives(weights, groups)

    def cross_entropy(logits: Array) -> Array:
        return jax.nn.logsumexp(jnp.where(allowed | diagonal, logits, -jnp.inf), axis=1) - own

    return cross_entropy(logits), cross_entropy(logits.T)


def sigmoid_contrastive(
    first: Float[Array, "B E"],
    second: Float[Array, "B E"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    weights: Float[Array, " B"],
    groups: Int[Array, " B"] | None = None,
) -> Float[Array, " B"]:
    """Every pair is a yes / no question of its own.

    Returns:
      For each row, minus the log-likelihood summed over its pairs, nats. SigLIP's loss is the mean
        over rows.
    """
    logits = (
        scale * jnp.einsum("BE,CE->BC", first, second, preferred_element_type=jnp.float32) + bias
    )
    own = jnp.diagonal(logits)
    against = jnp.where(negatives(weights, groups), jax.nn.softplus(logits), 0.0)
    return jax.nn.softplus(-own) + against.sum(1)


def retrieved(
    first: Float[Array, "B E"],
    second: Float[Array, "B E"],
    weights: Float[Array, " B"],
    groups: Int[Array, " B"] | None = None,
) -> Float[Array, " B"]:
    """1 where the partner is the nearest row of `second` among the allowed ones, otherwise 0."""
    cosine = jnp.einsum("BE,CE->BC", first, second, preferred_element_type=jnp.float32)
    best = jnp.where(negatives(weights, groups), cosine, -jnp.inf).max(1)
    return (jnp.diagonal(cosine) > best).astype(jnp.float32)
