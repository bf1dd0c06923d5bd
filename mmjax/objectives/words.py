"""The loss of words that are to be said.

Letters: V vocabulary.
"""

from __future__ import annotations

import jax
import optax

from mmjax.typing import Array, Float, Int


def cross_entropy(
    logits: Float[Array, "*b V"], target: Int[Array, "*b"], smoothing: float = 0.0
) -> Float[Array, "*b"]:
    """Nats of each word, with label smoothing (https://arxiv.org/abs/1512.00567).

    Args:
      smoothing: share of the target's probability that all of the vocabulary gets alike.
    """
    values = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    if not smoothing:
        return values
    flat = -jax.nn.log_softmax(logits).mean(-1)
    return (1 - smoothing) * values + smoothing * flat
