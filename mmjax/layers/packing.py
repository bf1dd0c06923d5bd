"""Several short sequences laid one behind the other in a row, and apart again.

* A row's sequences do not see each other (`attention_mask`), and each counts its own positions, so
  that packed and padded forms compute the same (Krell et al. 2021,
  https://arxiv.org/abs/2107.02027).
* `unpack` gives every sequence a row of its own again, for pooling. A pack's sequences stay within
  the pack: devices that hold whole packs exchange nothing.

Letters: P packs, R rows of a pack, L length of a row, N sequences of a pack, S length of a
    sequence, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.typing import Array, Bool, Float, Int


class Layout(NamedTuple):
    """What lies where."""

    segment: Int[Array, "P R L"]  # which sequence of the pack a place belongs to; -1: none
    position: Int[Array, "P R L"]  # place in its sequence
    count: int  # N


def attention_mask(layout: Layout, *, causal: bool) -> Bool[Array, "B 1 L L"]:
    """[P * R, 1, L, L]: True between places of one sequence."""
    segment = layout.segment.reshape(-1, layout.segment.shape[-1])
    mask = (segment[:, :, None] == segment[:, None, :]) & (segment >= 0)[:, None, :]
    if causal:
        mask &= jnp.tril(jnp.ones(mask.shape[1:], bool))[None]
    return mask[:, None]


def unpack(
    tokens: Float[Array, "P R L D"], layout: Layout, length: int
) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"]]:
    """Every sequence in a row of its own, S = `length`, B = P * N in order; and which places are
    real."""

    def one(tokens: Array, segment: Array, position: Array) -> tuple[Array, Array]:
        places = segment.size
        target = jnp.where(segment >= 0, segment * length + position, layout.count * length)
        source = jnp.full(layout.count * length, places)
        source = source.at[target.reshape(-1)].set(jnp.arange(places), mode="drop")
        rows = tokens.reshape(places, -1).at[source].get(mode="fill", fill_value=0)
        shape = (layout.count, length)
        return rows.reshape(*shape, -1), (source < places).reshape(shape)

    rows, real = jax.vmap(one)(tokens, layout.segment, layout.position)
    return rows.reshape(-1, length, tokens.shape[-1]), real.reshape(-1, length)
