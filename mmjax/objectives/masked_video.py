"""Masked autoencoding of clips: which tubelets are hidden, and how well they were made up.

VideoMAE, https://arxiv.org/abs/2203.12602.

* Tubes: a place is hidden at all times or at none, so that no later frame gives it away.
* The target is each tubelet's pixels, normalised by the tubelet's own mean and deviation.

Letters: B batch, P tubelets, K visible ones, M hidden ones, E values of a tubelet, C channels.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.typing import Array, Float, Int

EPSILON = 1e-6  # added to a deviation


def visible_tubes(
    key: jax.Array, rows: int, times: int, places: int, hidden: float
) -> Int[Array, "rows K"]:
    """Numbers of the tubelets that each row keeps, in order; those of a place at every time.

    Args:
      times: tubelets of a place; places: those of a time.
      hidden: share of the places that is hidden, rounded down; one at least is kept.
    """
    kept = max(1, places - int(hidden * places))
    order = jnp.argsort(jax.random.uniform(key, (rows, places)), axis=1)
    place = jnp.sort(order[:, :kept], axis=1)
    start = jnp.arange(times)[None, :, None] * places
    return (start + place[:, None]).reshape(rows, times * kept)


def normalised(tubelets: Float[Array, "B P E"], channels: int) -> Float[Array, "B P E"]:
    """Each channel of a tubelet with mean 0 and deviation 1."""
    x = tubelets.reshape(*tubelets.shape[:2], -1, channels)
    centred = x - x.mean(2, keepdims=True)
    # as torch's variance: of a sample
    deviation = jnp.sqrt((centred**2).sum(2, keepdims=True) / max(1, x.shape[2] - 1))
    return (centred / (deviation + EPSILON)).reshape(tubelets.shape)


def squared_error(
    predicted: Float[Array, "B M E"], target: Float[Array, "B M E"]
) -> Float[Array, " B"]:
    """Mean over the hidden tubelets' values, of each clip."""
    return ((predicted - target) ** 2).mean((1, 2))
