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

    def targets(
        self, video: Float[Array, "B T H W C"], hidden: Int[Array, "B M"]
    ) -> Float[Array, "B M E"]:
        """What the pixels of the hidden tubelets ought to be."""
        c = self.config
        if c.video.channels == len(MEAN):
            per_channel = (1, 1, 1, 1, len(MEAN))
            video = video * jnp.array(STD).reshape(per_channel)
            video = video + jnp.array(MEAN).reshape(per_channel)
        cut = c.video.cut(video)
        if c.normalised:
            cut = masked_video.normalised(cut, c.video.channels)
        return tubelets.chosen(cut, hidden)


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
