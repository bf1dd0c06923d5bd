"""Audio Spectrogram Transformer: a vision transformer over overlapping patches of log-mel frames.

Gong et al. 2021, https://arxiv.org/abs/2104.01778.

* Squares of 16 frames x 16 mel bins, one every 10 of both. Positions are learned, for each place in
  frequency and time.
* A class token and a distillation token go before the patches (the weights began as those of DeiT);
  what is pooled is their mean. Trained from nothing, the mean of the patches or attention to them
  does as well and has no such tokens.
* Spectrograms of fewer frames have the first positions in time. What a mask calls padding is made
  zero, and patches that begin behind the last one to see sound are seen by none: a clip says the
  same whatever it is padded to. A model of one window, as it was published, is told no mask.

Letters: B batch, T frames, M mel bins, F patches in frequency, N in time, P = F * N, L tokens (the
    learned ones, then patches, time running fastest), D width.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import pooling, transformer
from mmjax.layers.attention import attention_mask
from mmjax.layers.dense import Dense
from mmjax.layers.patches import windows
from mmjax.layers.places import as_mask
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.models.vit import SIZES
from mmjax.models.whisper_encoder import Count
from mmjax.typing import Array, Float, Positive, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    bins: Positive = 128  # M
    frames: Positive = 1_024  # of a window, 10 ms each: the longest T
    patch_size: Positive = 16  # frames and mel bins along the edges of a patch
    frame_stride: Positive = 10  # frames from patch to patch
    bin_stride: Positive = 10  # mel bins from patch to patch
    transformer: transformer.Config = SIZES["tiny"]  # the stack of blocks
    # from tokens to one vector: the mean of a class and a distillation token, the mean of the
    # patches with sound, attention to them
    pool: Literal["class", "mean", "attention"] = "class"
    # to who reads the tokens one by one: time runs fastest, so only those of whole windows are one
    # behind the other
    takes_mask: ClassVar[bool] = False

    @property
    def rows(self) -> int:
        """F: patches in frequency; mel bins left over at the top are not seen."""
        return (self.bins - self.patch_size) // self.bin_stride + 1

    @property
    def columns(self) -> int:
        """N: patches in time of a whole window; frames left over at its end are not seen."""
        return (self.frames - self.patch_size) // self.frame_stride + 1

    @property
    def learned_tokens(self) -> int:
        """Before the patches."""
        return 2 * (self.pool == "class")

    def vectors(self, frames: Count) -> Count:
        """L, of a window that is there."""
        return (self.learned_tokens + self.rows * self.columns) * (frames > 0)

    def __post_init__(self) -> None:
        for field in ("bins", "frames"):
            if getattr(self, field) < self.patch_size:
                raise ValueError(
                    f"{field}={getattr(self, field)} holds no patch of {self.patch_size}"
                )


def patches(config: Config, frames: Count) -> Count:
    """N: patches in time that see so many frames of sound; one at least."""
    c = config
    count = -(-(frames - c.patch_size) // c.frame_stride) + 1
    if isinstance(count, int):
        return min(max(count, 1), c.columns)
    return count.clip(1, c.columns)


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B L D"]  # after the last block and norm
    pooled: Float[Array, "B D"]


class Model(nn.Module):
    """Audio tower."""

    config: Config

    @nn.compact
    def __call__(
        self,
        audio: Float[Array, "B T M"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Normalised log-mel frames, padded behind -> tokens and a pooled vector.

        Args:
          mask: True = sound; None: all of it.

        Raises:
          ValueError: frames that the model was not built for.
        """
        c = self.config
        t = c.transformer
        if audio.shape[1] > c.frames or audio.shape[2] != c.bins:
            raise ValueError(
                f"the model was built for at most {c.frames} frames of {c.bins} bins, got "
                f"{audio.shape[1]} of {audio.shape[2]}"
            )
        columns = patches(c, audio.shape[1])
        valid = None
        if mask is not None:
            mask = as_mask(mask)
            audio = jnp.where(mask[..., None], audio, 0)
            heard = jnp.arange(columns)[None] < patches(c, mask.sum(1))[:, None]
            valid = jnp.tile(heard, (1, c.rows))  # [B, P]
        x = self._patch_vectors(audio, columns)
        count = c.learned_tokens
        shape = (c.rows * c.columns + count, t.width)
        # small beside the patches at the start: sound is told apart before its places are
        table = embedding("positions", self, shape, 0.02, ("position", "embed")).astype(x.dtype)
        places = table[count:].reshape(c.rows, c.columns, -1)[:, :columns]
        x = x + places.reshape(1, -1, t.width)
        if count:
            x = self._behind_learned_tokens(x, table[:count])
        seen = valid
        if valid is not None:
            seen = jnp.pad(valid, ((0, 0), (count, 0)), constant_values=True)
        x = nn.Dropout(t.dropout, deterministic=not train)(x)
        allowed = attention_mask(seen, x.shape[1], causal=False)
        x = transformer.Transformer(t, train, name="transformer")(x, allowed)
        tokens = layer_norm(t, "norm")(x)
        if c.pool == "class":
            pooled = tokens[:, :count].mean(1)
        elif c.pool == "mean":
            pooled = pooling.masked_mean(tokens, valid)
        else:
            pooled = pooling.AttentionPool(t, name="pool")(tokens, valid)
        return Output(tokens, pooled)

    def _patch_vectors(self, features: Array, columns: int) -> Float[Array, "B P D"]:
        """One vector for each patch; what a patch reaches behind the last frame is zero."""
        c = self.config
        t = c.transformer
        length = (columns - 1) * c.frame_stride + c.patch_size
        room = max(0, length - features.shape[1])
        x = jnp.pad(features[:, :length].astype(t.stream), ((0, 0), (0, room), (0, 0)))
        x = windows(x.swapaxes(1, 2)[..., None], c.patch_size, c.bin_stride, c.frame_stride)
        x = Dense((t.width,), ("patch", "embed"), dtype=t.dtype, name="patch_embedding")(x)
        return x.reshape(len(x), -1, t.width)

    def _behind_learned_tokens(
        self, x: Float[Array, "B P D"], places: Float[Array, "2 D"]
    ) -> Float[Array, "B L D"]:
        """The class token and the distillation token before the patches of each row."""
        shape = (1, self.config.transformer.width)
        names = ("class_token", "distillation_token")
        tokens = [embedding(name, self, shape, 0.02, (None, "embed")) for name in names]
        learned = jnp.concatenate(tokens).astype(x.dtype) + places
        return jnp.concatenate([jnp.broadcast_to(learned, (len(x), *learned.shape)), x], axis=1)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row: a window."""
    return (jax.ShapeDtypeStruct((1, config.frames, config.bins), jnp.float32),)


_BASE = dataclasses.replace(SIZES["B"], norm_epsilon=1e-12, initialisation="xavier")

VARIANTS = {
    # 5 seconds; patches that do not overlap, for a CPU
    "tiny": Config(64, 500, frame_stride=16, bin_stride=16, pool="mean"),
    "B": Config(transformer=_BASE),
    "B/16": Config(frame_stride=16, bin_stride=16, transformer=_BASE),  # without overlap
}
