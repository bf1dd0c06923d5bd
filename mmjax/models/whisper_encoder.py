"""Whisper's encoder: log-mel frames -> vectors (Radford et al. 2022,
https://arxiv.org/abs/2212.04356).

* Two convolutions halve the frames, pre-norm blocks encode them. Keys have no bias.
* Positions are sinusoids, kept among the parameters because files hold them, rounded: no gradient
  reaches them, and the name of their axis, "constant", keeps weight decay away.
* A window shorter than 30 seconds is taken too, with the first positions; the published weights
  were never trained on that.
* Whisper looks at the silence behind a clip. With a mask nothing does, and neighbours may be
  averaged before the last norm: the encoder of Qwen2-Audio (https://arxiv.org/abs/2407.10759).

Letters: B clips, T frames, M mel bins, C encoded frames, P pooled ones, D width.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.layers import transformer
from mmjax.layers.attention import attention_mask
from mmjax.layers.convolution import Convolution
from mmjax.layers.transformer import Transformer, layer_norm
from mmjax.typing import Array, Float, Int, Positive, Shaped

Count = int | Int[Array, "*B"] | Int[np.ndarray, "*B"]  # of frames or vectors, of each clip

STACK = transformer.Config(
    width=384, layers=4, heads=6, hidden=1536, key_bias=False, initialisation="bert"
)


@dataclasses.dataclass(frozen=True)
class Config:
    bins: Positive = 80  # M
    frames: Positive = 3_000  # of a window, 10 ms each: the longest T
    transformer: transformer.Config = STACK  # the blocks
    pool: Positive = 1  # neighbouring vectors that are averaged to one, before the last norm

    def vectors(self, frames: Count) -> Count:
        """P, for so many frames of sound."""
        return tokens(self, frames)


def encoded(frames: Count) -> Count:
    """C: vectors that the convolutions make of so many frames."""
    return (frames + 1) // 2


def tokens(config: Config, frames: Count) -> Count:
    """P: vectors that leave for so many frames of sound; a rest too short to be pooled is lost."""
    return encoded(frames) // config.pool


def sinusoids(length: int, width: int) -> Float[Array, "C D"]:
    """Sines, then cosines, of wavelengths from 2 pi to 10,000 * 2 pi frames."""
    steps = max(width // 2 - 1, 1)
    rates = jnp.exp(-jnp.log(10_000.0) / steps * jnp.arange(width // 2))
    angles = jnp.arange(length)[:, None] * rates[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


class Model(nn.Module):
    """Frames -> half as many vectors, or fewer."""

    config: Config

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "B T M"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B P D"]:
        """Log-mel frames -> vectors, of which the first `tokens` of each clip are its own.

        Args:
          mask: True = sound, padding behind it; None: all is sound, as it was to Whisper.

        Raises:
          ValueError: frames that the model was not built for.
        """
        c = self.config
        t = c.transformer
        if features.shape[1] > c.frames or features.shape[2] != c.bins:
            raise ValueError(
                f"the model was built for at most {c.frames} frames of {c.bins} bins, got "
                f"{features.shape[1]} of {features.shape[2]}"
            )
        kwargs = dict(padding=(1, 1), dtype=t.dtype)
        x = features.astype(t.stream)
        x = nn.gelu(Convolution(t.width, 3, name="conv1", **kwargs)(x), approximate=False)
        x = nn.gelu(Convolution(t.width, 3, stride=2, name="conv2", **kwargs)(x), approximate=False)
        length = x.shape[1]
        x = x + self._positions()[:length].astype(x.dtype)[None]
        x = nn.Dropout(t.dropout, deterministic=not train)(x)
        allowed = None
        if mask is not None:
            valid = jnp.arange(length)[None] < encoded(mask.sum(1))[:, None]
            allowed = attention_mask(valid, length, causal=False)
        x = Transformer(t, train, name="transformer")(x, allowed)
        if c.pool > 1:
            whole = x.shape[1] // c.pool
            x = x[:, : whole * c.pool].reshape(len(x), whole, c.pool, -1).mean(2)
        return layer_norm(t, "norm")(x)

    def _positions(self) -> Array:
        def init(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
            return sinusoids(*shape).astype(dtype)

        init = nn.with_logical_partitioning(init, ("position", "constant"))
        shape = (encoded(self.config.frames), self.config.transformer.width)
        return jax.lax.stop_gradient(self.param("positions", init, shape, jnp.float32))


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row: frames for one vector."""
    return (jnp.zeros((1, 2 * config.pool, config.bins)),)


VARIANTS = {
    # Qwen2-Audio's, which has the sizes of Whisper large-v3
    "qwen2-audio": Config(
        bins=128,
        transformer=dataclasses.replace(STACK, width=1280, layers=32, heads=20, hidden=5120),
        pool=2,
    ),
}
