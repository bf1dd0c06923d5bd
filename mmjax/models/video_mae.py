"""VideoMAE's pre-training: most tubelets are hidden, and their pixels are made up.

https://arxiv.org/abs/2203.12602

* The encoder (video_vit.py) reads the visible tubelets alone; which they are is handed in
  (objectives/masked_video.py draws them).
* A smaller transformer reads them beside a learned token for each hidden tubelet, with sines for
  positions, and says the hidden ones' pixels.

Letters: B batch, T frames, H and W pixels, C channels, P tubelets, K visible, M hidden, E values of
    a tubelet.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import positions, transformer, tubelets
from mmjax.layers.dense import Dense
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.models import video_vit
from mmjax.objectives import masked_video
from mmjax.typing import Array, Float, Int

DECODER_EPSILON = 1e-5  # of the norm behind the decoder, whatever its blocks' is
# Clips were normalised by these before they came; pixels are made up on the scale from 0 to 1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Config:
    # the encoder, whose tokens are visible tubelets
    video: video_vit.Config = video_vit.Config(positions="sine", pool="mean", norm="tokens")
    decoder: transformer.Config = transformer.Config()  # the stack that makes up the hidden ones
    normalised: bool = True  # targets have each tubelet's own mean and deviation
    floor: float = masked_video.EPSILON  # added to that deviation, of pixels from 0 to 1


class Output(NamedTuple):
    """What the model returns."""

    tokens: Float[Array, "B K D"]  # of the encoder
    pixels: Float[Array, "B M E"]  # of the hidden tubelets, ordered (frame, row, column, channel)
    hidden_places: Int[Array, "B M"]  # their numbers


class Model(nn.Module):
    """Masked autoencoder of clips."""

    config: Config

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B T H W C"],
        visible: Int[Array, "B K"],
        *,
        train: bool = False,
    ) -> Output:
        """Normalised pixels, and the numbers of the visible tubelets -> the others' pixels."""
        c = self.config
        t = c.decoder
        count = c.video.count
        read = video_vit.Model(c.video, name="video")(video, None, visible, train=train)
        x = Dense((t.width,), ("embed", "joint"), bias=False, dtype=t.dtype, name="to_decoder")(
            read.tokens
        )
        hidden = tubelets.others(visible, count)
        places = jnp.broadcast_to(
            jnp.asarray(positions.sines(count, t.width))[None], (len(x), count, t.width)
        )
        token = embedding("mask_token", self, (1, t.width), 0.02, (None, "embed"))
        x = x + tubelets.chosen(places, visible)
        made_up = token[None] + tubelets.chosen(places, hidden)
        x = jnp.concatenate([x, made_up.astype(x.dtype)], axis=1)
        x = transformer.Transformer(t, train, name="decoder")(x)
        x = x[:, visible.shape[1] :]
        x = layer_norm(dataclasses.replace(t, norm_epsilon=DECODER_EPSILON), "decoder_norm")(x)
        values = c.video.tubelet * c.video.patch_size**2 * c.video.channels
        pixels = Dense((values,), ("embed", "patch"), dtype=t.dtype, name="head")(x)
        return Output(read.tokens, pixels, hidden)

    @nn.nowrap
    def targets(
        self, video: Float[Array, "B T H W C"], hidden: Int[Array, "B M"]
    ) -> Float[Array, "B M E"]:
        """What the pixels of the hidden tubelets ought to be."""
        c = self.config
        cut = c.video.cut(self._to_unit(video))
        if c.normalised:
            cut = masked_video.normalised(cut, c.video.channels, c.floor)
        return tubelets.chosen(cut, hidden)

    @nn.nowrap
    def restored(
        self,
        pixels: Float[Array, "B M E"],
        video: Float[Array, "B T H W C"],
        hidden: Int[Array, "B M"],
    ) -> Float[Array, "B frames side side C"]:
        """The clip with what was made up in the places of its hidden tubelets; without the frames
        and pixels that fill none.

        Of normalised targets the mean and the deviation of each tubelet are the clip's own.
        """
        c = self.config
        cut = c.video.cut(self._to_unit(video))
        if c.normalised:
            own = tubelets.chosen(cut, hidden)
            pixels = masked_video.unnormalised(pixels, own, c.video.channels, c.floor)
        rows = jnp.arange(len(cut))[:, None]
        cut = cut.at[rows, hidden].set(pixels.astype(cut.dtype))
        side = c.video.grid * c.video.patch_size
        whole = tubelets.joined(cut, c.video.tubelet, c.video.patch_size, side, side)
        return self._from_unit(whole)

    def _to_unit(self, video: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        """Pixels from 0 to 1; those of other than three channels are taken as they are."""
        if self.config.video.channels != len(MEAN):
            return video
        return video * _per_channel(STD) + _per_channel(MEAN)

    def _from_unit(self, video: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        if self.config.video.channels != len(MEAN):
            return video
        return (video - _per_channel(MEAN)) / _per_channel(STD)


def _per_channel(values: tuple[float, ...]) -> Float[Array, "1 1 1 1 C"]:
    return jnp.array(values).reshape(1, 1, 1, 1, -1)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row, a quarter of its tubelets visible."""
    seen = max(1, config.video.count // 4)
    return (*video_vit.inputs(config.video), jax.ShapeDtypeStruct((1, seen), jnp.int32))


def _pretraining(size: str, decoder: transformer.Config) -> Config:
    tower = dataclasses.replace(video_vit.VARIANTS[f"VideoMAE-{size}"], norm="tokens")
    body = dict(norm_epsilon=1e-12, initialisation="xavier", key_bias=False)
    return Config(tower, dataclasses.replace(decoder, **body))


VARIANTS = {
    "S": _pretraining("S", transformer.Config(192, 4, 3, 768)),
    "B": _pretraining("B", transformer.Config(384, 4, 6, 1536)),
    "L": _pretraining("L", transformer.Config(512, 12, 8, 2048)),
}
