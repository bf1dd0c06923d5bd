"""A U-Net over the frames of a clip, told of the time of the noise and of a text.

`UNet3DConditionModel` of diffusers (ModelScope's text-to-video, https://arxiv.org/abs/2308.06571),
after https://arxiv.org/abs/2112.10752 and https://arxiv.org/abs/2204.03458.

* Every level works on the places of each frame (residual blocks, a transformer that reads the text)
  and on the frames of each place ((3, 1, 1) convolutions, a transformer). A picture is a clip of
  one frame.
* `time`: "factorised" as the reference; "causal", where no frame sees a later one; "joint", where
  places attend to all frames at once; "none", without layers over frames, for pictures alone.
* `film`: time and text, as one vector, scale and shift inside of every residual block; else the
  time alone is added there (the reference).
* `given`: frames that are known (the first of a clip: image to video) come in as further channels,
  with one that says which they are.
* Levels differ in width, and layers in what they take up on the way: nothing is stacked or scanned;
  `remat` recomputes layer by layer.

Letters: B rows, T frames, H rows and W columns of a picture, C channels, L tokens of a text,
    D their width, E width of the condition.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers.dense import Dense
from mmjax.layers.placement import rows_apart
from mmjax.layers.places import as_mask
from mmjax.layers.pooling import masked_mean
from mmjax.layers.stack import REMAT
from mmjax.layers.unet.convolution import Convolution, Double, Halve
from mmjax.layers.unet.group_norm import GroupNorm
from mmjax.layers.unet.residual import Residual, TemporalResidual
from mmjax.layers.unet.start import by_inputs
from mmjax.layers.unet.times import waves
from mmjax.layers.unet.transformers import SpatialTransformer, TemporalTransformer
from mmjax.typing import Array, Bool, Float, Int, Natural, Positive

ENTRY_HEADS = 8  # of the transformer behind the first convolution


@dataclasses.dataclass(frozen=True)
class Config:
    channels: Positive = 3  # C, of a place of a sample: 3 of pixels, 4 of most latents
    text_width: Positive = 384  # D
    widths: tuple[Positive, ...] = (64, 128, 256)  # channels of each level; all but the last halve
    layers: Positive = 2  # of each level on the way down; one more on the way up
    attention: tuple[bool, ...] = (False, True, True)  # which levels have transformers
    head_size: Positive = 32  # of all transformers; the widths of their levels are multiples of it
    entry: bool = False  # a transformer over frames, of eight heads, behind the first convolution
    groups: Positive = 32  # of norms; all widths are multiples of it
    norm_epsilon: float = 1e-5  # of the norms of residual blocks
    middle_divisor: float = 1.0  # of sums in the residual blocks between the way down and up
    # how frames see each other, as above
    time: Literal["factorised", "causal", "joint", "none"] = "factorised"
    film: bool = False  # time and text scale and shift
    given: bool = False  # frames that are known come in besides
    frames: Natural = 16  # most of a clip; 0: any number, as the reference has it
    # height and width of the samples that it is trained on, or both as one number; (): not said
    size: tuple[Positive, ...] = ()
    dropout: float = 0.0  # inside the convolutions over time; the reference trains with 0.1
    remat: Literal["none", "dots", "full"] = "none"  # what backward recomputes
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls, convolutions
    stream: Literal["float32", "bfloat16"] = "float32"  # of what is stored between layers

    def __post_init__(self) -> None:
        if len(self.attention) != len(self.widths):
            raise ConfigError(
                f"widths has {len(self.widths)} levels and attention {len(self.attention)}: one "
                "for each"
            )
        for width in self.widths:
            if width % self.groups:
                raise ConfigError(f"widths: {width} is no multiple of the {self.groups} groups")
        attended = [width for width, here in zip(self.widths, self.attention, strict=True) if here]
        for width in (*attended, self.widths[-1]):  # the middle always attends
            if width % self.head_size:
                raise ConfigError(
                    f"widths: {width} is no multiple of head_size = {self.head_size}"
                )

    @property
    def divisor(self) -> int:
        """Height and width of a sample are multiples of it."""
        return 2 ** (len(self.widths) - 1)

    @property
    def condition(self) -> int:
        """E."""
        return 4 * self.widths[0]

    @property
    def channels_in(self) -> int:
        """Of a place, with those of frames that are known and the one that says which they are."""
        return 2 * self.channels + 1 if self.given else self.channels


def check(config: Config, shape: tuple[int, ...], text_width: int) -> None:
    """Holds the shape of samples, [B, T, H, W, C], against a model; before anything is compiled.

    Raises:
      ConfigError: more frames than it has; a size that its levels do not divide; other channels;
        states of a text tower of another width.
    """
    c = config
    if len(shape) != 5:
        raise ConfigError(f"samples are [B, T, H, W, C], got {list(shape)}: a picture has T = 1")
    _, frames, height, width, channels = shape
    most = 1 if c.time == "none" else c.frames
    if most and frames > most:
        raise ConfigError(f"{frames} frames, and the model has at most {most}")
    if height % c.divisor or width % c.divisor:
        raise ConfigError(
            f"samples of {height} x {width}: the model halves them {len(c.widths) - 1} times, so "
            f"height and width must be multiples of {c.divisor}"
        )
    if channels != c.channels:
        raise ConfigError(f"samples of {channels} channels, and the model has {c.channels}")
    if text_width != c.text_width:
        raise ConfigError(
            f"states of a text tower of width {text_width}, and the model reads {c.text_width}"
        )


class Layer(nn.Module):
    """One residual block and what stands behind it: frames, places with the text, frames."""

    config: Config
    features: int
    attention: bool
    divisor: float = 1.0
    train: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T H W C"],
        condition: Float[Array, "B E"],
        states: Float[Array, "B L D"],
        mask: Bool[Array, "B L"] | None,
    ) -> Float[Array, "B T H W O"]:
        c = self.config
        causal = c.time == "causal"
        x = rows_apart(x)
        x = Residual(
            self.features, c.groups, c.norm_epsilon, c.film, self.divisor, c.dtype, name="residual"
        )(x, condition)
        if c.time != "none":
            x = TemporalResidual(
                c.groups, causal, c.dropout, self.train, c.dtype, name="temporal_residual"
            )(x)
        if self.attention:
            heads = self.features // c.head_size
            joint = c.time == "joint"
            x = SpatialTransformer(heads, c.groups, joint, c.dtype, name="spatial")(x, states, mask)
            if c.time in ("factorised", "causal"):
                x = TemporalTransformer(heads, c.groups, None, causal, c.dtype, name="temporal")(x)
        return x


class Model(nn.Module):
    """Noisy samples to what the process asks of them: noise, v, or a velocity."""

    config: Config

    @nn.compact
    def __call__(
        self,
        samples: Float[Array, "B T H W C"],
        times: Float[Array, " B"] | Int[Array, " B"],
        states: Float[Array, "B L D"],
        mask: Bool[Array, "B L"] | None = None,
        given: Float[Array, "B T H W C"] | None = None,
        known: Bool[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B T H W C"]:
        """Of each place and frame.

        Args:
          times: of the noise, in steps of training: 0 to 1000 in most, whole or not.
          states: of the tokens of a text, from any tower.
          mask: True = a real token; None: all are.
          given: frames that are known, without noise; what they hold elsewhere is not looked at.
          known: which they are; None: none is. `given` and `known` go together.

        Raises:
          ConfigError: what `check` says; frames given to a model that takes none.
        """
        c = self.config
        check(c, samples.shape, states.shape[-1])
        x = rows_apart(samples).astype(c.stream)
        if (given is None) != (known is None) or (given is not None and not c.given):
            raise ConfigError(
                "given frames go together with which of them are known, into a model with "
                "given = True in its config"
            )
        if c.given:
            x = self._beside(x, given, known)
        mask = as_mask(mask)
        condition = self._condition(times, states, mask).astype(c.stream)
        told = (condition, states.astype(c.stream), mask)

        x = self._frames(Convolution(c.widths[0], dtype=c.dtype, name="conv_in"), x)
        if c.entry:
            x = TemporalTransformer(
                ENTRY_HEADS, c.groups, ENTRY_HEADS * c.head_size, c.time == "causal", c.dtype,
                name="temporal_in",
            )(x)  # fmt: skip
        x = self._down_and_up(x, told, train)
        x = jax.nn.silu(self._frames(GroupNorm(c.groups, c.norm_epsilon, name="norm_out"), x))
        last = Convolution(
            c.channels, kernel_init=nn.initializers.zeros_init(), axis=None, dtype=c.dtype,
            name="conv_out",
        )  # fmt: skip
        return self._frames(last, x).astype(samples.dtype)

    @nn.compact
    def _condition(self, times: Array, states: Array, mask: Array | None) -> Array:
        """One vector a row, [B, E]: the time, and with FiLM the text."""
        c = self.config

        def dense(name: str, axes: tuple[str | None, ...]) -> Dense:
            return Dense((c.condition,), axes, kernel_init=by_inputs, dtype=c.dtype, name=name)

        x = waves(times, c.widths[0])
        x = dense("time_out", ("mlp", None))(jax.nn.silu(dense("time_in", (None, "mlp"))(x)))
        if c.film:
            text = masked_mean(states.astype(jnp.float32), mask)
            text = dense("text_in", ("embed", "mlp"))(text)
            x = x + dense("text_out", ("mlp", None))(jax.nn.silu(text))
        return x

    def _beside(self, x: Array, given: Array | None, known: Array | None) -> Array:
        """Samples with the channels of frames that are known behind their own."""
        shape = (*x.shape[:-1], self.config.channels + 1)
        if given is None:
            return jnp.concatenate([x, jnp.zeros(shape, x.dtype)], axis=-1)
        there = jnp.broadcast_to(as_mask(known)[:, :, None, None, None], (*x.shape[:-1], 1))
        frames = jnp.where(there, given.astype(x.dtype), 0)
        return jnp.concatenate([x, frames, there.astype(x.dtype)], axis=-1)

    def _frames(self, layer: nn.Module, x: Array) -> Array:
        """A layer of pictures on each frame."""
        y = layer(x.reshape(-1, *x.shape[2:]))
        return y.reshape(*x.shape[:2], *y.shape[1:])

    @nn.compact
    def _down_and_up(self, x: Array, told: tuple, train: bool) -> Array:
        c = self.config
        block = Layer
        if c.remat != "none":
            block = nn.remat(Layer, policy=REMAT[c.remat])

        def layer(name: str, level: int, attention: bool, divisor: float = 1.0) -> nn.Module:
            return block(c, c.widths[level], attention, divisor, train, name=name)

        last = len(c.widths) - 1
        kept = [x]  # what the way up takes up again
        for level, width in enumerate(c.widths):
            for number in range(c.layers):
                x = layer(f"down_{level}_{number}", level, c.attention[level])(x, *told)
                kept.append(x)
            if level < last:
                x = self._frames(Halve(width, dtype=c.dtype, name=f"halve_{level}"), x)
                kept.append(x)

        x = layer("middle", last, True, c.middle_divisor)(x, *told)
        x = layer("middle_end", last, False, c.middle_divisor)(x, *told)

        for level in reversed(range(len(c.widths))):
            for number in range(c.layers + 1):
                x = jnp.concatenate([x, kept.pop()], axis=-1)
                x = layer(f"up_{level}_{number}", level, c.attention[level])(x, *told)
            if level:
                x = self._frames(Double(c.widths[level], dtype=c.dtype, name=f"double_{level}"), x)
        return x


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    c = config
    shape = (1, 1, c.divisor, c.divisor, c.channels)
    return (
        jax.ShapeDtypeStruct(shape, jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.float32),
        jax.ShapeDtypeStruct((1, 1, c.text_width), jnp.float32),
    )


VARIANTS = {
    # of 24 x 24 pixels, on a laptop
    "tiny": Config(widths=(32, 64, 128), layers=1, groups=8),
    "base": Config(widths=(128, 256, 384), head_size=64),
    # the text-to-video model of ModelScope, in latents
    "modelscope": Config(
        4, 1024, (320, 640, 1280, 1280), 2, (True, True, True, False), 64, True, frames=0,
        size=(32,), dropout=0.1,
    ),
}  # fmt: skip
