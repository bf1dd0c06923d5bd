"""CLAP: towers of sound and text that meet on the unit sphere.

Elizalde et al. 2022, https://arxiv.org/abs/2206.04769; Wu et al. 2022 (LAION),
https://arxiv.org/abs/2211.06687.

* The dual encoder of models/clip.py with a field for sounds. Any tower of sound goes with any tower
  of text, a line of a config each; pictures may be a third modality.
* What is told of padding is the mask of the batch: each tower pools what is real.
* LAION's projections have two layers with relu between, and their files a second factor on the
  cosines, for texts against sounds, which is not trained here.

Letters: B batch, T frames or samples, M mel bins, N pictures of a clip, E embedding size.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers import packing
from mmjax.layers.patches import Patches
from mmjax.models import ast, bagged, bert, clip, htsat, pooled_audio, resnet, text, vit
from mmjax.models.clip import inputs as inputs
from mmjax.typing import Array, Float, Int, Shaped


@dataclasses.dataclass(frozen=True)
class Config(clip.Config):
    image: vit.Config | resnet.Config | None = None  # the image tower; None: there are no pictures
    text: text.Config | bert.Config | bagged.Config | None = text.VARIANTS["tiny"]  # the text tower
    # the tower of sound
    audio: ast.Config | htsat.Config | pooled_audio.Config | None = ast.VARIANTS["tiny"]
    audio_projection: bool = True  # as image_projection
    # between two layers of each projection; none: projections are one linear map
    projection_activation: Literal["none", "gelu", "relu"] = "none"
    text_scale: bool = False  # LAION's files hold another factor, for texts against sounds


class Model(clip.Model):
    """Dual encoder of sounds and texts."""

    config: Config

    def setup(self):
        super().setup()
        if self.config.text_scale:
            init = nn.initializers.constant(math.log(self.config.scale_init))
            self.log_text_scale = self.param("log_text_scale", init, (), jnp.float32)

    def encode_audio(
        self,
        audio: Float[Array, "B T M"] | Float[Array, "B T"] | Float[Array, "B N T M"],
        mask: Shaped[Array, "B S"] | None = None,
        *,
        train: bool = False,
        normalize: bool = True,
    ) -> Float[Array, "B E"]:
        """What the tower of sound reads and its mask (True = sound) -> unit vectors, or as in
        `encode`."""
        return self.encode("audio", audio, mask, train=train, normalize=normalize)

    def __call__(
        self,
        images: Float[Array, "B H W C"] | Patches | None = None,
        ids: Int[Array, "*P L"] | None = None,
        mask: Shaped[Array, "*P L"] | None = None,
        packed: packing.Layout | None = None,
        others: Mapping[str, tuple[Any, ...]] | None = None,
        *,
        audio: Float[Array, "B T M"] | Float[Array, "B T"] | Float[Array, "B N T M"] | None = None,
        audio_mask: Shaped[Array, "B S"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B E"], ...]:
        """As of the pair; sounds may be given by name instead of among `others`."""
        if audio is not None:
            others = {"audio": (audio, audio_mask), **(others or {})}
        return super().__call__(images, ids, mask, packed, others, train=train)

    def scale_and_bias(
        self, rows: str = "audio"
    ) -> tuple[Float[Array, ""], Float[Array, ""] | None]:
        """As of the pair.

        Args:
          rows: modality that is compared with all of another one: "text" has a factor of its own
            where there is one.
        """
        scale, bias = super().scale_and_bias()
        if rows == "text" and self.config.text_scale:
            scale = jnp.exp(self.log_text_scale)
        return scale, bias


def _laion(audio: ast.Config | htsat.Config) -> Config:
    """As LAION's: with RoBERTa, two layers behind each tower."""
    return Config(
        audio=audio,
        text=bert.VARIANTS["RoBERTa-B"],
        embedding=512,
        projection_activation="relu",
    )


VARIANTS = {
    "tiny": Config(),
    "tiny-htsat": replace(Config(), audio=htsat.VARIANTS["tiny"]),
    "HTSAT-T": _laion(htsat.VARIANTS["T"]),
    "HTSAT-T-fusion": _laion(htsat.VARIANTS["T-fusion"]),
    "HTSAT-B": _laion(htsat.VARIANTS["B"]),
    "AST-B": _laion(ast.VARIANTS["B"]),
    "whisper-tiny": replace(Config(), audio=pooled_audio.VARIANTS["whisper-tiny"]),
    "wav2vec2-base": replace(Config(), audio=pooled_audio.VARIANTS["wav2vec2-base"]),
}
