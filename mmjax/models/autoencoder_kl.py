"""An autoencoder of pictures whose latents diffusion works in: `AutoencoderKL` of diffusers.

https://arxiv.org/abs/2112.10752.

* A picture becomes a mean and a variance for each place of a grid that is 2 ** (levels - 1) times
  coarser; a latent is drawn of them, or is the mean.
* What leaves `encode` is scaled to a deviation of about 1 over the training set, as diffusion wants
  it; `decode` takes it so.
* Frames of a clip are pictures: any axes may stand before height, width and channels.

Letters: B rows, H rows and W columns of a picture, h and w of its latents, C channels, Z channels
    of latents.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers.attention import Attention
from mmjax.layers.placement import rows_apart
from mmjax.layers.unet.convolution import Convolution, Double, Halve
from mmjax.layers.unet.group_norm import GroupNorm
from mmjax.layers.unet.residual import Residual
from mmjax.layers.unet.start import by_inputs
from mmjax.typing import Array, Float, Positive

EPSILON = 1e-6  # of norms
LEAST, MOST = -30.0, 20.0  # that a logarithm of a variance is kept between


@dataclasses.dataclass(frozen=True)
class Config:
    channels: Positive = 3  # C
    latent_channels: Positive = 4  # Z
    widths: tuple[Positive, ...] = (128, 256, 512, 512)  # of each level; all but the last halve
    layers: Positive = 2  # residual blocks of a level of the encoder; the decoder has one more
    groups: Positive = 32  # of norms; all widths are multiples of it
    attention: bool = True  # of all places, between the residual blocks in the middle
    encoder_map: bool = True  # a linear map behind the encoder
    decoder_map: bool = True  # and one before the decoder
    scale: float = 0.18215  # that latents are multiplied with
    shift: float = 0.0  # that is taken from them before
    # height and width that it is trained on, or both as one number; pictures may have others
    size: tuple[Positive, ...] = (32,)
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls, convolutions

    def __post_init__(self) -> None:
        for width in self.widths:
            if width % self.groups:
                raise ConfigError(f"widths: {width} is no multiple of the {self.groups} groups")

    @property
    def divisor(self) -> int:
        """Height and width of a picture are multiples of it; those of latents are the rest."""
        return 2 ** (len(self.widths) - 1)


class Posterior(NamedTuple):
    """What an encoder says of a picture, without scale."""

    mean: Float[Array, "... h w Z"]
    log_variance: Float[Array, "... h w Z"]

    def divergence(self) -> Float[Array, "..."]:
        """From the standard normal distribution, summed over each picture."""
        each = jnp.square(self.mean) + jnp.exp(self.log_variance) - 1 - self.log_variance
        return 0.5 * each.sum((-3, -2, -1))


class Output(NamedTuple):
    """What the whole autoencoder makes of pictures."""

    images: Float[Array, "... H W C"]
    posterior: Posterior


class Middle(nn.Module):
    """A residual block, attention of all places, a residual block."""

    config: Config

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        c = self.config
        x = _block(c, x.shape[-1], "residual_0")(x)
        if c.attention:
            tokens = x.reshape(len(x), -1, x.shape[-1])
            normed = GroupNorm(c.groups, EPSILON, name="norm")(tokens)
            zeros = nn.initializers.zeros_init()
            attention = Attention(1, by_inputs, zeros, c.dtype, name="attention")
            x = x + attention(normed).reshape(x.shape)
        return _block(c, x.shape[-1], "residual_1")(x)


class _Picture(Residual):
    """A residual block of pictures without a time."""

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W O"]:
        return super().__call__(x[:, None])[:, 0]


def _block(config: Config, features: int, name: str) -> _Picture:
    return _Picture(features, config.groups, EPSILON, dtype=config.dtype, name=name)


class Encoder(nn.Module):
    """Pictures to O = 2 Z channels of each place of the coarse grid."""

    config: Config

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w O"]:
        c = self.config
        x = Convolution(c.widths[0], dtype=c.dtype, name="conv_in")(x)
        for level, width in enumerate(c.widths):
            for number in range(c.layers):
                x = _block(c, width, f"down_{level}_{number}")(x)
            if level < len(c.widths) - 1:
                x = Halve(width, (0, 1), c.dtype, name=f"halve_{level}")(x)
        x = Middle(c, name="middle")(x)
        x = nn.silu(GroupNorm(c.groups, EPSILON, name="norm_out")(x))
        return Convolution(2 * c.latent_channels, axis=None, dtype=c.dtype, name="conv_out")(x)


class Decoder(nn.Module):
    """Latents to pictures."""

    config: Config

    @nn.compact
    def __call__(self, z: Float[Array, "B h w Z"]) -> Float[Array, "B H W C"]:
        c = self.config
        x = Convolution(c.widths[-1], dtype=c.dtype, name="conv_in")(z)
        x = Middle(c, name="middle")(x)
        for level in reversed(range(len(c.widths))):
            for number in range(c.layers + 1):
                x = _block(c, c.widths[level], f"up_{level}_{number}")(x)
            if level:
                x = Double(c.widths[level], c.dtype, name=f"double_{level}")(x)
        x = nn.silu(GroupNorm(c.groups, EPSILON, name="norm_out")(x))
        return Convolution(c.channels, axis=None, dtype=c.dtype, name="conv_out")(x)


class Model(nn.Module):
    """Both ways."""

    config: Config

    def setup(self) -> None:
        c = self.config

        def linear(channels: int) -> Convolution:
            return Convolution(channels, size=1, axis=None, dtype=c.dtype)

        self.encoder = Encoder(c)
        self.decoder = Decoder(c)
        if c.encoder_map:
            self.encoder_map = linear(2 * c.latent_channels)
        if c.decoder_map:
            self.decoder_map = linear(c.latent_channels)

    def posterior(self, images: Float[Array, "... H W C"]) -> Posterior:
        """What the encoder says of pictures, values of -1 to 1; without scale.

        Raises:
          ConfigError: a size that the levels do not divide; other channels.
        """
        c = self.config
        height, width, channels = images.shape[-3:]
        if height % c.divisor or width % c.divisor:
            raise ConfigError(
                f"pictures of {height} x {width}: the encoder halves them {len(c.widths) - 1} "
                f"times, so height and width must be multiples of {c.divisor}"
            )
        self._check(channels, c.channels, "pictures")
        x = self.encoder(rows_apart(images.reshape(-1, height, width, channels)))
        if c.encoder_map:
            x = self.encoder_map(x)
        x = x.reshape(*images.shape[:-3], *x.shape[1:])
        mean, log_variance = jnp.split(x, 2, axis=-1)
        return Posterior(mean, jnp.clip(log_variance, LEAST, MOST))

    def encode(
        self, images: Float[Array, "... H W C"], noise: Float[Array, "... h w Z"] | None = None
    ) -> Float[Array, "... h w Z"]:
        """Latents of pictures, scaled.

        Args:
          noise: standard normal, to draw them with; None: the mean.
        """
        said = self.posterior(images)
        return (_drawn(said, noise) - self.config.shift) * self.config.scale

    def decode(self, latents: Float[Array, "... h w Z"]) -> Float[Array, "... H W C"]:
        """Pictures of latents that are scaled, values of about -1 to 1.

        Raises:
          ConfigError: other channels.
        """
        return self._decode(latents / self.config.scale + self.config.shift)

    def __call__(
        self, images: Float[Array, "... H W C"], noise: Float[Array, "... h w Z"] | None = None
    ) -> Output:
        """There and back; arguments as of `encode`."""
        said = self.posterior(images)
        return Output(self._decode(_drawn(said, noise)), said)

    def _decode(self, z: Array) -> Array:
        c = self.config
        self._check(z.shape[-1], c.latent_channels, "latents")
        x = rows_apart(z.reshape(-1, *z.shape[-3:]))
        if c.decoder_map:
            x = self.decoder_map(x)
        x = self.decoder(x)
        return x.reshape(*z.shape[:-3], *x.shape[1:])

    def _check(self, channels: int, wanted: int, what: str) -> None:
        if channels != wanted:
            raise ConfigError(f"{what} of {channels} channels, and the model has {wanted}")


def _drawn(posterior: Posterior, noise: Array | None) -> Array:
    if noise is None:
        return posterior.mean
    return posterior.mean + jnp.exp(0.5 * posterior.log_variance) * noise


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    shape = (1, config.divisor, config.divisor, config.channels)
    return (jax.ShapeDtypeStruct(shape, jnp.float32),)


VARIANTS = {
    "tiny": Config(widths=(32, 64, 64), layers=1, groups=8),
    # of Stable Diffusion, and of ModelScope's text-to-video
    "kl-f8": Config(size=(512,)),
}
