"""Vectors of pictures and sounds in the places of their tokens, between words.

* A sense makes [B, K, D] of what a row holds, another number of them in each row; `valid` says
  which of the K are there. In their order they take the places of the row's tokens of that sense.
* So any number of things of any length stands anywhere in a row, and all of it is one program.
* A row with more vectors than places, or fewer, would be read wrongly: `check` says so beforehand;
  under `jit`, where numbers cannot be seen, that row is NaN.

Letters: B batch, L tokens, K vectors of a row at most, D width.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.typing import Array, Bool, Float, Int


def interleave(
    x: Float[Array, "B L D"],
    taken: Bool[Array, "B L"],
    vectors: Float[Array, "B K D"],
    valid: Bool[Array, "B K"],
) -> Float[Array, "B L D"]:
    """Puts the valid vectors of each row, in order, where `taken` is True.

    A row with another number of such places is NaN: else vectors would be lost or mixed up
    without a word.
    """
    most = vectors.shape[1]
    if not most:
        return x
    order = jnp.argsort(~valid, axis=1, stable=True)  # those that are there first
    number = jnp.clip(jnp.cumsum(taken, axis=1) - 1, 0, most - 1)
    number = jnp.take_along_axis(order, number, axis=1)
    chosen = jnp.take_along_axis(vectors, number[..., None], axis=1).astype(x.dtype)
    fits = taken.sum(1) == valid.sum(1)
    return jnp.where(fits[:, None, None], jnp.where(taken[..., None], chosen, x), jnp.nan)


def check(
    what: str,
    token: int,
    places: Int[np.ndarray, " B"],
    things: Int[np.ndarray, " B"],
    vectors: Int[np.ndarray, " B"],
) -> None:
    """Holds the places of each row against what is to stand there.

    Args:
      what: a thing of the sense, and its token: "picture/image", "clip/audio".
      token: id of the token.
      things, vectors: how many of each a row has.

    Raises:
      ConfigError: a row with more vectors than places, or fewer.
    """
    thing, kind = what.split("/")
    for row in np.flatnonzero(places != vectors):
        more = "more" if vectors[row] > places[row] else "fewer"
        raise ConfigError(
            f"row {row} has {things[row]} {thing}s, {more} than its {places[row]} {kind} tokens "
            f"(id {token}) stand for: they take {vectors[row]} of them"
        )
