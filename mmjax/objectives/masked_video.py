"""Masked autoencoding of clips: which tubelets are hidden, and how well they were made up.

VideoMAE, https://arxiv.org/abs/2203.12602.

* Tubes: a place is hidden at all times or at none, so that no later frame gives it away.
* The target is each tubelet's pixels, normalised by the tubelet's own mean and deviation.

Letters: B batch, P tubelets, K visible ones, M hidden ones, E values of a tubelet, C channels,
    V values of a channel of a tubelet.
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


def normalised(
    tubelets: Float[Array, "B P E"], channels: int, floor: float = EPSILON
) -> Float[Array, "B P E"]:
    """Each channel of a tubelet with mean 0 and deviation 1.

    Args:
      floor: added to a deviation. Where much is of one colour, a speck of noise would weigh as much
        as a picture: a floor well above the noise keeps it small.
    """
    x = _per_channel(tubelets, channels)
    mean, deviation = _moments(x)
    return ((x - mean) / (deviation + floor)).reshape(tubelets.shape)


def unnormalised(
    tubelets: Float[Array, "B P E"],
    own: Float[Array, "B P E"],
    channels: int,
    floor: float = EPSILON,
) -> Float[Array, "B P E"]:
    """What is made up of normalised tubelets, with the mean and deviation of others (`own`)."""
    mean, deviation = _moments(_per_channel(own, channels))
    x = _per_channel(tubelets, channels)
    return (x * (deviation + floor) + mean).reshape(tubelets.shape)


def means(tubelets: Float[Array, "B P E"], channels: int) -> Float[Array, "B P E"]:
    """Tubelets of one colour each, their own mean."""
    x = _per_channel(tubelets, channels)
    mean, _ = _moments(x)
    return jnp.broadcast_to(mean, x.shape).reshape(tubelets.shape)


def _per_channel(tubelets: Float[Array, "B P E"], channels: int) -> Float[Array, "B P V C"]:
    return tubelets.reshape(*tubelets.shape[:2], -1, channels)


def _moments(
    x: Float[Array, "B P V C"],
) -> tuple[Float[Array, "B P 1 C"], Float[Array, "B P 1 C"]]:
    """Mean and deviation, as torch's: of a sample."""
    mean = x.mean(2, keepdims=True)
    squares = ((x - mean) ** 2).sum(2, keepdims=True)
    return mean, jnp.sqrt(squares / max(1, x.shape[2] - 1))


def squared_error(
    predicted: Float[Array, "B M E"], target: Float[Array, "B M E"]
) -> Float[Array, " B"]:
    """Mean over the hidden tubelets' values, of each clip."""
    return ((predicted - target) ** 2).mean((1, 2))
