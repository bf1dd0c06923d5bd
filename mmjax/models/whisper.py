"""Whisper: log-mel frames -> text (Radford et al. 2022, https://arxiv.org/abs/2212.04356).

* The encoder is a model of its own (whisper_encoder.py). Keys have no bias.
* The decoder is GPT-2 whose blocks attend to the sound as well (layers/transformer.py).
* Called as every decoder of the house is (layers/decoding.py); its context is the encoded sound.

Letters: B batch, T frames, M mel bins, C encoded frames, L tokens, Q places asked for, D width, V
    vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import transformer
from mmjax.layers.cache import Cache, KeyValues
from mmjax.layers.decoding import Inputs, Step
from mmjax.layers.places import LogitsAt
from mmjax.models import gpt2, whisper_encoder
from mmjax.models.whisper_encoder import STACK as STACK
from mmjax.typing import Array, Float, Int, Positive, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    bins: Positive = 80  # M
    frames: Positive = 3_000  # of a window, 10 ms each: the longest T
    vocab_size: Positive = 51_865  # V
    context_length: Positive = 448  # tokens of a window at most, prompt included
    encoder: transformer.Config = STACK  # blocks over the sound
    decoder: transformer.Config = STACK  # blocks over the text, as wide as the encoder's
    start_id: int | None = None  # token that opens a text for its tokenizer
    end_ids: tuple[int, ...] = ()  # tokens that end one
    padding_id: int | None = None  # token that fills up rows
    decoder_start_id: int | None = None  # <|startoftranscript|>, the first that the decoder reads

    @property
    def ears(self) -> whisper_encoder.Config:
        """Of the encoder alone."""
        return whisper_encoder.Config(self.bins, self.frames, self.encoder)


class Output(NamedTuple):
    """What the whole model returns."""

    tokens: Float[Array, "B L D"]  # after the decoder's norm
    logits: Float[Array, "B Q V"] | None  # of the token behind each one, float32
    encoded: Float[Array, "B C D"]  # after the encoder's norm


class Model(nn.Module):
    """Encoder and decoder."""

    config: Config

    def setup(self):
        c = self.config
        if c.encoder.width != c.decoder.width:
            raise ConfigError(
                f"the encoder's width {c.encoder.width} is not the decoder's {c.decoder.width}"
            )
        self.encoder = whisper_encoder.Model(c.ears)
        self.decoder = gpt2.Model(gpt2.Config(c.vocab_size, c.context_length, c.decoder))

    def encode_audio(
        self, features: Float[Array, "B T M"], *, train: bool = False
    ) -> Float[Array, "B C D"]:
        """Log-mel frames -> one vector for each two of them."""
        return self.encoder(features, train=train)

    def embed(self, ids: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """Vectors of tokens, before positions."""
        return self.decoder.embed(ids)

    def logits(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Of the token after each, from what leaves the decoder's norm."""
        return self.decoder.logits(tokens)

    def __call__(
        self,
        features: Float[Array, "B T M"],
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        logits_at: LogitsAt = "all",
        train: bool = False,
    ) -> Output:
        """Logits for given texts (teacher forcing)."""
        encoded = self.encode_audio(features, train=train)
        out = self.decode(inputs, mask, context=encoded, logits_at=logits_at, train=train)
        return Output(out.tokens, out.logits, encoded)

    def decode(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        context: Float[Array, "B C D"] | KeyValues,
        context_mask: Shaped[Array, "B C"] | None = None,
        segment: Int[Array, "B L"] | None = None,
        logits_at: LogitsAt = "all",
        train: bool = False,
    ) -> gpt2.Output:
        """Whole texts beside encoded sound."""
        return self.decoder(
            inputs, mask, segment=segment, context=context, context_mask=context_mask,
            logits_at=logits_at, train=train,
        )  # fmt: skip

    def cross_kv(self, context: Float[Array, "B C D"]) -> KeyValues:
        """Keys and values that the decoder's layers make of encoded sound, once a clip."""
        return self.decoder.cross_kv(context)

    def prefill(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        slots: int,
        context: Float[Array, "B C D"] | KeyValues,
        context_mask: Shaped[Array, "B C"] | None = None,
        logits_at: LogitsAt = "all",
        cache_dtype: str | None = None,
    ) -> Step:
        """Reads the prompts of a batch.

        Args:
          slots: tokens to make room for, prompt and padding included; `context_length` at most.
        """
        length = self.config.context_length
        if slots > length:
            raise ValueError(f"{slots} slots are more than the context length {length}")
        return self.decoder.prefill(
            inputs, mask, slots=slots, context=context, context_mask=context_mask,
            logits_at=logits_at, cache_dtype=cache_dtype,
        )  # fmt: skip

    def extend(
        self,
        inputs: Inputs,
        cache: Cache,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        logits_at: LogitsAt = "all",
    ) -> Step:
        """Reads more tokens of each row; what it says equals the whole text's in one go."""
        return self.decoder.extend(inputs, cache, mask, logits_at=logits_at)


def _size(width: int, layers: int, heads: int, decoder_layers: int = 0, **fields: Any) -> Config:
    stack = dataclasses.replace(STACK, width=width, layers=layers, heads=heads, hidden=4 * width)
    decoder = dataclasses.replace(stack, layers=decoder_layers or layers)
    return Config(encoder=stack, decoder=decoder, **fields)


ENGLISH = dict(vocab_size=51_864)  # its vocabulary is GPT-2's


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return jnp.zeros((1, config.frames, config.bins)), jnp.zeros((1, 1), jnp.int32)


VARIANTS = {
    "tiny.en": _size(384, 4, 6, **ENGLISH),
    "tiny": _size(384, 4, 6),
    "base.en": _size(512, 6, 8, **ENGLISH),
    "base": _size(512, 6, 8),
    "small.en": _size(768, 12, 12, **ENGLISH),
    "small": _size(768, 12, 12),
    "medium.en": _size(1024, 24, 16, **ENGLISH),
    "medium": _size(1024, 24, 16),
    "large-v2": _size(1280, 32, 20),
    "large-v3": _size(1280, 32, 20, vocab_size=51_866, bins=128),
    "large-v3-turbo": _size(1280, 32, 20, 4, vocab_size=51_866, bins=128),
}
