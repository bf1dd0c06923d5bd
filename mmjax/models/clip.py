"""CLIP and SigLIP: towers of several modalities that meet on the unit sphere.

* CLIP https://arxiv.org/abs/2103.00020: class token, causal text, linear projections, learned scale
  (at most 100 in training).
* SigLIP https://arxiv.org/abs/2303.15343: attention pooling, text that sees both ways, learned
  scale and bias. The bias has no gradient under the softmax loss, so only rows with `bias_init` own
  one.
* A field of the Config that holds a Config of its own is a tower, and the field's name is its
  modality. One more modality is one more field, in here or in a subclass elsewhere; a tower is any
  module with Config, Model (-> tokens, pooled) and `inputs`. The text tower may be a BERT (LiT,
  https://arxiv.org/abs/2111.07991, locks such a one).
* Embeddings leave the model with unit norm, in float32.

Letters: B batch, L tokens, E embedding size.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import packing
from mmjax.layers.dense import Dense
from mmjax.layers.patches import Patches
from mmjax.layers.projectors import mlp
from mmjax.models import bagged, bert, resnet, text, vit
from mmjax.typing import Array, Bool, Float, Int, Positive


@dataclasses.dataclass(frozen=True)
class Config:
    image: vit.Config | resnet.Config | None = vit.VARIANTS["tiny/16"]  # the image tower
    text: text.Config | bert.Config | bagged.Config | None = text.VARIANTS["tiny"]  # the text tower
    embedding: Positive = 192  # E
    image_projection: bool = True  # a linear map after pooling; without one, E is the tower's width
    text_projection: bool = True  # likewise
    projection_bias: bool = False  # SigLIP's text head has one
    scale_init: float = 1 / 0.07  # factor on the cosines at the start
    scale_max: float | None = 100.0  # in training the factor never exceeds this; None: no limit
    bias_init: float | None = None  # added to the logits of the sigmoid loss; None: no bias


def modalities(config: Config) -> tuple[str, ...]:
    """The names of the towers: of the fields that hold a Config."""
    names = [field.name for field in dataclasses.fields(config)]
    return tuple(name for name in names if dataclasses.is_dataclass(getattr(config, name)))


def unit(x: Float[Array, "... E"]) -> Float[Array, "... E"]:
    """Divides each row by its length; a zero row stays zero and has a finite gradient."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


class Output(NamedTuple):
    """What a tower on its own returns."""

    tokens: Float[Array, "B L D"]  # after the last block and norm
    pooled: Float[Array, "B E"]  # behind the projection, of whatever length


def _tower(config: Config, modality: str, name: str | None = None) -> nn.Module:
    """The model of a modality's Config, which its module defines."""
    tower = getattr(config, modality)
    return importlib.import_module(type(tower).__module__).Model(tower, name=name)


def _head(config: Config, modality: str, name: str | None = None) -> nn.Module | None:
    """The projection behind a tower, where there is one: a linear map, or two layers where a
    subclass of the Config has a `projection_activation`."""
    if not getattr(config, f"{modality}_projection", True):
        return None
    tower = getattr(config, modality)
    if _parts(tower) > 1:
        raise ConfigError(
            f"a tower of several parts has projections of its own: set {modality}_projection=False"
        )
    dtype = getattr(getattr(tower, "transformer", tower), "dtype", "float32")
    activation = getattr(config, "projection_activation", "none")
    if activation != "none":
        return mlp.Model(mlp.Config(activation, dtype=dtype), config.embedding, name=name)
    return Dense(
        (config.embedding,),
        ("embed", "joint"),
        bias=config.projection_bias,
        kernel_init=_by_width,
        dtype=dtype,
        name=name,
    )


def _by_width(key: jax.Array, shape: tuple[int, int], dtype: Any) -> Array:
    """Normal with the deviation D ** -0.5, D being the width of the tower."""
    return nn.initializers.normal(shape[0] ** -0.5)(key, shape, dtype)


def projected(config: Config, modality: str, head: nn.Module | None, pooled: Array) -> Array:
    """A pooled vector behind its tower's projection.

    Raises:
      ConfigError: no projection, and another width than the embedding's.
    """
    if head is not None:
        return head(pooled)
    if pooled.shape[-1] != config.embedding:
        raise ConfigError(
            f"without {modality}_projection, embedding={config.embedding} must be the width of the "
            f"{modality} tower, {pooled.shape[-1]}"
        )
    return pooled


def _parts(tower: Any) -> int:
    """Unit vectors in one vector of a tower: more than one where it says so."""
    return getattr(tower, "parts", 1)


class Tower(nn.Module):
    """One tower on its own; its parameters have the paths that they have in the pair."""

    config: Config  # of the pair
    modality: str  # "image" or "text"

    @nn.compact
    def __call__(self, *inputs: Any, **kwargs: Any) -> Output:
        """What `encode_image` or `encode_text` takes -> tokens and a pooled vector."""
        tower = _tower(self.config, self.modality, self.modality)
        head = _head(self.config, self.modality, f"{self.modality}_head")
        read = tower(*inputs, **kwargs)
        return Output(read.tokens, projected(self.config, self.modality, head, read.pooled))

    def encode(
        self, modality: str, *inputs: Any, train: bool = False, normalize: bool = True
    ) -> Float[Array, "B E"]:
        """As of the pair.

        Raises:
          ConfigError: the other modality.
        """
        if modality != self.modality:
            raise ConfigError(f"this is the {self.modality} tower alone: it has no {modality}")
        pooled = self(*inputs, train=train).pooled
        return unit(pooled) if normalize else pooled


class Model(nn.Module):
    """Dual encoder, or one of more modalities."""

    config: Config

    def setup(self):
        c = self.config
        names = modalities(c)
        for name in names:
            setattr(self, name, _tower(c, name))
            setattr(self, f"{name}_head", _head(c, name))
        self.parts = max(_parts(getattr(c, name)) for name in names)
        if c.embedding % self.parts:
            raise ConfigError(f"embedding={c.embedding} has no {self.parts} equal parts")
        self.log_scale = self.param(
            "log_scale", nn.initializers.constant(math.log(c.scale_init)), (), jnp.float32
        )
        if c.bias_init is not None:
            self.bias = self.param("bias", nn.initializers.constant(c.bias_init), (), jnp.float32)

    def encode(
        self, modality: str, *inputs: Any, train: bool = False, normalize: bool = True
    ) -> Float[Array, "B E"]:
        """What the tower of a modality takes -> unit vectors.

        Where a tower's vectors have several parts, those of all towers have them, each part of the
        same length.

        Args:
          normalize: False: as they leave the projection, of whatever length.

        Raises:
          ConfigError: no such tower; no projection, and another width than the embedding's.
        """
        towers = modalities(self.config)
        if modality not in towers:
            raise ConfigError(f"the model has no tower for {modality}; it has {', '.join(towers)}")
        pooled = getattr(self, modality)(*inputs, train=train).pooled
        head = getattr(self, f"{modality}_head")
        vectors = projected(self.config, modality, head, pooled)
        if not normalize:
            return vectors
        if self.parts > 1:
            parts = vectors.reshape(len(vectors), self.parts, -1)
            vectors = unit(parts).reshape(vectors.shape)
        return unit(vectors)

    def encode_image(
        self,
        images: Float[Array, "B H W C"] | Patches,
        *,
        train: bool = False,
        normalize: bool = True,
    ) -> Float[Array, "B E"]:
        """Normalised pixels (NaFlex: patches) -> unit vectors, or as in `encode`."""
        return self.encode("image", images, train=train, normalize=normalize)

    def encode_text(
        self,
        ids: Int[Array, "*P L"],
        mask: Bool[Array, "*P L"] | Int[Array, "*P L"] | None = None,
        packed: packing.Layout | None = None,
        *,
        train: bool = False,
        normalize: bool = True,
    ) -> Float[Array, "B E"]:
        """Token ids (True in the mask = a real token), one caption a row or packed -> unit
        vectors, or as in `encode`.

        Raises:
          ConfigError: packed captions for a tower that takes none.
        """
        mask = None if mask is None else mask.astype(bool)
        kwargs = dict(train=train, normalize=normalize)
        if packed is None:
            return self.encode("text", ids, mask, **kwargs)
        if "packed" not in inspect.signature(type(self.text).__call__).parameters:
            raise ConfigError(
                f"{type(self.text).__module__} takes no packed captions: set data.processor.pack=0"
            )
        return self.encode("text", ids, mask, packed, **kwargs)

    def scale_and_bias(self) -> tuple[Float[Array, ""], Float[Array, ""] | None]:
        """The factor on the cosines, at most `scale_max`, and the bias of the sigmoid loss."""
        log_scale = self.log_scale
        if self.config.scale_max is not None:
            log_scale = jnp.minimum(log_scale, math.log(self.config.scale_max))
        return jnp.exp(log_scale), (self.bias if self.config.bias_init is not None else None)

    def __call__(
        self,
        images: Float[Array, "B H W C"] | Patches | None = None,
        ids: Int[Array, "*P L"] | None = None,
        mask: Bool[Array, "*P L"] | Int[Array, "*P L"] | None = None,
        packed: packing.Layout | None = None,
        others: Mapping[str, tuple[Any, ...]] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "B E"], ...]:
        """Unit vectors of every modality that is given: images, texts, then `others` in order.

        Args:
          others: of further modalities what their towers take: {"sound": (samples, mask)}.
        """
        self.scale_and_bias()
        vectors = []
        if images is not None:
            vectors.append(self.encode_image(images, train=train))
        if ids is not None:
            vectors.append(self.encode_text(ids, mask, packed, train=train))
        for modality, arrays in (others or {}).items():
            vectors.append(self.encode(modality, *arrays, train=train))
        return tuple(vectors)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    shapes = {}
    for name in modalities(config):
        tower = getattr(config, name)
        shapes[name] = importlib.import_module(type(tower).__module__).inputs(tower)
    images = shapes.pop("image", (None,))
    ids = shapes.pop("text", (None,))
    return (*images, *ids, None, None, shapes) if shapes else (*images, *ids)


def _clip(size: str, text_size: str, embedding: int, activation: str = "gelu") -> Config:
    image = vit.VARIANTS[size]
    words = text.VARIANTS[text_size]
    body = dict(activation=activation, initialisation="clip")
    image = replace(
        image,
        pool="class",
        patch_bias=False,
        pre_norm=True,
        transformer=replace(image.transformer, **body),
    )
    words = replace(words, transformer=replace(words.transformer, **body))
    return Config(image=image, text=words, embedding=embedding)


def _siglip(size: str) -> Config:
    image = vit.VARIANTS[size]
    body = replace(
        image.transformer, activation="gelu_tanh", norm_epsilon=1e-6, initialisation="xavier"
    )
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
    words = text.VARIANTS["B"]
    body = replace(
        words.transformer,
        width=width,
        heads=width // 64,
        hidden=4 * width,
        activation="quick_gelu",
        initialisation="clip",
    )
    return Config(
        image=image,
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
