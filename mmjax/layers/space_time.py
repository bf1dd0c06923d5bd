"""Blocks of clips whose frames are looked at one by one, and that hear of each other besides.

* `Divided`: each place attends over time, then each frame over its places (TimeSformer,
  https://arxiv.org/abs/2102.05095): T + P keys of a query, not T * P.
* `Messages`: each frame says one token, the frames' tokens attend to each other, and each frame
  reads its own beside its places (X-CLIP, https://arxiv.org/abs/2208.02816).
* Both are pre-norm and share attention, norms and MLP with layers/transformer.py; stored and looked
  into as layers/stack.py says.

Letters: B clips, T times (frames, or tubelets' times), P places of a frame, L tokens, D width.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers import transformer
from mmjax.layers.attention import attention_mask
from mmjax.layers.dense import Dense
from mmjax.layers.placement import rows_apart
from mmjax.layers.pooling import masked_mean
from mmjax.layers.stack import output_of_block, run_blocks, sow_hidden_states
from mmjax.layers.transformer import layer_norm
from mmjax.typing import Array, Float, Shaped


class _Block(transformer.Block):
    """The parts that the blocks of this file have in common."""

    times: int = 1  # T

    def _update(self, name: str, x: Array, mask: Array | None) -> Array:
        """What a self-attention adds to x."""
        normed = layer_norm(self.config, f"{name}_norm")(x)
        return self._drop(self._attention(name)(normed, mask))

    def _drop(self, update: Array) -> Array:
        drop = nn.Dropout(self.config.dropout, deterministic=not self.train)
        return drop(update)

    def _behind_mlp(self, x: Array) -> Array:
        normed = layer_norm(self.config, "mlp_norm")(x)
        return x + self._drop(self._mlp()(normed))

    def _map(self, name: str) -> Dense:
        c = self.config
        return Dense((c.width,), ("embed", "joint"), dtype=c.dtype, name=name)

    def _over_time(self, valid: Array | None, rows: int) -> Array | None:
        """The mask of attention over time, for `rows` rows of each clip."""
        mask = attention_mask(valid, self.times, causal=False)
        return None if mask is None else jnp.repeat(mask, rows, axis=0)


class Divided(_Block):
    """Time, then space, then the MLP; the class token has a turn in each frame, and their mean."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], valid: Shaped[Array, "B T"] | None
    ) -> tuple[Float[Array, "B L D"], Array | None]:
        """A class token, then the places of each time in order."""
        x = rows_apart(x)
        batch, length, width = x.shape
        times = self.times
        places = (length - 1) // times
        summary = x[:, :1]

        grid = x[:, 1:].reshape(batch, times, places, width)
        lines = grid.swapaxes(1, 2).reshape(batch * places, times, width)
        update = self._update("time_attention", lines, self._over_time(valid, places))
        update = self._map("time_out")(update)
        grid = grid + update.reshape(batch, places, times, width).swapaxes(1, 2)

        repeated = jnp.broadcast_to(summary[:, None], (batch, times, 1, width))
        frames = jnp.concatenate([repeated, grid], axis=2).reshape(-1, places + 1, width)
        update = self._update(self.attention, frames, None)
        update = update.reshape(batch, times, places + 1, width)
        summary = summary + masked_mean(update[:, :, 0], valid)[:, None]
        grid = grid + update[:, :, 1:]

        x = jnp.concatenate([summary, grid.reshape(batch, -1, width)], axis=1)
        x = self._behind_mlp(x)
        return x, output_of_block(self, x)


class Messages(_Block):
    """Rows are frames, those of a clip one behind the other; their first tokens say something."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "rows L D"], valid: Shaped[Array, "B T"] | None
    ) -> tuple[Float[Array, "rows L D"], Array | None]:
        x = rows_apart(x)
        length, width = x.shape[1:]
        said = self._map("message")(x[:, 0]).reshape(-1, self.times, width)
        said = said + self._update("message_attention", said, self._over_time(valid, 1))
        heard = jnp.concatenate([x, said.reshape(-1, 1, width)], axis=1)
        heard = heard + self._update(self.attention, heard, None)
        x = self._behind_mlp(heard[:, :length])
        return x, output_of_block(self, x)


class SpaceTime(nn.Module):
    """A stack of one of these blocks; no norm at the end."""

    config: transformer.Config
    block: type[_Block]
    times: int  # T
    train: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "rows L D"], valid: Shaped[Array, "B T"] | None = None
    ) -> Float[Array, "rows L D"]:
        """What the block takes.

        Args:
          valid: True = a time that is there; None: all are.
        """
        arguments = (self.config, self.train, "attention", self.times)
        out, states = run_blocks(self, self.block, arguments, x, shared=(valid,), remat=True)
        sow_hidden_states(self, x, states)
        return out
