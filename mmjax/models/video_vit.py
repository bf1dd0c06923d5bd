"""Transformers over the tubelets of a clip: ViViT, VideoMAE's encoder, TimeSformer.

ViViT https://arxiv.org/abs/2103.15691, VideoMAE https://arxiv.org/abs/2203.12602, TimeSformer
https://arxiv.org/abs/2102.05095. What differs between them is a field here:

* ViViT attends over all tubelets at once, with learned positions and a class token; VideoMAE has
  sines and no class token, and reads only the tubelets that are not hidden (`visible`).
* TimeSformer's tubelets are patches of single frames; a place and a time have a position each.
  Attention is divided (over time, then over space), joint, or over space alone, each frame by
  itself; the frames' class tokens are averaged then.
* Tokens are in the order of time, and within a time in reading order, for all of them (the
  reference's TimeSformer has the times of a place side by side).
* A stem of overlapping convolutions before the tubelets are cut, over a tubelet's frames side by
  side, sees small shifts as they are, as that of vit.py does.
* A clip may be padded behind: tubelets without a real frame are not attended to.
* `apply(..., mutable=["intermediates"])` gives "transformer/hidden_states" [layers + 1, B, L, D];
  with attention="space" [layers + 1, B * T', L, D], the frames one below the other.

Letters: B batch, T frames, T' times (T / frames of a tubelet), P tubelets, K visible ones, L
    tokens, D width, C channels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import pooling, positions, transformer, tubelets
from mmjax.layers.attention import attention_mask
from mmjax.layers.dense import Dense
from mmjax.layers.patches import overlapping
from mmjax.layers.places import as_mask
from mmjax.layers.space_time import Divided, SpaceTime
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.models import vit
from mmjax.models.whisper_encoder import Count
from mmjax.typing import Array, Float, Int, Positive, Shaped

POOLED_EPSILON = 1e-5  # of a norm behind the pooling, whatever the blocks' is


@dataclasses.dataclass(frozen=True)
class Config:
    frames: Positive = 16  # T, of a clip; those left over behind fill no tubelet and are not seen
    image_size: Positive = 224  # pixels along each edge of a frame
    patch_size: Positive = 16  # pixels along each edge of a tubelet
    tubelet: Positive = 2  # frames of a tubelet
    channels: Positive = 3  # of a pixel
    transformer: transformer.Config = transformer.Config()  # the stack of blocks
    # over all tubelets; over time, then over space; over space alone, each time by itself
    attention: Literal["joint", "divided", "space"] = "joint"
    # learned for each tubelet; fixed; learned for each place and each time; for each place alone
    positions: Literal["learned", "sine", "space_time", "space"] = "learned"
    # from tokens to one vector: of a class token, of all, of the first tubelet
    pool: Literal["class", "mean", "first"] = "class"
    norm: Literal["tokens", "pooled", "none"] = "tokens"  # what is normalised behind the last block
    # convolutions before the embedding of tubelets, which overlap in space then; the product of
    # their strides divides patch_size
    stem: tuple[vit.Stage, ...] = ()

    def __post_init__(self) -> None:
        if self.attention != "joint" and self.pool != "class":
            raise ConfigError(f"attention={self.attention!r} needs the class token: pool='class'")
        if self.patch_size % math.prod(stage.stride for stage in self.stem):
            strides = ", ".join(str(stage.stride) for stage in self.stem)
            raise ConfigError(f"strides {strides} of the stem do not divide {self.patch_size}")
        if self.times < 1 or self.grid < 1:
            raise ConfigError(
                f"a clip of {self.frames} frames of {self.image_size} pixels is less than one "
                f"tubelet of {self.tubelet} frames of {self.patch_size} pixels"
            )

    @property
    def times(self) -> int:
        """T', of the tubelets of one place."""
        return self.frames // self.tubelet

    @property
    def grid(self) -> int:
        """Tubelets along each edge; pixels left over on the right and below are not seen."""
        return self.image_size // self.patch_size

    @property
    def count(self) -> int:
        """P, of a clip."""
        return self.times * self.grid**2

    def vectors(self, frames: Count) -> Count:
        """L, of a clip of so many frames that are there."""
        times = -(-frames // self.tubelet)
        times = times - (times - self.times) * (times > self.times)
        of_time = self.grid**2
        learned = int(self.pool == "class")
        if self.attention == "space":  # each frame has its class token
            return times * (of_time + learned)
        return (learned + times * of_time) * (frames > 0)

    @property
    def time_weights(self) -> str:
        """Path of the attention that looks over time; "": each time is looked at by itself."""
        if self.attention == "space":
            return ""
        kind = "attention" if self.attention == "joint" else "time_attention"
        return f"transformer/blocks/{kind}/weights"

    def by_time(self, weights: Float[Array, "lines L S"]) -> Float[Array, "lines times"]:
        """How much of these weights falls on each time; what falls on the class token is left out,
        and where there is one, it is the token that looks."""
        learned = int(self.attention == "joint" and self.pool == "class")
        seen = weights[:, 0] if learned else weights.mean(1)
        return seen[:, learned:].reshape(len(seen), self.times, -1).sum(2)

    def whole(self, video: Float[Array, "B T H W C"]) -> Float[Array, "B frames side side C"]:
        """Clips without the frames and pixels that fill no tubelet."""
        length = self.times * self.tubelet
        side = self.grid * self.patch_size
        return video[:, :length, :side, :side]

    def cut(self, video: Float[Array, "B T H W C"]) -> Float[Array, "B P E"]:
        """The tubelets of clips."""
        return tubelets.cut(self.whole(video), self.tubelet, self.patch_size)


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B L D"]  # after the last block, and norm where tokens are normalised
    pooled: Float[Array, "B D"]


class Model(nn.Module):
    """Video tower."""

    config: Config

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B T H W C"],
        mask: Shaped[Array, "B T"] | None = None,
        visible: Int[Array, "B K"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Normalised pixels -> tokens and a pooled vector.

        Args:
          mask: True = a frame of the clip; None: all are.
          visible: numbers of the tubelets that are read, the same number in each row; None: all.

        Raises:
          ValueError: clips of another size than the config's.
          ConfigError: visible tubelets where attention is not joint, or where a stem has seen the
            others.
        """
        c = self.config
        t = c.transformer
        self._check(video)
        if visible is not None and c.attention != "joint":
            raise ConfigError(f"attention={c.attention!r} reads all tubelets, or none")
        if visible is not None and c.stem:
            raise ConfigError("a stem reads beyond the tubelets that are visible: leave it out")
        x = self._tubelets(video.astype(t.stream))
        dense = Dense((t.width,), ("patch", "embed"), dtype=t.dtype, name="tubelet_embedding")
        x = dense(x)
        summary, places = self._positions()
        x = x + places.astype(x.dtype)[None]
        times = self._times(mask)  # which are there, [B, T']
        if c.attention == "joint":
            return self._joint(x, summary, times, visible, train)
        return self._frame_by_frame(x, summary, times, train)

    def _tubelets(self, video: Float[Array, "B T H W C"]) -> Float[Array, "B P E"]:
        """What is embedded: pixels, or what the stem makes of them."""
        c = self.config
        if not c.stem:
            return c.cut(video)
        x = c.whole(video)
        batch, length, height, width, channels = x.shape
        x = x.reshape(batch * c.times, c.tubelet, height, width, channels)
        # a tubelet's frames side by side, so that a kernel sees what moves
        x = x.transpose(0, 2, 3, 1, 4).reshape(len(x), height, width, c.tubelet * channels)
        patch = c.patch_size
        for number, stage in enumerate(c.stem):
            x = overlapping(x, stage.stride)
            dense = Dense(
                (stage.width,), ("patch", None), dtype=c.transformer.dtype, name=f"stem_{number}"
            )
            x = nn.gelu(layer_norm(c.transformer, f"stem_norm_{number}", axis=None)(dense(x)))
            patch //= stage.stride
        x = overlapping(x, patch)
        return x.reshape(batch, c.count, -1)

    def _joint(
        self,
        x: Float[Array, "B P D"],
        summary: Array | None,
        times: Array | None,
        visible: Array | None,
        train: bool,
    ) -> Output:
        valid = None if times is None else jnp.repeat(times, self.config.grid**2, axis=1)
        if visible is not None:
            x = tubelets.chosen(x, visible)
            valid = None if valid is None else jnp.take_along_axis(valid, visible, axis=1)
        if summary is not None:
            x = _behind(summary, x)
            if valid is not None:
                valid = jnp.pad(valid, ((0, 0), (1, 0)), constant_values=True)
        stack = transformer.Transformer(self.config.transformer, train, name="transformer")
        x = stack(x, attention_mask(valid, x.shape[1], causal=False))
        tokens = self._normed(x, "tokens")
        mean = self.config.pool == "mean"
        pooled = pooling.masked_mean(tokens, valid) if mean else tokens[:, 0]
        return Output(tokens, self._normed(pooled, "pooled"))

    def _frame_by_frame(
        self, x: Float[Array, "B P D"], summary: Array, times: Array | None, train: bool
    ) -> Output:
        c = self.config
        batch = len(x)
        if c.attention == "divided":
            x = _behind(summary, x)
            x = SpaceTime(c.transformer, Divided, c.times, train, name="transformer")(x, times)
            tokens = self._normed(x, "tokens")
            return Output(tokens, self._normed(tokens[:, 0], "pooled"))
        x = _behind(summary, x.reshape(batch * c.times, -1, x.shape[-1]))
        x = transformer.Transformer(c.transformer, train, name="transformer")(x)
        tokens = self._normed(x, "tokens").reshape(batch, c.times, *x.shape[1:])
        pooled = pooling.masked_mean(tokens[:, :, 0], times)
        tokens = tokens.reshape(batch, -1, x.shape[-1])
        return Output(tokens, self._normed(pooled, "pooled"))

    def _normed(self, x: Array, what: str) -> Array:
        """Behind the norm, where `what` is what is normalised."""
        c = self.config
        if c.norm != what:
            return x
        body = c.transformer
        if what == "pooled":
            body = dataclasses.replace(body, norm_epsilon=POOLED_EPSILON)
        return layer_norm(body, "norm")(x)

    def _positions(self) -> tuple[Float[Array, "1 D"] | None, Float[Array, "P D"]]:
        """The class token with its position, where there is one, and the tubelets' positions."""
        c = self.config
        width = c.transformer.width
        std = width**-0.5
        learned = int(c.pool == "class")
        summary = None
        if learned:
            summary = embedding("class_token", self, (1, width), std, (None, "embed"))
        if c.positions == "sine":
            return summary, jnp.asarray(positions.sines(c.count, width))
        rows = c.count if c.positions == "learned" else c.grid**2
        shape = (rows + learned, width)
        table = embedding("positions", self, shape, std, ("position", "embed"))
        if learned:
            summary = summary + table[:1]
        table = table[learned:]
        if c.positions == "learned":
            return summary, table
        table = jnp.broadcast_to(table[None], (c.times, rows, width))
        if c.positions == "space_time":
            shape = (c.times, width)
            times = embedding("time_positions", self, shape, std, ("position", "embed"))
            table = table + times[:, None]
        return summary, table.reshape(c.count, width)

    def _times(self, mask: Array | None) -> Shaped[Array, "B times"] | None:
        """Which times have a real frame."""
        if mask is None:
            return None
        c = self.config
        kept = as_mask(mask)[:, : c.times * c.tubelet]
        return kept.reshape(len(kept), c.times, c.tubelet).any(-1)

    def _check(self, video: Array) -> None:
        c = self.config
        shape = (c.frames, c.image_size, c.image_size, c.channels)
        if video.shape[1:] != shape:
            raise ValueError(
                f"the model was built for clips of {' x '.join(map(str, shape))} (frames, height, "
                f"width, channels), got {' x '.join(map(str, video.shape[1:]))}"
            )


def _behind(summary: Float[Array, "1 D"], x: Float[Array, "B P D"]) -> Float[Array, "B L D"]:
    """The class token before the tokens of each row."""
    first = jnp.broadcast_to(summary.astype(x.dtype)[None], (len(x), 1, x.shape[-1]))
    return jnp.concatenate([first, x], axis=1)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    c = config
    shape = (1, c.frames, c.image_size, c.image_size, c.channels)
    return (jax.ShapeDtypeStruct(shape, jnp.float32),)


def _body(size: str, epsilon: float, **fields) -> transformer.Config:
    return dataclasses.replace(
        vit.SIZES[size], norm_epsilon=epsilon, initialisation="xavier", **fields
    )


def _timesformer(attention: str, frames: int = 8, image_size: int = 224) -> Config:
    positions = "space" if attention == "space" else "space_time"
    return Config(
        frames, image_size, tubelet=1, transformer=_body("B", 1e-6), attention=attention,
        positions=positions,
    )  # fmt: skip


def _videomae(size: str) -> Config:
    body = _body(size, 1e-12, key_bias=False)
    return Config(transformer=body, positions="sine", pool="mean", norm="pooled")


VARIANTS = {
    "ViViT-tiny/16x2": Config(transformer=_body("tiny", 1e-6)),
    "ViViT-B/16x2": Config(32, transformer=_body("B", 1e-6, activation="gelu_tanh")),
    "ViViT-L/16x2": Config(32, transformer=_body("L", 1e-6, activation="gelu_tanh")),
    "VideoMAE-S": _videomae("S"),
    "VideoMAE-B": _videomae("B"),
    "VideoMAE-L": _videomae("L"),
    "TimeSformer-B": _timesformer("divided"),
    "TimeSformer-B-joint": _timesformer("joint"),
    "TimeSformer-B-space": _timesformer("space"),
    "TimeSformer-HR": _timesformer("divided", 16, 448),
    "TimeSformer-L": _timesformer("divided", 96),
}
