"""Where the tokens of a decoder stand, and what each of them may see.

* A token's position counts the real tokens of its row before it, so that padding on either side
  moves nothing.
* Several texts may lie in one row (packing): they do not see each other, and each counts its own
  positions (https://arxiv.org/abs/2107.02027).
* Tokens of a prefix see each other both ways, as in prefix language models
  (https://arxiv.org/abs/1910.10683) and PaliGemma (https://arxiv.org/abs/2407.07726): a picture and
  the question about it.

Letters: B batch, L new tokens, S tokens that may be seen (slots of a cache), Q places asked for, D
    width.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from mmjax.typing import Array, Bool, Float, Int, Shaped

# Of which tokens logits are computed: of all, of the last real one of each row, of none, or of the
# places given, [B, Q].
LogitsAt = Literal["all", "last", "none"] | Int[Array, "B Q"]


def as_mask(mask: Shaped[Array, "*B"] | None) -> Bool[Array, "*B"] | None:
    """A mask of any number type as booleans: tokenizers and data sets give 0 and 1."""
    return None if mask is None else jnp.asarray(mask).astype(bool)


class Places(NamedTuple):
    """Of the new tokens of a batch."""

    start: Int[Array, ""]  # slot of the first new token
    position: Int[Array, "B L"]  # of the new tokens among the real ones of their row or text
    key_position: Int[Array, "B S"]  # of every token that may be seen
    mask: Bool[Array, "B 1 L S"]  # True: the new token sees it


def whole_places(
    valid: Bool[Array, "B L"],
    segment: Int[Array, "B L"] | None = None,
    prefix: Shaped[Array, "B L"] | None = None,
) -> Places:
    """Of whole sequences.

    Args:
      valid: True = a real token.
      segment: which text of its row a token belongs to, -1 = none; None: one text a row.
      prefix: True = a token that sees the whole prefix of its text; None: no token.
    """
    if segment is None:
        return new_places(valid, jnp.int32(0), valid.shape[1], prefix)
    valid = valid & (segment >= 0)
    places = new_places(valid, jnp.int32(0), valid.shape[1], prefix)
    same = segment[:, :, None] == segment[:, None, :]  # [B, L, S]
    order = jnp.arange(valid.shape[1])
    earlier = order[None, :] <= order[:, None]
    count = (same & earlier[None] & valid[:, None, :]).sum(-1, dtype=jnp.int32)
    position = jnp.maximum(count - 1, 0)
    return Places(places.start, position, position, places.mask & same[:, None])


def new_places(
    valid: Bool[Array, "B S"],
    start: Int[Array, ""],
    length: int,
    prefix: Shaped[Array, "B L"] | None = None,
) -> Places:
    """Of `length` new tokens that lie in the slots from `start` on; arguments as above."""
    slots = valid.shape[1]
    key_position = jnp.maximum(jnp.cumsum(valid, axis=1, dtype=jnp.int32) - 1, 0)
    position = jax.lax.dynamic_slice_in_dim(key_position, start, length, axis=1)
    slot = jnp.arange(slots)[None, :]
    seen = (slot <= start + jnp.arange(length)[:, None])[None]  # [1, L, S]
    if prefix is not None:
        prefix = as_mask(prefix)
        key_prefix = jnp.zeros(valid.shape, bool)
        key_prefix = jax.lax.dynamic_update_slice(key_prefix, prefix, (0, start))
        seen = seen | (prefix[:, :, None] & key_prefix[:, None, :])
    mask = valid[:, None, :] & seen
    return Places(start, position, key_position, mask[:, None])


def tokens_at(
    tokens: Float[Array, "B L D"], logits_at: LogitsAt, valid: Bool[Array, "B L"]
) -> Float[Array, "B Q D"]:
    """The tokens whose logits are asked for: all, the last real one of each row, or those given."""
    if isinstance(logits_at, str):
        if logits_at == "all":
            return tokens
        place = jnp.arange(tokens.shape[1])[None]
        logits_at = jnp.where(valid, place, 0).max(1, keepdims=True)
    return jnp.take_along_axis(tokens, logits_at[..., None], axis=1)
