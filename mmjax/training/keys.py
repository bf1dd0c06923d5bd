"""Random keys that draw JAX's own numbers, from programs that compile in a third of the time.

* Threefry-2x32 (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405), as JAX counts with
  it. On CPUs JAX writes its rounds as a loop, and the compiler lays out a loop anew for every array
  that is drawn: that was most of the wait at the first start of a run. Here the rounds stand in a
  row.
* Only whole numbers are computed here, so every draw is JAX's own to the last bit.
* Draws that are not 32 bits wide, or longer than 2^32, are left to JAX.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl, threefry_prng_impl

from mmjax.typing import Array, UInt32

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # bits, of the even and the odd groups of rounds
PARITY = np.uint32(0x1BD11BDA)
GROUPS = 5  # of four rounds
LONGEST = 2**32  # numbers of one draw that one counter tells apart


def initial(seed: int) -> jax.Array:
    """The key that a run's parameters are drawn from: draws what `jax.random.key(seed)` does."""
    as_usual = jax.config.jax_threefry_partitionable
    if jax.config.jax_default_prng_impl != "threefry2x32" or not as_usual:
        return jax.random.key(seed)
    return jax.random.key(seed, impl=_IMPLEMENTATION)


def threefry(
    key: UInt32[Array, "2"], high: UInt32[Array, "*shape"], low: UInt32[Array, "*shape"]
) -> tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]:
    """Two random words for each counter of 64 bits, whose halves are `high` and `low`."""
    words = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    high = high + words[0]
    low = low + words[1]
    for group in range(GROUPS):
        for rotation in ROTATIONS[group % 2]:
            high = high + low
            low = (low << np.uint32(rotation)) | (low >> np.uint32(32 - rotation))
            low = high ^ low
        high = high + words[(group + 1) % 3]
        low = low + words[(group + 2) % 3] + np.uint32(group + 1)
    return high, low


def _counters(shape: Sequence[int]) -> Array:
    """0, 1, 2, ... in the order of the rows; made axis by axis, so that it can be sharded."""
    out = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        out = out + jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * np.uint32(stride)
        stride *= shape[axis]
    return out


def _random_bits(key: Array, width: int, shape: Sequence[int]) -> Array:
    if width != 32 or math.prod(shape) > LONGEST:
        return threefry_prng_impl.random_bits(key, width, shape)
    low = _counters(shape)
    first, second = threefry(key, jnp.zeros_like(low), low)
    return jax.lax.optimization_barrier(first ^ second)


def _split(key: Array, shape: Sequence[int]) -> Array:
    low = _counters(shape)
    return jnp.stack(threefry(key, jnp.zeros_like(low), low), axis=-1)


def _fold_in(key: Array, data: Array) -> Array:
    low = jnp.asarray(data, jnp.uint32)
    return jnp.stack(threefry(key, jnp.zeros_like(low), low))


_IMPLEMENTATION = define_prng_impl(
    key_shape=threefry_prng_impl.key_shape,
    seed=threefry_prng_impl.seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry2x32_in_a_row",
    tag="row",
)
