"""What was read and said so far, row by row, for everything that looks back.

Letters: R rows (prompts, or beams of prompts), P tokens of a prompt, N new tokens, T = P + N.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.typing import Array, Bool, Int, Shaped


class History(NamedTuple):
    """Tokens in the order in which they were read; a prompt's padding stands on the left."""

    ids: Int[Array, "R T"]
    real: Bool[Array, "R T"]  # no padding, and no place that is still to be filled
    prompt: int  # P
    said: Int[Array, ""]  # new tokens up to now

    def add(self, token: Int[Array, " R"], real: Bool[Array, " R"]) -> History:
        """With one more token in each row."""
        place = (0, self.prompt + self.said)
        ids = jax.lax.dynamic_update_slice(self.ids, token[:, None], place)
        real = jax.lax.dynamic_update_slice(self.real, real[:, None], place)
        return self._replace(ids=ids, real=real, said=self.said + 1)

    def take(self, rows: Int[Array, " R"]) -> History:
        """Row i becomes row `rows[i]`."""
        return self._replace(ids=self.ids[rows], real=self.real[rows])


def start(
    ids: Int[Array, "R P"] | None, mask: Shaped[Array, "R P"] | None, rows: int, new: int
) -> History:
    """Of prompts, with room for `new` tokens; None: prompts that are no tokens (embeddings)."""
    if ids is None:
        ids = jnp.zeros((rows, 0), jnp.int32)
        mask = None
    real = jnp.ones(ids.shape, bool) if mask is None else jnp.asarray(mask).astype(bool)
    order = jnp.argsort(real, axis=1, stable=True)  # padding first, the rest as it was
    ids = jnp.take_along_axis(ids, order, axis=1)
    real = jnp.take_along_axis(real, order, axis=1)
    room = [(0, 0), (0, new)]
    return History(jnp.pad(ids, room), jnp.pad(real, room), ids.shape[1], jnp.int32(0))
