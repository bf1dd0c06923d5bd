"""CLIP and SigLIP: an image tower and a text tower that meet on the unit sphere.

* CLIP https://arxiv.org/abs/2103.00020: class token, causal text, linear projections, learned scale
  (at most 100).
* SigLIP https://arxiv.org/abs/2303.15343: attention pooling, text that sees both ways, learned
  scale and bias. The bias has no gradient under the softmax loss, so only rows with `bias_init` own
  one.
* Of CLIP's image towers, some are residual networks with attention pooling: resnet.py. A text
  tower may be a BERT (LiT, https://arxiv.org/abs/2111.07991, locks such a one): bert.py. Beside it
  may stand a bag of words, whose vectors a locked tower cannot learn.
* Embeddings leave the model with unit norm, in float32.

Letters: B batch, L tokens, E embedding size.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import packing
from mmjax.layers.dense import Dense
from mmjax.layers.patches import Patches
from mmjax.models import bert, resnet, text, vit
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
    resnet: resnet.Config | None = None  # CLIP's RN50 and its kin: the image tower, not `image`
    bert: bert.Config | None = None  # the text tower, not `text`; pool="mean" for sentences
    # a bag of trained token vectors beside the text tower: each fills one half of E. In training
    # one of every two neighbours is read by the bag alone, the other by the tower alone, as a coin
    # falls; afterwards each by both, and a cosine is the mean of two
    bag: bool = False


def unit(x: Float[Array, "... E"]) -> Float[Array, "... E"]:
    """Divides each row by its length; a zero row stays zero and has a finite gradient."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


class Output(NamedTuple):
    """What a tower on its own returns."""

    tokens: Float[Array, "B L D"]  # after the last block and norm
    pooled: Float[Array, "B E"]  # behind the projection, of whatever length


def _tower(c: Config, side: str) -> tuple[nn.Module, Dense | None]:
    """One tower, and its projection where it has one."""
    if side == "image":
        tower = resnet.Model(c.resnet, name=side) if c.resnet else vit.Model(c.image, name=side)
    else:
        tower = bert.Model(c.bert, name=side) if c.bert else text.Model(c.text, name=side)
        if c.bert and c.text.vocab_size > c.bert.vocab_size:
            raise ValueError(
                f"bert.vocab_size={c.bert.vocab_size}, but text.vocab_size={c.text.vocab_size}: "
                "there are higher ids, the tokenizer is another one's"
            )
    if side == "image" and c.resnet:
        width, dtype = c.resnet.embedding, c.resnet.dtype
    else:
        width, dtype = tower.config.transformer.width, tower.config.transformer.dtype
    size = c.embedding // 2 if c.bag and side == "text" else c.embedding
    if getattr(c, f"{side}_projection"):
        kinds = dict(bias=c.projection_bias, kernel_init=nn.initializers.normal(width**-0.5))
        axes = ("embed", "joint")
        return tower, Dense((size,), axes, dtype=dtype, name=f"{side}_head", **kinds)
    if size != width:
        half = " / 2" if size != c.embedding else ""
        raise ValueError(
            f"without {side}_projection, embedding={c.embedding}{half} must be the width of the "
            f"{side} tower, {width}"
        )
    return tower, None


class Tower(nn.Module):
    """One tower on its own; its parameters have the paths that they have in the pair."""

    config: Config  # of the pair
    side: Literal["image", "text"]

    @nn.compact
    def __call__(self, *inputs: Any, **named: Any) -> Output:
        """What `encode_image` or `encode_text` takes -> tokens and a pooled vector."""
        tower, head = _tower(self.config, self.side)
        tokens, pooled = tower(*inputs, **named)
        return Output(tokens, head(pooled) if head else pooled)


class Model(nn.Module):
    """Dual encoder."""

    config: Config

    def setup(self):
        c = self.config
        self.image, self.image_head = _tower(c, "image")
        self.text, self.text_head = _tower(c, "text")
        if c.bag:
            if c.embedding % 2:
                raise ValueError(f"bag: embedding={c.embedding} has no halves")
            self.bag = text.Bag((c.bert or c.text).vocab_size, c.embedding // 2)
        self.log_scale = self.param(
            "log_scale", nn.initializers.constant(math.log(c.scale_init)), (), jnp.float32
        )
        if c.bias_init is not None:
            self.bias = self.param("bias", nn.initializers.constant(c.bias_init), (), jnp.float32)

    def encode_image(
        self, images: Float[Array, "B H W C"] | Patches, *, train: bool = False
    ) -> Float[Array, "B E"]:
        """Normalised pixels (NaFlex: patches) -> unit vectors."""
        pooled = self.image(images, train=train).pooled
        vector = self.image_head(pooled) if self.image_head else pooled
        if self.config.bag:
            return unit(unit(vector.reshape(len(vector), 2, -1)).reshape(vector.shape))
        return unit(vector)

    def encode_text(
        self,
        ids: Int[Array, "*P L"],
        mask: Bool[Array, "*P L"] | None = None,
        packed: packing.Layout | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B E"]:
        """Token ids (True in the mask = a real token), one caption a row or packed -> unit
        vectors.

        Raises:
          ValueError: packed captions for a BERT or a bag; with a bag, an odd number of captions to
            train on.
        """
        if not self.config.bag:
            return self._by_tower(ids, mask, packed, train)
        if packed is not None:
            raise ValueError("bag: packed captions are for a text tower without one")
        mask = jnp.ones(ids.shape, bool) if mask is None else mask
        if not train:
            both = self._by_tower(ids, mask), unit(self.bag(ids, mask))
            return unit(jnp.concatenate(both, 1))
        if len(ids) % 2:
            raise ValueError(f"bag: {len(ids)} captions cannot be divided between two readers")
        # one of every two neighbours goes to the tower, so that rows stay on their devices; a coin
        # says which, as a mixture may put one source on all even rows
        coin = jax.random.bernoulli(self.make_rng("dropout"), shape=(len(ids) // 2, 1, 1))
        ids, mask = (x.reshape(-1, 2, x.shape[-1]) for x in (ids, mask))
        ids, mask = (jnp.where(coin, x[:, ::-1], x) for x in (ids, mask))
        tower = self._by_tower(ids[:, 0], mask[:, 0], train=True)
        bag = unit(self.bag(ids[:, 1], mask[:, 1]))
        nothing = jnp.zeros_like(tower)  # in the other's half
        both = [jnp.concatenate(x, 1) for x in ((tower, nothing), (nothing, bag))]
        both = jnp.stack(both, 1)
        return jnp.where(coin, both[:, ::-1], both).reshape(-1, self.config.embedding)

    def _by_tower(
        self, ids: Array, mask: Array | None, packed: Any = None, train: bool = False
    ) -> Float[Array, "B E"]:
        if self.config.bert is None:
            pooled = self.text(ids, mask, packed, train=train).pooled
        elif packed is None:
            pooled = self.text(ids, mask, train=train).pooled
        else:
            raise ValueError("bert: packed captions are for the tower `text` alone")
        return unit(self.text_head(pooled) if self.text_head else pooled)

    def scale_and_bias(self) -> tuple[Float[Array, ""], Float[Array, ""] | None]:
        """The factor on the cosines, at most `scale_max`, and the bias of the sigmoid loss."""
        scale = jnp.exp(jnp.minimum(self.log_scale, math.log(self.config.scale_max)))
        return scale, (self.bias if self.config.bias_init is not None else None)

    def __call__(
        self,
        images: Float[Array, "B H W C"] | Patches,
        ids: Int[Array, "*P L"],
        mask: Bool[Array, "*P L"] | None = None,
        packed: packing.Layout | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "B E"], Float[Array, "B E"]]:
        self.scale_and_bias()
        text = self.encode_text(ids, mask, packed, train=train)
        return self.encode_image(images, train=train), text


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


def _resnet(size: str) -> Config:
    image = resnet.VARIANTS[size]
    # the text tower grows with the image tower: 512, 512, 640, 768, 1024
    width = max(512, image.width * 8)
    kind = dict(activation="quick_gelu", initialisation="clip")
    words = text.VARIANTS["B"]
    body = replace(words.transformer, width=width, heads=width // 64, hidden=4 * width, **kind)
    return Config(
        image=replace(vit.VARIANTS["B/32"], image_size=image.image_size),
        resnet=image,
        text=replace(words, transformer=body),
        embedding=image.embedding,
        image_projection=False,
    )


VARIANTS = {
    "tiny/8": replace(
        Config(), image=replace(vit.VARIANTS["tiny/16"], image_size=32, patch_size=8)
    ),
    "S/16": _clip("S/16", "S", 384),
    "B/32": _clip("B/32", "B", 512),
    "B/16": _clip("B/16", "B", 512),
    "L/14": _clip("L/14", "L", 768),
    "H/14": _clip("H/14", "H", 1024),
    "g/14": _clip("g/14", "H", 1024),
    "bigG/14": _clip("bigG/14", "bigG", 1280),
    "B/32-quickgelu": _clip("B/32", "B", 512, "quick_gelu"),  # OpenAI's weights use this activation
    "L/14-quickgelu": _clip("L/14", "L", 768, "quick_gelu"),
    "RN50-quickgelu": _resnet("RN50"),
    "RN101-quickgelu": _resnet("RN101"),
    "RN50x4-quickgelu": _resnet("RN50x4"),
    "RN50x16-quickgelu": _resnet("RN50x16"),
    "RN50x64-quickgelu": _resnet("RN50x64"),
    "SigLIP-B/16": _siglip("B/16"),
    "SigLIP-L/16": _siglip("L/16"),
    "SigLIP-So400m/14": _siglip("So400m/14"),
}
