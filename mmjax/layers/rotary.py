"""Rotary position embedding (https://arxiv.org/abs/2104.09864): positions turn queries and keys.

* Pairs are the two halves of a head, (i, i + H / 2), as in the released Llama checkpoints of the
  hub; not neighbours.
* Longer contexts by slower rotation: "linear" divides all frequencies
  (https://arxiv.org/abs/2306.15595), "llama3" the slow ones alone, "yarn" the slow ones with a
  ramp, and it scales what is rotated (https://arxiv.org/abs/2309.00071).
* Frequencies are computed in float32 with the reference's order of operations: an error in a
  frequency grows with the position.

Letters: B batch, L length, N heads, H head size, R frequencies (H / 2).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from mmjax.typing import Array, Float, Int, Positive


@dataclasses.dataclass(frozen=True)
class Config:
    base: float = 10_000.0  # theta: the slowest frequency is about 1 / base
    scaling: Literal["none", "linear", "llama3", "yarn"] = "none"  # how contexts are lengthened
    factor: float = 1.0  # by how much the context is longer than that of pre-training
    original_length: Positive = 8192  # tokens: the context of pre-training ("llama3", "yarn")
    slow: float = 1.0  # "llama3": below this many turns in original_length, divided by factor
    fast: float = 4.0  # "llama3": above this many turns, left alone
    beta_slow: float = 1.0  # "yarn": the same two bounds
    beta_fast: float = 32.0  # "yarn"
    attention_factor: float | None = None  # "yarn": on queries and keys; None: 0.1 ln(factor) + 1


class Rotation(NamedTuple):
    """Cosine and sine of every angle."""

    cos: Float[Array, "B L R"]
    sin: Float[Array, "B L R"]


def frequencies(config: Config, size: int) -> np.ndarray:
    """Radians a token for each pair of a head of `size`, float32."""
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    plain = (1.0 / np.float32(config.base) ** exponents).astype(np.float32)
    slowed = plain / np.float32(config.factor)
    if config.scaling == "none":
        return plain
    if config.scaling == "linear":
        return slowed
    if config.scaling == "llama3":
        turns = config.original_length * plain / np.float32(2 * math.pi)
        kept = np.clip((turns - config.slow) / (config.fast - config.slow), 0, 1)
    else:
        kept = 1 - _ramp(config, size)
    return (slowed * (1 - kept) + plain * kept).astype(np.float32)


def _ramp(config: Config, size: int) -> np.ndarray:
    """YaRN: 0 where a pair turns fast, 1 where it turns slowly, linear in the pair's number."""

    def pair(turns: float) -> float:  # the pair that turns so often in the original context
        angle = config.original_length / (turns * 2 * math.pi)
        return size * math.log(angle) / (2 * math.log(config.base))

    low = max(math.floor(pair(config.beta_fast)), 0)
    high = min(math.ceil(pair(config.beta_slow)), size - 1)
    return np.clip((np.arange(size // 2) - low) / max(high - low, 1e-3), 0, 1).astype(np.float32)


def rotation(config: Config, size: int, position: Int[Array, "B L"]) -> Rotation:
    """For heads of `size` at the positions of tokens."""
    rates = jnp.asarray(frequencies(config, size))
    angle = position[..., None].astype(jnp.float32) * rates[None, None]
    strength = 1.0
    if config.scaling == "yarn":
        strength = config.attention_factor
        if strength is None:
            strength = 0.1 * math.log(config.factor) + 1 if config.factor > 1 else 1.0
    return Rotation(strength * jnp.cos(angle), strength * jnp.sin(angle))


def rotate(x: Float[Array, "B L N H"], rotation: Rotation) -> Float[Array, "B L N H"]:
    """Turns each pair by its token's angle."""
    cos, sin = (part[:, :, None].astype(x.dtype) for part in rotation)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
