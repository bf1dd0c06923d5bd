"""The time of the noise as a vector (https://arxiv.org/abs/2006.11239): cosines, then sines.

Letters: B rows, D width.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from mmjax.typing import Array, Float, Int

LONGEST = 10_000.0  # longest period, in units of time, divided by 2 pi


def waves(times: Float[Array, " B"] | Int[Array, " B"], width: int) -> Float[Array, "B D"]:
    """Any numbers, whole or not; an odd width ends in a zero."""
    half = width // 2
    frequencies = jnp.exp(-math.log(LONGEST) / half * jnp.arange(half, dtype=jnp.float32))
    angles = times.astype(jnp.float32)[:, None] * frequencies[None]
    out = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    return jnp.pad(out, ((0, 0), (0, width - 2 * half)))
