"""Llama, Qwen2 and Gemma: decoders that differ in a few fields of one stack.

* Llama https://arxiv.org/abs/2302.13971, https://arxiv.org/abs/2407.21783; Qwen2
  https://arxiv.org/abs/2407.10671 has biases on queries, keys and values.
* Gemma https://arxiv.org/abs/2403.08295 scales its embeddings by sqrt(D) and stores the scales of
  norms minus one; Gemma 2 https://arxiv.org/abs/2408.00118 adds norms behind each part, soft caps,
  and a window on every other layer.
* `prefill` reads a prompt into a cache, `extend` one or more tokens after it; both compute what the
  whole sequence at once gives, with padding on either side of the prompt.

Letters: B batch, L tokens, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers import decoder, rotary
from mmjax.layers.cache import Cache, Output, Step
from mmjax.layers.decoder import Decoder, RmsNorm
from mmjax.layers.dense import matmul
from mmjax.layers.placement import lookup
from mmjax.layers.transformer import embedding
from mmjax.typing import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: int = 32_000  # V
    context_length: int = 2048  # tokens it was trained for; nothing depends on it here
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
        c, d = self.config, self.config.decoder
        if d.heads % d.kv_heads or d.head_size % 2:
            raise ValueError(
                f"{d.heads} heads must be a multiple of kv_heads={d.kv_heads}, and "
                f"head_size={d.head_size} even"
            )
        self.table = embedding("tokens", self, (c.vocab_size, d.width), 0.02, ("vocab", "embed"))
        if not c.tied:
            axes = ("embed", "vocab")
            self.head = embedding("head", self, (d.width, c.vocab_size), 0.02, axes)
        self.decoder = Decoder(d)
        self.norm = RmsNorm(d.norm_epsilon, d.norm_offset)

    def __call__(self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"] | None = None) -> Output:
        """Token ids and their validity (True = a real token) -> tokens and logits."""
        return Output(*self._run(self.embed(ids), mask, None)[:2])

    def prefill(
        self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"] | None = None, *, slots: int
    ) -> Step:
        """Reads a prompt into a new cache of `slots` tokens a row, padding included."""
        return self.extend(ids, self.decoder.empty(len(ids), slots), mask)

    def extend(
        self, ids: Int[Array, "B L"], cache: Cache, mask: Bool[Array, "B L"] | None = None
    ) -> Step:
        """Reads the next tokens.

        Raises:
          ValueError: the cache is full (under `jit`: NaN).
        """
        return Step(*self._run(self.embed(ids), mask, cache))

    def embed(self, ids: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """Token embeddings, as the first block gets them."""
        c = self.config
        return (c.embedding_scale * lookup(self.table, ids)).astype(c.decoder.stream)

    def logits(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Of the token after each, from what leaves the last norm."""
        c = self.config
        head = self.table.T if c.tied else self.head
        logits = matmul(tokens.astype(jnp.float32), head, c.decoder.dtype)
        return logits if c.logits_cap is None else c.logits_cap * jnp.tanh(logits / c.logits_cap)

    def _run(
        self, x: Array, mask: Array | None, cache: Cache | None
    ) -> tuple[Array, Array, Cache | None]:
        valid = jnp.ones(x.shape[:2], bool) if mask is None else mask
        x, cache = self.decoder(x, valid, cache)
        tokens = self.norm(x)
        return tokens, self.logits(tokens), cache


def _size(width: int, layers: int, heads: int, kv_heads: int, size: int, hidden: int, **fields):
    return decoder.Config(width, layers, heads, kv_heads, size, hidden, **fields)


def _gemma(body: decoder.Config, **fields) -> Config:
    kinds = dict(activation="gelu_tanh", norm_offset=1.0)
    body, scale = dataclasses.replace(body, **kinds), body.width**0.5
    return Config(256_000, 8192, body, tied=True, embedding_scale=scale, **fields)


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
