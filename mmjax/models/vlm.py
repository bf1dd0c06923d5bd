"""Vision-language GPT: a language model that reads pictures between words.

* LLaVA https://arxiv.org/abs/2304.08485, PaliGemma https://arxiv.org/abs/2407.07726: every token
  of an image tower passes a projector and takes the place of one image token of the prompt.
* Any number of pictures stands anywhere in a row, another number in each row, none in some:
  pictures are [B, M, H, W, C] and lie on the devices that hold their rows; `image_mask` says which
  of the M are there. So all of it is one compiled program.
* A row whose image tokens are not as many as its pictures have would be read wrongly: `check` says
  so beforehand; under `jit`, where numbers cannot be seen, that row is NaN.
* Called as every decoder of the house is (layers/decoding.py), with `images` besides. Embeddings
  [B, L, D] given instead of ids hold their pictures already: `embed` makes them.
* `prefix_lm`: what is read at once (pictures and prompt) sees each other both ways, and answers
  only what was before; a `prefix` says which tokens of a whole sequence are the prompt.

Letters: B batch, L tokens, M pictures of a row at most, P tokens of a picture, Q places asked for,
    D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.layers.cache import Cache
from mmjax.layers.decoding import Inputs, Output, Step, real_tokens
from mmjax.layers.placement import rows_apart
from mmjax.layers.places import LogitsAt, as_mask
from mmjax.layers.projectors import linear, mlp, resampler
from mmjax.models import gpt2, llama, resnet, vit
from mmjax.typing import Array, Bool, Float, Int, Natural, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    image: vit.Config | resnet.Config = vit.VARIANTS["tiny/16"]  # the image tower
    # from the tower's tokens to what the language model reads
    projector: linear.Config | mlp.Config | resampler.Config = mlp.Config()
    language: gpt2.Config | llama.Config = gpt2.VARIANTS["tiny"]  # the language model
    image_id: Natural = 0  # the token that stands for a part of a picture; one of the vocabulary
    learned_tokens: bool = False  # the tower's class token is read too, as the first of a picture
    prefix_lm: bool = False  # prompts see each other both ways, answers only what was before

    def __post_init__(self) -> None:
        if self.image_id >= self.language.vocab_size:
            raise ConfigError(
                f"image_id={self.image_id} is missing from the vocabulary, whose ids end at "
                f"{self.language.vocab_size - 1}: enlarge language.vocab_size, or name another id"
            )
        for field in ("patch_dropout", "native_aspect"):
            if getattr(self.image, field, False):
                raise ConfigError(
                    f"image.{field} is not for a picture between words: all pictures have the same "
                    "number of tokens"
                )

    @property
    def context_length(self) -> int:
        """Tokens of the language model, those of pictures included."""
        return self.language.context_length

    @property
    def image_tokens(self) -> int:
        """P: tokens that a picture takes in a prompt."""
        learned = self.learned_tokens * getattr(self.image, "learned_tokens", 0)
        return self.projector.count(self.image.grid**2 + learned)


def check(
    config: Config,
    ids: Int[np.ndarray, "B L"],
    mask: Shaped[np.ndarray, "B L"] | None = None,
    images: Any = None,
    image_mask: Shaped[np.ndarray, "B M"] | None = None,
) -> None:
    """Holds prompts against their pictures.

    Args:
      images: anything of the shape [B, M, H, W, C]; None: there are none.

    Raises:
      ConfigError: a row with more pictures than image tokens, or the reverse.
    """
    ids = np.asarray(ids)
    of_pictures = ids == config.image_id
    if mask is not None:
        of_pictures &= np.asarray(mask).astype(bool)
    pictures = np.zeros(len(ids), int)
    if image_mask is not None and images is not None:
        pictures = np.asarray(image_mask).astype(bool).sum(1)
    elif images is not None:
        pictures += images.shape[1]
    size = config.image_tokens
    tokens = of_pictures.sum(1)
    for row in np.flatnonzero(tokens != pictures * size):
        more = "more" if pictures[row] * size > tokens[row] else "fewer"
        raise ConfigError(
            f"row {row} has {pictures[row]} pictures, {more} than its {tokens[row]} image tokens "
            f"(id {config.image_id}) stand for: each picture takes {size} of them"
        )


class Model(nn.Module):
    """Decoder that sees."""

    config: Config

    def setup(self):
        c = self.config
        language = c.language
        body = language.decoder if isinstance(language, llama.Config) else language.transformer
        self.image = _module(c.image).Model(c.image)
        self.projector = _module(c.projector).Model(c.projector, body.width)
        self.language = _module(language).Model(language)

    def encode_image(
        self, images: Float[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B P D"]:
        """Normalised pixels -> what stands in the place of image tokens."""
        tokens = self.image(images, train=train).tokens
        if not self.config.learned_tokens:
            tokens = tokens[:, getattr(self.config.image, "learned_tokens", 0) :]
        return self.projector(tokens)

    def embed(
        self,
        ids: Int[Array, "B L"],
        images: Float[Array, "B M H W C"] | None = None,
        image_mask: Shaped[Array, "B M"] | None = None,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B L D"]:
        """Token ids and pictures -> what the language model reads.

        Args:
          images: of each row in the order of the prompt; None: image tokens are read as words.
          image_mask: True = a picture; None: all are.
          mask: True = a real token; padding is no image token, whatever its id.
        """
        x = self.language.embed(ids)
        if images is None:
            return x
        rows, most = images.shape[:2]
        flat = rows_apart(images.reshape(-1, *images.shape[2:]))
        vectors = self.encode_image(flat, train=train)
        size = vectors.shape[1]
        vectors = vectors.reshape(rows, most, size, -1).astype(x.dtype)
        there = jnp.full(rows, most)
        if image_mask is not None:
            image_mask = as_mask(image_mask)
            order = jnp.argsort(~image_mask, axis=1, stable=True)  # those that are there first
            vectors = jnp.take_along_axis(vectors, order[:, :, None, None], axis=1)
            there = image_mask.sum(1)
        vectors = rows_apart(vectors.reshape(rows, most * size, -1))
        taken = (ids == self.config.image_id) & real_tokens(ids, mask)
        return _put(x, taken, vectors, there * size)

    def logits(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Of the token after each, from what leaves the last norm."""
        return self.language.logits(tokens)

    def __call__(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        images: Float[Array, "B M H W C"] | None = None,
        image_mask: Shaped[Array, "B M"] | None = None,
        *,
        segment: Int[Array, "B L"] | None = None,
        prefix: Shaped[Array, "B L"] | None = None,
        logits_at: LogitsAt = "all",
        train: bool = False,
    ) -> Output:
        """Whole sequences -> tokens and logits; pictures as `embed` takes them."""
        valid = real_tokens(inputs, mask)
        if segment is not None:
            valid = valid & (segment >= 0)
        x = self._read(inputs, valid, images, image_mask, train)
        kwargs = dict(segment=segment, logits_at=logits_at, train=train)
        return self.language(x, valid, prefix=self._prefix(prefix, valid), **kwargs)

    def prefill(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        images: Float[Array, "B M H W C"] | None = None,
        image_mask: Shaped[Array, "B M"] | None = None,
        *,
        slots: int,
        prefix: Shaped[Array, "B L"] | None = None,
        logits_at: LogitsAt = "all",
        cache_dtype: str | None = None,
    ) -> Step:
        """Reads a prompt into a new cache of `slots` tokens a row, padding included.

        Args:
          cache_dtype: that keys and values are kept in; None: the stream's.
        """
        valid = real_tokens(inputs, mask)
        x = self._read(inputs, valid, images, image_mask, False)
        kwargs = dict(slots=slots, logits_at=logits_at, cache_dtype=cache_dtype)
        return self.language.prefill(x, valid, prefix=self._prefix(prefix, valid), **kwargs)

    def extend(
        self,
        inputs: Inputs,
        cache: Cache,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        logits_at: LogitsAt = "all",
    ) -> Step:
        """Reads the next tokens; more pictures come as embeddings."""
        return self.language.extend(inputs, cache, mask, logits_at=logits_at)

    @nn.nowrap
    def check(self, prompt: Mapping[str, Any]) -> None:
        """Raises ConfigError for what `prefill` would read wrongly, from its arguments by name."""
        inputs = prompt["inputs"]
        if np.ndim(inputs) == 2:
            names = ("mask", "images", "image_mask")
            check(self.config, inputs, *(prompt.get(name) for name in names))

    def _read(
        self,
        inputs: Array,
        valid: Array,
        images: Array | None,
        image_mask: Array | None,
        train: bool,
    ) -> Array:
        """What the language model reads."""
        if inputs.ndim == 2:
            return self.embed(inputs, images, image_mask, valid, train=train)
        if images is not None:
            raise ValueError("embeddings hold their pictures already: give `images` to `embed`")
        return inputs

    def _prefix(self, prefix: Array | None, valid: Array) -> Array | None:
        return valid if prefix is None and self.config.prefix_lm else prefix


def _module(config: Any) -> Any:
    """The module that defines a Config, and its Model."""
    return importlib.import_module(type(config).__module__)


def _put(
    x: Float[Array, "B L D"],
    taken: Bool[Array, "B L"],
    vectors: Float[Array, "B K D"],
    count: Int[Array, " B"],
) -> Float[Array, "B L D"]:
    """Puts the first `count` vectors of each row, in order, where `taken` is True.

    A row with another number of such places is NaN: else pictures would be lost or mixed up
    without a word.
    """
    if not vectors.shape[1]:
        return x
    number = jnp.clip(jnp.cumsum(taken, axis=1) - 1, 0, vectors.shape[1] - 1)
    chosen = jnp.take_along_axis(vectors, number[..., None], axis=1)
    fits = taken.sum(1) == count
    return jnp.where(fits[:, None, None], jnp.where(taken[..., None], chosen, x), jnp.nan)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    (pixels,) = _module(config.image).inputs(config.image)
    images = jax.ShapeDtypeStruct((1, 1, *pixels.shape[1:]), pixels.dtype)
    return (jax.ShapeDtypeStruct((1, config.image_tokens), jnp.int32), None, images)


def _llava() -> Config:
    body = dataclasses.replace(vit.SIZES["L"], activation="quick_gelu")
    tower = vit.Config(
        336, 14, transformer=body, patch_bias=False, pre_norm=True, feature_layer=-2
    )
    # 64 rows more than Llama's table has; the first of them is the image token
    language = dataclasses.replace(llama.VARIANTS["Llama-2-7B"], vocab_size=32_064)
    return Config(tower, mlp.Config(), language, image_id=32_000)


def _paligemma() -> Config:
    body = dataclasses.replace(
        vit.SIZES["So400m"], activation="gelu_tanh", norm_epsilon=1e-6, initialisation="xavier"
    )
    tower = vit.Config(224, 14, transformer=body, pool="mean")
    # places, segments and the image token behind Gemma's words
    language = dataclasses.replace(llama.VARIANTS["Gemma-2B"], vocab_size=257_216)
    return Config(tower, linear.Config(), language, image_id=257_152, prefix_lm=True)


VARIANTS = {
    "tiny": Config(),
    "LLaVA-1.5-7B": _llava(),
    "PaliGemma-3B": _paligemma(),
}
