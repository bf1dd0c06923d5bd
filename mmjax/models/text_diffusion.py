"""Samples out of noise, as a text says: a text tower, a denoiser and, where there is one, an
autoencoder.

Diffusion with a text tower that is read token by token: GLIDE, https://arxiv.org/abs/2112.10741;
Imagen, https://arxiv.org/abs/2205.11487. In latents: https://arxiv.org/abs/2112.10752.

* The denoiser reads the tower's tokens, whatever tower that is: one that is trained with it, or one
  that is loaded and frozen.
* "No text" is a vector that is learned, or the tower's tokens of an empty text. In training the
  task puts it in the place of some rows' texts, so that one model knows both.
* The autoencoder is a frozen one of pictures: frame by frame, its latents drawn by each row's key.
* `fold` pixels (or latents) of each edge become channels of one place: an autoencoder that loses
  nothing, for small samples.
* Pictures are clips of one frame; nothing here knows which.
* A denoiser with `given` reads frames that are known beside the noise: image to video. "No text"
  keeps them, so guidance is that of the text alone.

Letters: B rows, T frames, H and W pixels, C channels, L tokens, D width; h, w and c of latents.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.models import autoencoder_kl, bert, text, unet3d
from mmjax.typing import Array, Bool, Float, Int, Positive, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    text: text.Config | bert.Config = text.VARIANTS["tiny"]  # the text tower
    # what says of noisy samples what is in them
    denoiser: unet3d.Config = unet3d.Config(text_width=192)
    autoencoder: autoencoder_kl.Config | None = None  # of frames; None: noise is added to pixels
    fold: Positive = 1  # pixels or latents of an edge that become channels of one place
    # what the denoiser reads for no text: a vector that is learned, or the tokens of `empty`
    nothing: Literal["learned", "empty"] = "learned"
    empty: tuple[int, ...] = ()  # ids of an empty text with its start and end; the processor's

    def __post_init__(self) -> None:
        width = self.text.transformer.width
        if self.denoiser.text_width != width:
            raise ConfigError(
                f"denoiser.text_width={self.denoiser.text_width}, and the text tower says {width} "
                "numbers of each token: make them equal"
            )


class Condition(NamedTuple):
    """What the denoiser reads of a text, and of the frames that a clip begins with."""

    states: Float[Array, "B L D"]
    mask: Bool[Array, "B L"]  # True: a real token
    # frames that are known, what they hold elsewhere is not looked at; None: no frame is
    given: Float[Array, "B T h w c"] | None = None
    known: Bool[Array, "B T"] | None = None  # which they are


class Model(nn.Module):
    """Text tower, denoiser and autoencoder."""

    config: Config

    def setup(self):
        c = self.config
        tower = bert if isinstance(c.text, bert.Config) else text
        self.text = tower.Model(c.text)
        self.denoiser = unet3d.Model(c.denoiser)
        if c.autoencoder is not None:
            self.autoencoder = autoencoder_kl.Model(c.autoencoder)
        if c.nothing == "learned":
            init = nn.with_logical_partitioning(nn.initializers.normal(0.02), (None, "embed"))
            shape = (1, c.text.transformer.width)
            self.nothing = self.param("nothing", init, shape, jnp.float32)

    @property
    def takes_frames(self) -> bool:
        """Whether frames that are known may be given."""
        return self.config.denoiser.given

    def check(self, shape: tuple[int, ...]) -> None:
        """Holds the shape of a sample, (T, H, W, C), against the model, before anything is
        compiled.

        Raises:
          ConfigError: more frames than it has, or a size or channels that it does not take.
        """
        c = self.config
        frames, height, width, channels = shape
        edge = c.fold * (c.autoencoder.divisor if c.autoencoder else 1)
        if height % edge or width % edge:
            raise ConfigError(
                f"samples of {height} x {width}: {edge} x {edge} pixels are one place of the "
                "denoiser, so height and width must be multiples of it"
            )
        if c.autoencoder is not None:
            if channels != c.autoencoder.channels:
                raise ConfigError(
                    f"samples of {channels} channels, and the autoencoder has "
                    f"{c.autoencoder.channels}"
                )
            channels = c.autoencoder.latent_channels
        latents = (1, frames, height // edge, width // edge, channels * c.fold**2)
        unet3d.check(c.denoiser, latents, c.text.transformer.width)

    def read(
        self, ids: Int[Array, "B L"], mask: Shaped[Array, "B L"], *, train: bool = False
    ) -> Condition:
        """Token ids and their validity (True = a real token) -> what the denoiser reads."""
        mask = mask.astype(bool)
        tokens = self.text(ids, mask, train=train).tokens
        return Condition(tokens.astype(jnp.float32), mask)

    def without(self, like: Condition) -> Condition:
        """What the denoiser reads where there is no text, of as many rows and tokens.

        Raises:
          ConfigError: an empty text is to be read, and is longer than `like`, or not given.
        """
        rows, length, width = like.states.shape
        if self.config.nothing == "learned":
            states = jnp.broadcast_to(self.nothing[None], like.states.shape)
            mask = jnp.broadcast_to(jnp.arange(length)[None] < 1, (rows, length))
            return like._replace(states=states, mask=mask)
        empty = self.config.empty
        if not 0 < len(empty) <= length:
            raise ConfigError(
                f"model.empty has {len(empty)} ids, and a text {length} at most: give the ids of "
                'an empty text, or take nothing="learned"'
            )
        ids = jnp.pad(jnp.asarray(empty, jnp.int32), (0, length - len(empty)))[None]
        mask = jnp.arange(length)[None] < len(empty)
        read = self.read(ids, mask)
        return like._replace(
            states=jnp.broadcast_to(read.states, like.states.shape),
            mask=jnp.broadcast_to(read.mask, (rows, length)),
        )

    def encode(self, samples: Float[Array, "B T H W C"], keys: Array) -> Float[Array, "B T h w c"]:
        """What the denoiser works on.

        Args:
          keys: [B], of what an autoencoder draws.
        """
        c = self.config.autoencoder
        if c is not None:
            _, frames, height, width, _ = samples.shape
            shape = (frames, height // c.divisor, width // c.divisor, c.latent_channels)
            noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
            samples = self.autoencoder.encode(samples, noise)
        return folded(samples, self.config.fold)

    def decode(self, latents: Float[Array, "B T h w c"]) -> Float[Array, "B T H W C"]:
        """Samples again."""
        latents = unfolded(latents, self.config.fold)
        return latents if self.config.autoencoder is None else self.autoencoder.decode(latents)

    def denoise(
        self,
        latents: Float[Array, "B T h w c"],
        times: Float[Array, " B"],
        condition: Condition,
        *,
        train: bool = False,
    ) -> Float[Array, "B T h w c"]:
        """What the denoiser says of noisy latents, each at its own time."""
        return self.denoiser(
            latents, times, condition.states, condition.mask, condition.given, condition.known,
            train=train,
        )  # fmt: skip

    def __call__(
        self,
        samples: Float[Array, "B T H W C"],
        times: Float[Array, " B"],
        ids: Int[Array, "B L"],
        mask: Shaped[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B T H W C"]:
        """What is said of noisy samples beside their texts; of latents, decoded."""
        mask = jnp.ones(ids.shape, bool) if mask is None else mask
        keys = jax.random.split(jax.random.key(0), len(samples))
        condition = self.read(ids, mask, train=train)
        if self.is_initializing():
            self.without(condition)
        latents = self.encode(samples, keys)
        return self.decode(self.denoise(latents, times, condition, train=train))


def folded(x: Float[Array, "B T H W C"], size: int) -> Float[Array, "B T h w c"]:
    """size x size pixels of each frame as the channels of one place.

    Raises:
      ConfigError: edges that are no multiple.
    """
    batch, times, height, width, channels = x.shape
    if height % size or width % size:
        raise ConfigError(f"frames of {height} x {width} do not divide into {size} x {size} pixels")
    x = x.reshape(batch, times, height // size, size, width // size, size, channels)
    x = x.transpose(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(batch, times, height // size, width // size, size * size * channels)


def unfolded(x: Float[Array, "B T h w c"], size: int) -> Float[Array, "B T H W C"]:
    """The inverse of `folded`."""
    batch, times, height, width, channels = x.shape
    x = x.reshape(batch, times, height, width, size, size, channels // size**2)
    x = x.transpose(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(batch, times, height * size, width * size, channels // size**2)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    side = config.fold * config.denoiser.divisor
    channels = config.denoiser.channels // config.fold**2
    if config.autoencoder is not None:
        side *= config.autoencoder.divisor
        channels = config.autoencoder.channels
    samples = jax.ShapeDtypeStruct((1, 1, side, side, channels), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, config.text.context_length), jnp.int32)
    return (samples, jax.ShapeDtypeStruct((1,), jnp.float32), ids)


VARIANTS = {
    "tiny": Config(denoiser=dataclasses.replace(unet3d.VARIANTS["tiny"], text_width=192)),
    # clips of 256 x 256 pixels, as ModelScope's: latents of 32 x 32, the text tower of CLIP H/14
    "latent": Config(
        text.VARIANTS["H"], unet3d.VARIANTS["modelscope"], autoencoder_kl.VARIANTS["kl-f8"],
        nothing="empty",
    ),
}  # fmt: skip
