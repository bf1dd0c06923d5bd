"""Llama, Qwen2 and Gemma: decoders that differ in a few fields of one stack.

* Llama https://arxiv.org/abs/2302.13971, https://arxiv.org/abs/2407.21783; Qwen2
  https://arxiv.org/abs/2407.10671 has biases on queries, keys and values.
* Gemma https://arxiv.org/abs/2403.08295 scales its embeddings by sqrt(D) and stores the scales of
  norms minus one; Gemma 2 https://arxiv.org/abs/2408.00118 adds norms behind each part, soft caps,
  and a window on every other layer.
* Called as every decoder of the house is: layers/decoding.py. Embeddings that are given instead of
  ids enter as they are, without Gemma's factor.

Letters: B batch, L tokens, Q places asked for, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import decoder, rotary
from mmjax.layers.cache import Cache, allocate
from mmjax.layers.decoder import Decoder, RmsNorm
from mmjax.layers.decoding import Inputs, Output, Step, logits_at_places, real_tokens
from mmjax.layers.dense import project_out, unembed
from mmjax.layers.placement import lookup
from mmjax.layers.places import LogitsAt, whole_places
from mmjax.layers.transformer import embedding
from mmjax.typing import Array, Float, Int, Positive, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: Positive = 32_000  # V
    context_length: Positive = 2048  # tokens it was trained for; nothing depends on it here
    decoder: decoder.Config = decoder.Config()  # the stack of blocks
    tied: bool = False  # the head is the token table
    embedding_scale: float = 1.0  # on what is looked up: Gemma's sqrt(D)
    logits_cap: float | None = None  # logits stay within +- this, by a tanh
    start_id: int | None = None  # token that opens a text
    end_ids: tuple[int, ...] = ()  # tokens that end one
    padding_id: int | None = None  # token that fills up rows


class Model(nn.Module):
    """Decoder."""

    config: Config

    def setup(self):
        c = self.config
        d = c.decoder
        if d.heads % d.kv_heads or d.head_size % 2:
            raise ConfigError(
                f"{d.heads} heads must be a multiple of kv_heads={d.kv_heads}, and "
                f"head_size={d.head_size} even"
            )
        self.table = embedding("tokens", self, (c.vocab_size, d.width), 0.02, ("vocab", "embed"))
        if not c.tied:
            axes = ("embed", "vocab")
            self.head = embedding("head", self, (d.width, c.vocab_size), 0.02, axes)
        self.decoder = Decoder(d)
        self.norm = RmsNorm(d.norm_epsilon, d.norm_offset)

    def embed(self, ids: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """Token embeddings, as the first block gets them."""
        c = self.config
        return (c.embedding_scale * lookup(self.table, ids)).astype(c.decoder.stream)

    def logits(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Of the token after each, from what leaves the last norm."""
        c = self.config
        if c.tied:
            logits = unembed(tokens, self.table, c.decoder.dtype)
        else:
            logits = project_out(tokens, self.head, c.decoder.dtype)
        return logits if c.logits_cap is None else c.logits_cap * jnp.tanh(logits / c.logits_cap)

    def __call__(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        segment: Int[Array, "B L"] | None = None,
        prefix: Shaped[Array, "B L"] | None = None,
        logits_at: LogitsAt = "all",
        train: bool = False,  # changes nothing: these models have no dropout
    ) -> Output:
        """Whole sequences -> tokens and logits."""
        valid = real_tokens(inputs, mask)
        x = self.decoder(self._first(inputs), whole_places(valid, segment, prefix))
        tokens = self.norm(x)
        return Output(tokens, logits_at_places(self.logits, tokens, logits_at, valid))

    def prefill(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
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
        cache = self.decoder.empty(len(inputs), slots, cache_dtype)
        return self._extend(inputs, cache, mask, prefix, logits_at)

    def extend(
        self,
        inputs: Inputs,
        cache: Cache,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        logits_at: LogitsAt = "all",
    ) -> Step:
        """Reads the next tokens.

        Raises:
          ValueError: the cache is full (under `jit`: NaN).
        """
        return self._extend(inputs, cache, mask, None, logits_at)

    def _extend(
        self,
        inputs: Array,
        cache: Cache,
        mask: Array | None,
        prefix: Array | None,
        logits_at: LogitsAt,
    ) -> Step:
        valid = real_tokens(inputs, mask)
        cache, places = allocate(valid, cache, prefix)
        x, cache = self.decoder.extend(self._first(inputs), cache, places)
        tokens = self.norm(x)
        return Step(tokens, logits_at_places(self.logits, tokens, logits_at, valid), cache)

    def _first(self, inputs: Array) -> Array:
        """What enters the first block."""
        if inputs.ndim == 2:
            return self.embed(inputs)
        return inputs.astype(self.config.decoder.stream)


def _size(width: int, layers: int, heads: int, kv_heads: int, size: int, hidden: int, **fields):
    return decoder.Config(width, layers, heads, kv_heads, size, hidden, **fields)


def _gemma(body: decoder.Config, **fields) -> Config:
    body = dataclasses.replace(body, activation="gelu_tanh", norm_offset=1.0)
    return Config(256_000, 8192, body, tied=True, embedding_scale=body.width**0.5, **fields)


LONG = rotary.Config(500_000.0, "llama3", 32.0, 8192)
GEMMA_2 = dict(post_norms=True, attention_scale=256**-0.5, attention_cap=50.0, windows=(4096, 0))


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return (jnp.zeros((1, 4), jnp.int32),)


VARIANTS = {
    "tiny": Config(),
    "Llama-2-7B": Config(
        32_000, 4096, _size(4096, 32, 32, 32, 128, 11_008, norm_epsilon=1e-5)
    ),
    "Llama-3.2-1B": Config(
        128_256, 131_072,
        _size(2048, 16, 32, 8, 64, 8192, norm_epsilon=1e-5, rotary=LONG),
        tied=True,
    ),
    "Qwen2-0.5B": Config(
        151_936, 131_072,
        _size(896, 24, 14, 2, 64, 4864, qkv_bias=True, rotary=rotary.Config(1_000_000.0)),
        tied=True,
    ),
    "Gemma-2B": _gemma(_size(2048, 18, 8, 1, 256, 16_384)),
    "Gemma-2-2B": _gemma(_size(2304, 26, 8, 4, 256, 9216, **GEMMA_2), logits_cap=30.0),
}  # fmt: skip
