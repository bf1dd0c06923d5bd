"""A language model that sees and hears: pictures and sounds between words.

* LLaVA https://arxiv.org/abs/2304.08485, PaliGemma https://arxiv.org/abs/2407.07726: every token
  of an image tower passes a projector and takes the place of one image token of the prompt.
  Qwen2-Audio https://arxiv.org/abs/2407.10759: the same with sounds (audio_tower.py), each at its
  own length.
* Any number of them stands anywhere in a row, another number in each row, none in some: pictures
  are [B, M, H, W, C], sounds [B, A, T, F], and lie on the devices that hold their rows; masks say
  which of them are there. So all of it is one compiled program (layers/interleave.py).
* A row whose tokens do not agree with its pictures or sounds would be read wrongly: `check` says
  so beforehand; under `jit`, where numbers cannot be seen, that row is NaN.
* Called as every decoder of the house is (layers/decoding.py), with pictures and sounds besides.
  Embeddings [B, L, D] given instead of ids hold them already: `embed` makes them.
* `prefix_lm`: what is read at once (pictures and prompt) sees each other both ways, and answers
  only what was before; a `prefix` says which tokens of a whole sequence are the prompt.

Letters: B batch, L tokens, M pictures of a row at most, P tokens of a picture, A sounds of a row at
    most, T frames of one at most, F mel bins (none: samples), K tokens of a sound at most, Q places
    asked for, D width, V vocabulary.
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
from mmjax.models import audio_tower, gpt2, llama, resnet, vit
from mmjax.typing import Array, Float, Int, Natural, Shaped

SENSES = ("images", "image_mask", "sounds", "audio_mask")  # arguments of a call besides the text
# Sounds of a row: log-mel frames, or samples.
Sounds = Float[Array, "B A T F"] | Float[Array, "B A T"]


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
    audio: audio_tower.Config | None = None  # encoder of sounds and its projector; None: deaf
    audio_id: Natural = 0  # the token that stands for a part of a sound; one of the vocabulary

    def __post_init__(self) -> None:
        self._check_senses()
        for field in ("image_id", "audio_id"):
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
        if self.image is None and self.audio is None:
            raise ConfigError("image and audio are both None: that is a language model alone")
        if self.image is not None and self.audio is not None and self.image_id == self.audio_id:
            raise ConfigError(
                f"image_id and audio_id are both {self.image_id}: a token stands for a picture or "
                "for a sound"
            )
        of_images = dict(projector=mlp.Config(), image_id=0, learned_tokens=False)
        unread = of_images if self.image is None else {}
        if self.audio is None:
            unread = {**unread, "audio_id": 0}
        for field, default in unread.items():
            if getattr(self, field) != default:
                sense = "audio" if field == "audio_id" else "image"
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


def check(
    config: Config,
    ids: Int[np.ndarray, "B L"],
    mask: Shaped[np.ndarray, "B L"] | None = None,
    images: Any = None,
    image_mask: Shaped[np.ndarray, "B M"] | None = None,
    sounds: Any = None,
    audio_mask: Shaped[np.ndarray, "B A T"] | None = None,
) -> None:
    """Holds prompts against their pictures and sounds.

    Args:
      images: anything of the shape [B, M, H, W, C]; None: there are none. sounds: [B, A, T, ...].

    Raises:
      ConfigError: a row with more of them than tokens, or the reverse; a sense that is not there.
    """
    ids = np.asarray(ids)
    real = np.ones(ids.shape, bool) if mask is None else np.asarray(mask).astype(bool)
    nothing = np.zeros(len(ids), int)
    if images is not None:
        _sense(config.image, "image", "pictures")
    if config.image is not None:
        pictures = nothing
        if image_mask is not None and images is not None:
            pictures = np.asarray(image_mask).astype(bool).sum(1)
        elif images is not None:
            pictures = nothing + images.shape[1]
        places = ((ids == config.image_id) & real).sum(1)
        vectors = pictures * config.image_tokens
        interleave.check("picture/image", config.image_id, places, pictures, vectors)
    if sounds is not None:
        _sense(config.audio, "audio", "sounds")
    if config.audio is not None:
        clips = nothing
        vectors = nothing
        if sounds is not None:
            length = np.full(sounds.shape[:2], sounds.shape[2])
            if audio_mask is not None:
                length = np.asarray(audio_mask).astype(bool).sum(2)
            clips = (length > 0).sum(1)
            vectors = config.audio.tokens(length).sum(1)
        places = ((ids == config.audio_id) & real).sum(1)
        interleave.check("clip/audio", config.audio_id, places, clips, vectors)


def _sense(tower: Any, name: str, things: str) -> None:
    if tower is None:
        raise ConfigError(f"the model takes no {things}: its {name} tower is None")


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
            self.audio = audio_tower.Model(c.audio, body.width)
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
    ) -> audio_tower.Heard:
        """Log-mel frames or samples -> what stands in the place of audio tokens."""
        return self.audio(audio, mask, train=train)

    def embed(
        self,
        ids: Int[Array, "B L"],
        images: Float[Array, "B M H W C"] | None = None,
        image_mask: Shaped[Array, "B M"] | None = None,
        mask: Shaped[Array, "B L"] | None = None,
        sounds: Sounds | None = None,
        audio_mask: Shaped[Array, "B A T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B L D"]:
        """Token ids, pictures and sounds -> what the language model reads.

        Args:
          images: of each row in the order of the prompt; None: image tokens are read as words.
          image_mask: True = a picture; None: all are.
          mask: True = a real token; padding is no image token, whatever its id.
          sounds: of each row in the order of the prompt, as images.
          audio_mask: True = sound; a clip without any is not there. None: all is sound.
        """
        x = self.language.embed(ids)
        real = real_tokens(ids, mask)
        if images is not None:
            taken = (ids == self.config.image_id) & real
            x = interleave.interleave(x, taken, *self._seen(images, image_mask, train))
        if sounds is not None and sounds.shape[1]:
            taken = (ids == self.config.audio_id) & real
            x = interleave.interleave(x, taken, *self._heard(sounds, audio_mask, train))
        return x

    def _seen(self, images: Array, mask: Array | None, train: bool) -> tuple[Array, Array]:
        """Vectors of each row's pictures [B, M * P, D], and which are there."""
        _sense(self.config.image, "image", "pictures")
        rows, most = images.shape[:2]
        flat = rows_apart(images.reshape(-1, *images.shape[2:]))
        vectors = self.encode_image(flat, train=train)
        there = jnp.ones((rows, most), bool) if mask is None else as_mask(mask)
        there = jnp.repeat(there, vectors.shape[1], axis=1)
        return rows_apart(vectors.reshape(*there.shape, -1)), there

    def _heard(self, sounds: Array, mask: Array | None, train: bool) -> tuple[Array, Array]:
        """Vectors of each row's sounds [B, A * K, D], and which are there."""
        _sense(self.config.audio, "audio", "sounds")
        rows, most = sounds.shape[:2]
        flat = rows_apart(sounds.reshape(rows * most, *sounds.shape[2:]))
        if mask is not None:
            mask = rows_apart(as_mask(mask).reshape(rows * most, -1))
        vectors, valid = self.encode_audio(flat, mask, train=train)
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
        *,
        segment: Int[Array, "B L"] | None = None,
        prefix: Shaped[Array, "B L"] | None = None,
        logits_at: LogitsAt = "all",
        train: bool = False,
    ) -> Output:
        """Whole sequences -> tokens and logits; pictures and sounds as `embed` takes them."""
        valid = real_tokens(inputs, mask)
        if segment is not None:
            valid = valid & (segment >= 0)
        x = self._read(inputs, valid, (images, image_mask), (sounds, audio_mask), train)
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
        x = self._read(inputs, valid, (images, image_mask), (sounds, audio_mask), False)
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
        self,
        inputs: Array,
        valid: Array,
        images: tuple[Array | None, Array | None],
        sounds: tuple[Array | None, Array | None],
        train: bool,
    ) -> Array:
        """What the language model reads; pictures and sounds each with their mask."""
        if inputs.ndim == 2:
            return self.embed(inputs, *images, valid, *sounds, train=train)
        for name, given in (("pictures", images), ("sounds", sounds)):
            if given[0] is not None:
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
    audio = None
    if config.image is not None:
        (pixels,) = _module(config.image).inputs(config.image)
        images = jax.ShapeDtypeStruct((1, 1, *pixels.shape[1:]), pixels.dtype)
    if config.audio is not None:
        (sound,) = audio_tower.inputs(config.audio)
        audio = jax.ShapeDtypeStruct((1, *sound.shape), sound.dtype)
    ids = jax.ShapeDtypeStruct((1, max(1, config.image_tokens)), jnp.int32)
    return (ids, None, images, None, audio, None)


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
    ears = audio_tower.VARIANTS["qwen2-audio"]
    return Config(None, language=language, audio=ears, audio_id=151_646)


VARIANTS = {
    "tiny": Config(),
    "LLaVA-1.5-7B": _llava(),
    "PaliGemma-3B": _paligemma(),
    "Qwen2-Audio-7B": _qwen2_audio(),
}
