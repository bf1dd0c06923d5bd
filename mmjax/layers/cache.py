"""What a decoder has read, kept so that each new token costs one token.

* A cache has a fixed number of slots, so that every step is the same compiled program. All rows of
  a batch fill their slots together; padding takes a slot too and is never attended to, on whichever
  side of a prompt it stands.
* A token's position counts the real tokens of its row, so that padding moves nothing.
* Keys and values of all layers lie in one array, which is carried through the layers and written in
  place.

Letters: B batch, S slots, L new tokens, D width, V vocabulary, K heads of keys and values, H head
    size.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.typing import Array, Bool, Float, Int


class KeyValues(NamedTuple):
    """Of one layer, or stacked: [layers, B, S, K, H]."""

    key: Float[Array, "*layers B S K H"]
    value: Float[Array, "*layers B S K H"]

    def layer(self, index: int | Int[Array, ""]) -> KeyValues:
        """One layer's of the stacked ones."""
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), self)

    def write(
        self, new: KeyValues, layer: int | Int[Array, ""], start: int | Int[Array, ""]
    ) -> KeyValues:
        """Puts one layer's [B, L, K, H] into slots `start`... of the stacked ones.

        Where they do not fit, NaN is written: else the last slots would be lost without a word.
        """

        def put(all: Array, one: Array) -> Array:
            fits = jnp.asarray(start + one.shape[1] <= all.shape[2])
            one = jnp.where(fits, one, jnp.nan).astype(all.dtype)
            return jax.lax.dynamic_update_slice(all, one[None], (layer, 0, start, 0, 0))

        return KeyValues(put(self.key, new.key), put(self.value, new.value))


class Cache(NamedTuple):
    """Everything that `extend` needs of the past."""

    past: KeyValues  # [layers, B, S, K, H]
    valid: Bool[Array, "B S"]  # slots that hold a real token
    length: Int[Array, ""]  # slots in use: where the next token goes


class Output(NamedTuple):
    """What a decoder says to whole sequences."""

    tokens: Float[Array, "B L D"]  # after the last block and norm
    logits: Float[Array, "B L V"]  # of the token after each, float32


class Step(NamedTuple):
    """The same for new tokens, and what the next ones need."""

    tokens: Float[Array, "B L D"]
    logits: Float[Array, "B L V"]
    cache: Cache


class Places(NamedTuple):
    """Where new tokens stand, and what they may see."""

    start: Int[Array, ""]  # slot of the first new token
    position: Int[Array, "B L"]  # of the new tokens among the real ones of their row
    key_position: Int[Array, "B S"]  # of every slot
    mask: Bool[Array, "B 1 L S"]  # real slots up to the token itself


def empty(
    layers: int, batch: int, slots: int, heads: int, size: int, dtype: str = "float32"
) -> Cache:
    """A cache for `slots` tokens a row, prompt and padding included.

    Args:
      heads: K.
      size: H.
    """
    zeros = jnp.zeros((layers, batch, slots, heads, size), dtype)
    return Cache(KeyValues(zeros, zeros), jnp.zeros((batch, slots), bool), jnp.int32(0))


def claim(valid: Bool[Array, "B L"], cache: Cache | None = None) -> tuple[Cache | None, Places]:
    """Takes the next slots for new tokens. Without a cache: the places of a whole sequence.

    Raises:
      ValueError: more tokens than slots are left. Under `jit`, where that cannot be known, the
        outputs are NaN.
    """
    length = valid.shape[1]
    if cache is None:
        start, read = jnp.int32(0), valid
    else:
        start, slots = cache.length, cache.valid.shape[1]
        if not isinstance(start, jax.core.Tracer) and int(start) + length > slots:
            raise ValueError(
                f"{length} more tokens do not fit the cache: {int(start)} of {slots} slots are used"
            )
        read = jax.lax.dynamic_update_slice(cache.valid, valid, (0, start))
        cache = cache._replace(valid=read, length=start + length)
    key_position = jnp.maximum(jnp.cumsum(read, axis=1, dtype=jnp.int32) - 1, 0)
    position = jax.lax.dynamic_slice_in_dim(key_position, start, length, axis=1)
    slot = jnp.arange(read.shape[1])[None, :]
    earlier = slot <= start + jnp.arange(length)[:, None]  # [L, S]
    mask = read[:, None, None, :] & earlier[None, None]
    return cache, Places(start, position, key_position, mask)
