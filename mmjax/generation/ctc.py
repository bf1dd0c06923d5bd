"""What the frames of a CTC model say: the likeliest letters, read.

Graves et al. 2006 (https://www.cs.toronto.edu/~graves/icml_2006.pdf).

Letters: B batch, T frames, V vocabulary with the blank.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from mmjax.typing import Array, Bool, Float, Int, Shaped


class Read(NamedTuple):
    """Texts, their letters in front."""

    text: Int[Array, "B T"]
    mask: Bool[Array, "B T"]  # True: a letter


def greedy(
    logits: Float[Array, "B T V"], mask: Shaped[Array, "B T"], blank: int = 0
) -> Read:
    """The likeliest letter of each frame; repeats are one, and blanks go."""
    best = jnp.where(mask.astype(bool), logits.argmax(-1), blank)
    before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=blank)[:, :-1]
    kept = (best != blank) & (best != before)
    order = jnp.argsort(~kept, axis=1, stable=True)
    return Read(
        jnp.take_along_axis(best, order, axis=1), jnp.take_along_axis(kept, order, axis=1)
    )
