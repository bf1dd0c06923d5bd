"""CLIP and SigLIP: an image tower and a text tower that meet on the unit sphere.

* CLIP https://arxiv.org/abs/2103.00020: class token, causal text, linear projections, learned scale
  (at most 100).
* SigLIP https://arxiv.org/abs/2303.15343: attention pooling, text that sees both ways, learned
  scale and bias. The bias has no gradient under the softmax loss, so only rows with `bias_init` own
  one.
* Embeddings leave the model with unit norm, in float32.

Letters: B batch, L tokens, E embedding size.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.dense import Dense
from mmjax.models import text, vit
from mmjax.typing import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Config:
    image: vit.Config = vit.VARIANTS["tiny/16"]  # the image tower
    text: text.Config = text.VARIANTS["tiny"]  # the text tower
    embedding: int = 192  # E
    image_projection: bool = True  # a linear map after pooling; without one, E is the image width
    text_projection: bool = True  # likewise
    projection_bias: bool = False  # SigLIP's text head has one
    scale_init: float = 1 / 0.07  # factor on the cosines at the start
    scale_max: float = 100.0  # the factor never exceeds this
    bias_init: float | None = None  # added to the logits of the sigmoid loss; None: no bias


def unit(x: Float[Array, "B E"]) -> Float[Array, "B E"]:
    """Divides each row by its length; a zero row stays zero and has a finite gradient."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


class Model(nn.Module):
    """Dual encoder."""

    config: Config

    def setup(self):
        c = self.config
        for name in ("image", "text"):
            width = getattr(c, name).transformer.width
            if not getattr(c, f"{name}_projection") and c.embedding != width:
                raise ValueError(
                    f"without {name}_projection, embedding={c.embedding} must be the width of the "
                    f"{name} tower, {width}"
                )
        self.image = vit.Model(c.image)
        self.text = text.Model(c.text)

        def head(present: bool, width: int, dtype: str) -> Dense | None:
            if not present:
                return None
            init = nn.initializers.normal(width**-0.5)
            axes = ("embed", "joint")
            return Dense(
                (c.embedding,), axes, bias=c.projection_bias, kernel_init=init, dtype=dtype
            )

        self.image_head = head(
            c.image_projection, c.image.transformer.width, c.image.transformer.dtype
        )
        self.text_head = head(c.text_projection, c.text.transformer.width, c.text.transformer.dtype)
        self.log_scale = self.param(
            "log_scale", nn.initializers.constant(math.log(c.scale_init)), (), jnp.float32
        )
        if c.bias_init is not None:
            self.bias = self.param("bias", nn.initializers.constant(c.bias_init), (), jnp.float32)

    def encode_image(
        self, images: Float[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B E"]:
        """Normalised pixels -> unit vectors."""
        pooled = self.image(images, train=train).pooled
        return unit(self.image_head(pooled) if self.image_head else pooled)

    def encode_text(
        self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"] | None = None, *, train: bool = False
    ) -> Float[Array, "B E"]:
        """Token ids (True in the mask = a real token) -> unit vectors."""
        pooled = self.text(ids, mask, train=train).pooled
        return unit(self.text_head(pooled) if self.text_head else pooled)

    def scale_and_bias(self) -> tuple[Float[Array, ""], Float[Array, ""] | None]:
        """The factor on the cosines, at most `scale_max`, and the bias of the sigmoid loss."""
        scale = jnp.exp(jnp.minimum(self.log_scale, math.log(self.config.scale_max)))
        return scale, (self.bias if self.config.bias_init is not None else None)

    def __call__(
        self,
        images: Float[Array, "B H W C"],
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "B E"], Float[Array, "B E"]]:
        self.scale_and_bias()
        return self.encode_image(images, train=train), self.encode_text(ids, mask, train=train)


def _clip(size: str, text_size: str, embedding: int, activation: str = "gelu") -> Config:
    image, words = vit.VARIANTS[size], text.VARIANTS[text_size]
    kind = dict(activation=activation, initialisation="clip")
    image = replace(
        image,
        pool="class",
        patch_bias=False,
        pre_norm=True,
        transformer=replace(image.transformer, **kind),
    )
    words = replace(words, transformer=replace(words.transformer, **kind))
    return Config(image=image, text=words, embedding=embedding)


def _siglip(size: str) -> Config:
    kind = dict(activation="gelu_tanh", norm_epsilon=1e-6, initialisation="xavier")
    image = vit.VARIANTS[size]
    body = replace(image.transformer, **kind)
    words = text.Config(
        vocab_size=32_000,
        context_length=64,
        transformer=body,  # the text tower is as large as the image tower's transformer
        causal=False,
        attend_padding=True,
    )
    return Config(
        image=replace(image, pool="attention", transformer=body),
        text=words,
        embedding=body.width,
        image_projection=False,
        projection_bias=True,
        scale_init=10.0,
        bias_init=-10.0,
    )


VARIANTS = {
    "tiny/8": replace(
        Config(), image=replace(vit.VARIANTS["tiny/16"], image_size=32, patch_size=8)
    ),
    "S/16": _clip("S/16", "S", 384),
    "B/32": _clip("B/32", "B", 512),
    "B/16": _clip("B/16", "B", 512),
    "L/14": _clip("L/14", "L", 768),
    "B/32-quickgelu": _clip("B/32", "B", 512, "quick_gelu"),  # OpenAI's weights use this activation
    "L/14-quickgelu": _clip("L/14", "L", 768, "quick_gelu"),
    "SigLIP-B/16": _siglip("B/16"),
    "SigLIP-L/16": _siglip("L/16"),
    "SigLIP-So400m/14": _siglip("So400m/14"),
}
