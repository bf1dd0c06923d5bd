"""Connectionist temporal classification: the likelihood of a text, however it lies in time.

Graves et al. 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf; the sum over alignments is
optax's.

* Each frame says a letter or nothing (the blank). A reading drops repeats, then blanks; the value
  is minus the log of the summed probability of all frames' sayings that read as the text.
* A text that needs more frames than there are has no alignment: optax's value is then some 1e5, and
  means nothing. `fits` says where, so that a task may leave such rows out.

Letters: B batch, T frames, L letters of a text, V vocabulary with the blank.
"""

from __future__ import annotations

import jax.numpy as jnp
import optax

from mmjax.typing import Array, Bool, Float, Int, Shaped


def ctc(
    logits: Float[Array, "B T V"],
    mask: Shaped[Array, "B T"],
    text: Int[Array, "B L"],
    text_mask: Shaped[Array, "B L"],
    blank: int = 0,
) -> Float[Array, " B"]:
    """Nats of each text, float32; padding stands behind in both, and counts for nothing.

    Args:
      mask: True = a frame of sound. text_mask: True = a letter.
    """
    frames = 1.0 - mask.astype(jnp.float32)
    letters = 1.0 - text_mask.astype(jnp.float32)
    return optax.ctc_loss(logits.astype(jnp.float32), frames, text, letters, blank_id=blank)


def fits(
    mask: Shaped[Array, "B T"], text: Int[Array, "B L"], text_mask: Shaped[Array, "B L"]
) -> Bool[Array, " B"]:
    """Whether the frames can say the text: one for each letter, and a blank between equal ones."""
    there = text_mask.astype(bool)
    repeated = (text[:, 1:] == text[:, :-1]) & there[:, 1:]
    return mask.astype(bool).sum(1) >= there.sum(1) + repeated.sum(1)
