"""What a decoder has read, kept so that each new token costs one token.

* A cache has a fixed number of slots, so that every step is the same compiled program. All rows of
  a batch fill their slots together; padding takes a slot too and is never attended to, on whichever
  side of a prompt it stands.
* Keys and values of all layers lie in one array, which is carried through the layers and written in
  place. On a mesh it is cut by rows and by heads.
* `take` chooses rows (beams, finished texts), `rollback` forgets the last tokens (a guess that was
  wrong, another continuation of the same prompt).

Letters: B batch, S slots, L new tokens, C positions of a context, K heads of keys and values, H
    head size.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.layers.placement import cache_apart
from mmjax.layers.places import Places, new_places
from mmjax.typing import Array, Bool, Float, Int, Shaped


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

        def put(stack: Array, rows: Array) -> Array:
            fits = jnp.asarray(start + rows.shape[1] <= stack.shape[2])
            rows = jnp.where(fits, rows, jnp.nan).astype(stack.dtype)
            return jax.lax.dynamic_update_slice(stack, rows[None], (layer, 0, start, 0, 0))

        return KeyValues(put(self.key, new.key), put(self.value, new.value))


class ByHead(NamedTuple):
    """One layer's, each head's rows together: the order that a single query reads them in."""

    key: Float[Array, "B K S H"]
    value: Float[Array, "B K S H"]


class Context(NamedTuple):
    """What cross-attention reads, the same from step to step."""

    past: KeyValues | tuple[ByHead, ...]  # [layers, B, C, K, H]; or layer by layer
    valid: Shaped[Array, "B C"] | None  # positions that are no padding; None: all

    def by_head(self) -> Context:
        """The same with a layer by itself and each head's rows together.

        For a loop over single tokens on a CPU, which else copies every key and value out of the
        stack at each of them. Blocks that are apart (layers/stack.py) read it.
        """
        if not isinstance(self.past, KeyValues):
            return self
        stacks = [x.swapaxes(2, 3) for x in self.past]  # [layers, B, K, C, H]
        return self._replace(past=tuple(ByHead(*pair) for pair in zip(*stacks, strict=True)))

    def take(self, rows: Int[Array, " R"]) -> Context:
        """A context whose row i is row `rows[i]` of this one."""
        if isinstance(self.past, KeyValues):
            past = jax.tree.map(lambda x: cache_apart(jnp.take(x, rows, axis=1)), self.past)
        else:
            past = jax.tree.map(lambda x: jnp.take(x, rows, axis=0), self.past)
        return Context(past, None if self.valid is None else self.valid[rows])


class Cache(NamedTuple):
    """Everything that `extend` needs of the past."""

    past: KeyValues  # [layers, B, S, K, H]
    valid: Bool[Array, "B S"]  # slots that hold a real token
    length: Int[Array, ""]  # slots in use: where the next token goes
    context: Context | None = None  # of a decoder with cross-attention

    def take(self, rows: Int[Array, " R"]) -> Cache:
        """A cache whose row i is row `rows[i]` of this one."""

        def chosen(x: KeyValues) -> KeyValues:
            return jax.tree.map(lambda x: cache_apart(jnp.take(x, rows, axis=1)), x)

        context = None if self.context is None else self.context.take(rows)
        return Cache(chosen(self.past), self.valid[rows], self.length, context)

    def rollback(self, length: int | Int[Array, ""] | Int[Array, " B"]) -> Cache:
        """As it was when `length` slots were in use, or that many of each row.

        Rows that keep fewer slots than the longest one have padding there.
        """
        length = jnp.minimum(jnp.asarray(length, jnp.int32), self.length)
        slot = jnp.arange(self.valid.shape[1])[None]
        valid = self.valid & (slot < length.reshape(-1, 1))
        return self._replace(valid=valid, length=length.max())


def empty(
    layers: int, batch: int, slots: int, heads: int, size: int, dtype: str = "float32"
) -> Cache:
    """A cache for `slots` tokens a row, prompt and padding included.

    Args:
      heads: K.
      size: H.
      dtype: that keys and values are kept in; "bfloat16" halves the memory.
    """
    zeros = cache_apart(jnp.zeros((layers, batch, slots, heads, size), dtype))
    return Cache(KeyValues(zeros, zeros), jnp.zeros((batch, slots), bool), jnp.int32(0))


def allocate(
    valid: Bool[Array, "B L"], cache: Cache, prefix: Shaped[Array, "B L"] | None = None
) -> tuple[Cache, Places]:
    """Takes the next slots for new tokens.

    Args:
      prefix: new tokens that see each other both ways.

    Raises:
      ValueError: more tokens than slots are left. Under `jit`, where that cannot be known, the
        outputs are NaN.
    """
    length = valid.shape[1]
    slots = cache.valid.shape[1]
    start = cache.length
    if not isinstance(start, jax.core.Tracer) and int(start) + length > slots:
        raise ValueError(
            f"{length} more tokens do not fit the cache: {int(start)} of {slots} slots are used"
        )
    read = jax.lax.dynamic_update_slice(cache.valid, valid, (0, start))
    places = new_places(read, start, length, prefix)
    return cache._replace(valid=read, length=start + length), places
