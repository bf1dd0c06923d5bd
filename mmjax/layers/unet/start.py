"""How kernels start: normal, with the variance of one over what they sum up.

A U-Net has dozens of shapes, and XLA compiles the drawing of each by itself, for 0.4 s on CPU. So
numbers are drawn in powers of two, and what is too many is left away: a dozen programs are shared.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.typing import Array


def by_inputs(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """An initializer of kernels whose last axis is what leaves."""
    count = math.prod(shape)
    drawn = jax.random.normal(key, (1 << (count - 1).bit_length(),), dtype)
    return drawn[:count].reshape(shape) * math.prod(shape[:-1]) ** -0.5
