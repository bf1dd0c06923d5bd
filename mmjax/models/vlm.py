"""A language model that sees and hears: pictures, sounds and clips between words.

* LLaVA https://arxiv.org/abs/2304.08485, PaliGemma https://arxiv.org/abs/2407.07726: every token
  of an image tower passes a projector and takes the place of one image token of the prompt.
  Qwen2-Audio https://arxiv.org/abs/2407.10759: the same with sounds, each at its own length;
  Video-LLaVA https://arxiv.org/abs/2311.10122: with clips (both token_tower.py).
* Any number of them stands anywhere in a row, another number in each row, none in some: pictures
  are [B, M, H, W, C], sounds [B, A, T, F], clips [B, A, T, H, W, C], and lie on the devices that
  hold their rows; masks say which of them are there. So all of it is one compiled program
  (layers/interleave.py).
* A row whose tokens do not agree with what it holds would be read wrongly: `check` says so
  beforehand; under `jit`, where numbers cannot be seen, that row is NaN.
* Called as every decoder of the house is (layers/decoding.py), with pictures, sounds and clips
  besides. Embeddings [B, L, D] given instead of ids hold them already: `embed` makes them.
* `prefix_lm`: what is read at once (pictures and prompt) sees each other both ways, and answers
  only what was before; a `prefix` says which tokens of a whole sequence are the prompt.

Letters: B batch, L tokens, M pictures of a row at most, P tokens of a picture, A sounds or clips of
    a row at most, T frames of one at most, F mel bins (none: samples), K tokens of one at most, Q
    places asked for, D width, V vocabulary.
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
from mmjax.layers import interleave
from mmjax.layers.cache import Cache
from mmjax.layers.decoding import Inputs, Output, Step, real_tokens
from mmjax.layers.placement import rows_apart
from mmjax.layers.places import LogitsAt, as_mask
from mmjax.layers.projectors import linear, mlp, resampler
from mmjax.layers.senses import SENSES, THINGS, check, require
from mmjax.models import gpt2, llama, resnet, token_tower, vit
from mmjax.typing import Array, Float, Int, Natural, Shaped

# Sounds of a row: log-mel frames, or samples.
Sounds = Float[Array, "B A T F"] | Float[Array, "B A T"]
Videos = Float[Array, "B A T H W C"]


@dataclasses.dataclass(frozen=True)
class Config:
    # the image tower; None: it does not see
    image: vit.Config | resnet.Config | None = vit.VARIANTS["tiny/16"]
    # from the image tower's tokens to what the language model reads
    projector: linear.Config | mlp.Config | resampler.Config = mlp.Config()
    language: gpt2.Config | llama.Config = gpt2.VARIANTS["tiny"]  # the language model
    image_id: Natural = 0  # the token that stands for a part of a picture; one of the vocabulary
    learned_tokens: bool = False  # the tower's class token is read too, as the first of a picture
    prefix_lm: bool = False  # prompts see each other both ways, answers only what was before
    audio: token_tower.Config | None = None  # encoder of sounds and its projector; None: deaf
    audio_id: Natural = 0  # the token that stands for a part of a sound; one of the vocabulary
    video: token_tower.Config | None = None  # encoder of clips and its projector; None: none
    video_id: Natural = 0  # the token that stands for a part of a clip; one of the vocabulary

    def __post_init__(self) -> None:
        self._check_senses()
        for field in ("image_id", "audio_id", "video_id"):
            number = getattr(self, field)
            if number >= self.language.vocab_size:
                raise ConfigError(
                    f"{field}={number} is missing from the vocabulary, whose ids end at "
                    f"{self.language.vocab_size - 1}: enlarge language.vocab_size, or name "
                    "another id"
                )
        for field in ("patch_dropout", "native_aspect"):
            if getattr(self.image, field, False):
                raise ConfigError(
                    f"image.{field} is not for a picture between words: all pictures have the same "
                    "number of tokens"
                )

    def _check_senses(self) -> None:
        """Raises ConfigError for a field that would be ignored, and for tokens of two meanings."""
        senses = [name for name in THINGS if getattr(self, name) is not None]
        if not senses:
            raise ConfigError("image, audio and video are all None: a language model alone")
        ids: dict[int, str] = {}
        for name in senses:
            number = getattr(self, f"{name}_id")
            other = ids.setdefault(number, name)
            if other != name:
                raise ConfigError(
                    f"{other}_id and {name}_id are both {number}: a token stands for one sense"
                )
        unread = {f"{name}_id": (name, 0) for name in THINGS}
        unread |= {"projector": ("image", mlp.Config()), "learned_tokens": ("image", False)}
        for field, (sense, default) in unread.items():
            if sense not in senses and getattr(self, field) != default:
                raise ConfigError(f"{field} says nothing where {sense} is None: leave it out")

    @property
    def context_length(self) -> int:
        """Tokens of the language model, those of pictures and sounds included."""
        return self.language.context_length

    @property
    def image_tokens(self) -> int:
        """P: tokens that a picture takes in a prompt; 0 where it does not see."""
        if self.image is None:
            return 0
        learned = self.learned_tokens * getattr(self.image, "learned_tokens", 0)
        return self.projector.count(self.image.grid**2 + learned)


class Model(nn.Module):
    """Decoder that sees and hears."""

    config: Config

    def setup(self):
        c = self.config
        language = c.language
        body = language.decoder if isinstance(language, llama.Config) else language.transformer
        if c.image is not None:
            self.image = _module(c.image).Model(c.image)
            self.projector = _module(c.projector).Model(c.projector, body.width)
        if c.audio is not None:
            self.audio = token_tower.Model(c.audio, body.width)
        if c.video is not None:
            self.video = token_tower.Model(c.video, body.width)
        self.language = _module(language).Model(language)

    def encode_image(
        self, images: Float[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B P D"]:
        """Normalised pixels -> what stands in the place of image tokens."""
        tokens = self.image(images, train=train).tokens
        if not self.config.learned_tokens:
            tokens = tokens[:, getattr(self.config.image, "learned_tokens", 0) :]
        return self.projector(tokens)

    def encode_audio(
        self,
        audio: Float[Array, "B T F"] | Float[Array, "B T"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> token_tower.Read:
        """What the tower reads of sounds -> what stands in the place of audio tokens."""
        return self.audio(audio, mask, train=train)

    def encode_video(
        self,
        video: Float[Array, "B T H W C"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> token_tower.Read:
        """Normalised pixels of clips -> what stands in the place of video tokens."""
        return self.video(video, mask, train=train)

    def embed(
        self,
        ids: Int[Array, "B L"],
        images: Float[Array, "B M H W C"] | None = None,
        image_mask: Shaped[Array, "B M"] | None = None,
        mask: Shaped[Array, "B L"] | None = None,
        sounds: Sounds | None = None,
        audio_mask: Shaped[Array, "B A T"] | None = None,
        videos: Videos | None = None,
        video_mask: Shaped[Array, "B A T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B L D"]:
        """Token ids, pictures, sounds and clips -> what the language model reads.

        Args:
          images: of each row in the order of the prompt; None: image tokens are read as words.
          image_mask: True = a picture; None: all are.
          mask: True = a real token; padding is no image token, whatever its id.
          sounds, videos: of each row in the order of the prompt, as images.
          audio_mask, video_mask: True = there; a clip without any is not. None: all is.
        """
        x = self.language.embed(ids)
        real = real_tokens(ids, mask)
        if images is not None:
            taken = (ids == self.config.image_id) & real
            x = interleave.interleave(x, taken, *self._seen(images, image_mask, train))
        for name, things, there in (("audio", sounds, audio_mask), ("video", videos, video_mask)):
            if things is not None and things.shape[1]:
                taken = (ids == getattr(self.config, f"{name}_id")) & real
                x = interleave.interleave(x, taken, *self._tokens_of(name, things, there, train))
        return x

    def _seen(self, images: Array, mask: Array | None, train: bool) -> tuple[Array, Array]:
        """Vectors of each row's pictures [B, M * P, D], and which are there."""
        require(self.config.image, "image")
        rows, most = images.shape[:2]
        flat = rows_apart(images.reshape(-1, *images.shape[2:]))
        vectors = self.encode_image(flat, train=train)
        there = jnp.ones((rows, most), bool) if mask is None else as_mask(mask)
        there = jnp.repeat(there, vectors.shape[1], axis=1)
        return rows_apart(vectors.reshape(*there.shape, -1)), there

    def _tokens_of(
        self, name: str, things: Array, mask: Array | None, train: bool
    ) -> tuple[Array, Array]:
        """Vectors of each row's sounds or clips [B, A * K, D], and which are there."""
        require(getattr(self.config, name), name)
        rows, most = things.shape[:2]
        flat = rows_apart(things.reshape(rows * most, *things.shape[2:]))
        if mask is not None:
            mask = rows_apart(as_mask(mask).reshape(rows * most, -1))
        encode = self.encode_audio if name == "audio" else self.encode_video
        vectors, valid = encode(flat, mask, train=train)
        valid = valid.reshape(rows, -1)
        return rows_apart(vectors.reshape(*valid.shape, -1)), valid

    def logits(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Of the token after each, from what leaves the last norm."""
        return self.language.logits(tokens)

    def __call__(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        images: Float[Array, "B M H W C"] | None = None,
        image_mask: Shaped[Array, "B M"] | None = None,
        sounds: Sounds | None = None,
        audio_mask: Shaped[Array, "B A T"] | None = None,
        videos: Videos | None = None,
        video_mask: Shaped[Array, "B A T"] | None = None,
        *,
        segment: Int[Array, "B L"] | None = None,
        prefix: Shaped[Array, "B L"] | None = None,
        logits_at: LogitsAt = "all",
        train: bool = False,
    ) -> Output:
        """Whole sequences -> tokens and logits; pictures, sounds, clips as `embed` takes them."""
        valid = real_tokens(inputs, mask)
        if segment is not None:
            valid = valid & (segment >= 0)
        senses = (images, image_mask, sounds, audio_mask, videos, video_mask)
        x = self._read(inputs, valid, senses, train)
        kwargs = dict(segment=segment, logits_at=logits_at, train=train)
        return self.language(x, valid, prefix=self._prefix(prefix, valid), **kwargs)

    def prefill(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        images: Float[Array, "B M H W C"] | None = None,
        image_mask: Shaped[Array, "B M"] | None = None,
        sounds: Sounds | None = None,
        audio_mask: Shaped[Array, "B A T"] | None = None,
        videos: Videos | None = None,
        video_mask: Shaped[Array, "B A T"] | None = None,
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
        senses = (images, image_mask, sounds, audio_mask, videos, video_mask)
        x = self._read(inputs, valid, senses, False)
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
        """Reads the next tokens; more pictures and sounds come as embeddings."""
        return self.language.extend(inputs, cache, mask, logits_at=logits_at)

    @nn.nowrap
    def check(self, prompt: Mapping[str, Any]) -> None:
        """Raises ConfigError for what `prefill` would read wrongly, from its arguments by name."""
        inputs = prompt["inputs"]
        if np.ndim(inputs) == 2:
            check(self.config, inputs, *(prompt.get(name) for name in ("mask", *SENSES)))

    def _read(
        self, inputs: Array, valid: Array, senses: tuple[Array | None, ...], train: bool
    ) -> Array:
        """What the language model reads; pictures, sounds and clips each with their mask."""
        if inputs.ndim == 2:
            given = dict(zip(SENSES, senses, strict=True))
            return self.embed(inputs, mask=valid, **given, train=train)
        for name, things in zip(THINGS.values(), senses[::2], strict=True):
            if things is not None:
                raise ValueError(f"embeddings hold their {name} already: give them to `embed`")
        return inputs

    def _prefix(self, prefix: Array | None, valid: Array) -> Array | None:
        return valid if prefix is None and self.config.prefix_lm else prefix


def _module(config: Any) -> Any:
    """The module that defines a Config, and its Model."""
    return importlib.import_module(type(config).__module__)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    images = None
    if config.image is not None:
        (pixels,) = _module(config.image).inputs(config.image)
        images = jax.ShapeDtypeStruct((1, 1, *pixels.shape[1:]), pixels.dtype)
    others = []
    for tower in (config.audio, config.video):
        thing = None
        if tower is not None:
            (thing,) = token_tower.inputs(tower)
            thing = jax.ShapeDtypeStruct((1, *thing.shape), thing.dtype)
        others += [thing, None]
    ids = jax.ShapeDtypeStruct((1, max(1, config.image_tokens)), jnp.int32)
    return (ids, None, images, None, *others)


def _llava() -> Config:
    body = dataclasses.replace(vit.SIZES["L"], activation="quick_gelu")
    tower = vit.Config(336, 14, transformer=body, patch_bias=False, pre_norm=True, feature_layer=-2)
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


def _qwen2_audio() -> Config:
    # Qwen-7B: Llama's sizes, with biases of queries, keys and values; audio tokens behind its words
    llama_7b = llama.VARIANTS["Llama-2-7B"]
    body = dataclasses.replace(llama_7b.decoder, qkv_bias=True)
    language = llama.Config(156_032, 8192, body)
    ears = token_tower.VARIANTS["qwen2-audio"]
    return Config(None, language=language, audio=ears, audio_id=151_646)


VARIANTS = {
    "tiny": Config(),
    "LLaVA-1.5-7B": _llava(),
    "PaliGemma-3B": _paligemma(),
    "Qwen2-Audio-7B": _qwen2_audio(),
}
