"""Clips and texts that meet on the unit sphere: a dual encoder, and X-CLIP.

* The towers, their projections and the scale are those of clip.py, with a tower of clips in the
  place of that of pictures: tubelets, or any image tower frame by frame, as CLIP4Clip
  (https://arxiv.org/abs/2104.08860) does with a trained CLIP.
* X-CLIP (https://arxiv.org/abs/2208.02816): a text reads the clip that it is compared with (the
  video-specific prompt), so it has another vector beside each clip. `encode` gives vectors of clips
  and of texts alone; `compare` does as the paper does.

Letters: B clips, K texts, T frames, L tokens, P places of a frame, D width of the image tower, E
    embedding size.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import pooling, transformer
from mmjax.layers.attention import Attention
from mmjax.layers.dense import Dense
from mmjax.layers.places import as_mask
from mmjax.layers.stack import output_of_block, run_blocks
from mmjax.layers.transformer import layer_norm
from mmjax.models import clip, frame_tower, resnet, video_vit, vit
from mmjax.typing import Array, Float, Int, Natural, Positive, Shaped


@dataclasses.dataclass(frozen=True)
class Config(clip.Config):
    image: vit.Config | resnet.Config | None = None  # a tower of single pictures besides
    video: frame_tower.Config | video_vit.Config = frame_tower.Config()  # the tower of clips
    video_projection: bool = True  # a linear map behind it; without one, E is its width
    prompt_layers: Natural = 0  # in which a text reads the clip beside it; 0: it does not
    prompt_heads: Positive = 8  # of each of them
    prompt_scale: float = 0.1  # of what a text has read, at the start

    def __post_init__(self) -> None:
        if self.prompt_layers and not isinstance(self.video, frame_tower.Config):
            raise ConfigError("texts read the places of single frames: video is a frame_tower")


class Compared(NamedTuple):
    """Clips beside texts."""

    video: Float[Array, "B E"]  # unit vectors
    text: Float[Array, "B K E"]  # unit vectors of each text beside each clip
    logits: Float[Array, "B K"]  # cosines times the scale


class _Reader(transformer.Block):
    """x + attention(norm(x), places), then x + mlp(norm(x)); no biases of queries, keys, values."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B K E"], places: Float[Array, "B P E"]
    ) -> tuple[Float[Array, "B K E"], Array | None]:
        c = self.config
        attention = Attention(c.heads, dtype=c.dtype, bias=False, name="cross")
        x = x + attention(layer_norm(c, "cross_norm")(x), context=places)
        x = x + self._mlp()(layer_norm(c, "mlp_norm")(x))
        return x, output_of_block(self, x)


class Prompts(nn.Module):
    """What a text takes from the places of a clip's frames."""

    config: Config

    @nn.compact
    def __call__(
        self,
        text: Float[Array, "B K E"],
        frames: Float[Array, "B T P D"],
        valid: Shaped[Array, "B T"] | None,
    ) -> Float[Array, "B K E"]:
        c = self.config
        size = c.embedding
        image = c.video.image.transformer
        init = nn.initializers.normal(image.width**-0.5)
        batch, times, places, width = frames.shape
        x = layer_norm(image, "places_norm")(frames)
        axes = ("embed", "joint")
        x = Dense((size,), axes, bias=False, kernel_init=init, name="places_map")(x)
        x = pooling.masked_mean(x.reshape(batch, times, -1), valid).reshape(batch, places, size)
        x = layer_norm(image, "norm")(x)
        words = c.text.transformer
        body = transformer.Config(
            size, c.prompt_layers, c.prompt_heads, 4 * size, words.activation,
            norm_epsilon=words.norm_epsilon, dtype=words.dtype,
        )  # fmt: skip
        text, _ = run_blocks(self, _Reader, (body,), text, shared=(x,), remat=True)
        init = nn.with_logical_partitioning(nn.initializers.constant(c.prompt_scale), ("joint",))
        scale = self.param("scale", init, (size,), jnp.float32)
        return scale.reshape(1, 1, -1).astype(text.dtype) * text


class Model(clip.Model):
    """Dual encoder of clips and texts; X-CLIP with its prompts."""

    config: Config

    def setup(self):
        super().setup()
        self.prompts = Prompts(self.config) if self.config.prompt_layers else None

    def encode(
        self, modality: str, *inputs: Any, train: bool = False, normalize: bool = True
    ) -> Float[Array, "B E"]:
        """As of clip.py.

        Raises:
          ConfigError: training by vectors alone where texts read clips: they would never learn to.
        """
        if train and self.prompts is not None:
            raise ConfigError(
                "texts read the clip beside them (model.prompt_layers), which a loss of vectors "
                "does not train: it has to ask `compare`. Set model.prompt_layers=0"
            )
        return super().encode(modality, *inputs, train=train, normalize=normalize)

    def encode_video(
        self,
        video: Float[Array, "B T H W C"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
        normalize: bool = True,
    ) -> Float[Array, "B E"]:
        """Normalised pixels (True in the mask = a real frame) -> vectors, as in `encode`."""
        return self.encode("video", video, as_mask(mask), train=train, normalize=normalize)

    def __call__(
        self,
        video: Float[Array, "B T H W C"],
        ids: Int[Array, "K L"],
        mask: Shaped[Array, "K L"] | None = None,
        video_mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Compared:
        """Every clip beside every text.

        Args:
          mask: True = a real token; video_mask: True = a real frame.
        """
        valid = as_mask(video_mask)
        read = self.video(video, valid, train=train)
        head = self.video_head
        vectors = clip.unit(clip.projected(self.config, "video", head, read.pooled))
        said = self.text(ids, as_mask(mask), train=train).pooled
        text = clip.projected(self.config, "text", self.text_head, said)
        beside = jnp.broadcast_to(text[None], (len(video), *text.shape))
        if self.prompts is not None:
            places = read.places[:, :, 1:]  # without the class token
            beside = beside + self.prompts(beside, places, valid)
        beside = clip.unit(beside)
        scale, bias = self.scale_and_bias()
        logits = scale * jnp.einsum("BE,BKE->BK", vectors, beside)
        return Compared(vectors, beside, logits if bias is None else logits + bias)

    def compare(
        self,
        video: Float[Array, "B T H W C"],
        ids: Int[Array, "K L"],
        mask: Shaped[Array, "K L"] | None = None,
    ) -> Float[Array, "B K"]:
        """How each clip fits each text."""
        return self(video, ids, mask).logits


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    _, ids, *_, shapes = clip.inputs(config)
    return (*shapes["video"], ids)


def _xclip(size: str, frames: int, embedding: int) -> Config:
    both = clip.VARIANTS[f"{size}-quickgelu"]
    over = transformer.Config(embedding, 1, embedding // 64, 4 * embedding, "quick_gelu")
    image = dataclasses.replace(both.image, feature_layer=-1)
    video = frame_tower.Config(image, frames, embedding, over, messages=True)
    return Config(
        None, both.text, embedding, video=video, video_projection=False, prompt_layers=2,
        prompt_heads=8,
    )  # fmt: skip


VARIANTS = {
    "tiny/16": Config(video=frame_tower.VARIANTS["tiny/16"]),
    "B/32": Config(None, clip.VARIANTS["B/32"].text, 512, video=frame_tower.VARIANTS["B/32"]),
    "X-CLIP-B/32": _xclip("B/32", 8, 512),
    "X-CLIP-L/14": _xclip("L/14", 8, 768),
}
