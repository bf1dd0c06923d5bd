"""GPT-2: a decoder with learned positions whose head is its token table.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners",
https://github.com/openai/gpt-2

* Called as every decoder of the house is: layers/decoding.py.
* Positions count real tokens: prompts of different lengths may be padded on either side.
* Given a context, each block attends to it as well: the decoder of Whisper.

Letters: B batch, L tokens, Q places asked for, C positions of a context, D and E widths, V
    vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import transformer
from mmjax.layers.cache import Cache, Context, KeyValues, allocate, empty
from mmjax.layers.decoding import Inputs, Output, Step, logits_at_places, real_tokens
from mmjax.layers.dense import project_out, unembed
from mmjax.layers.placement import lookup
from mmjax.layers.places import LogitsAt, Places, whole_places
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.typing import Array, Float, Int, Positive, Shaped

BODY = transformer.Config(
    width=768, layers=12, heads=12, hidden=3072, activation="gelu_tanh", initialisation="gpt2"
)


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: Positive = 50_257  # V
    context_length: Positive = 1024  # rows of the position table
    transformer: transformer.Config = BODY  # the stack of blocks
    tied: bool = True  # the head is the token table
    start_id: int | None = None  # token that opens a text
    end_ids: tuple[int, ...] = ()  # tokens that end one
    padding_id: int | None = None  # token that fills up rows


class Model(nn.Module):
    """Decoder."""

    config: Config

    def setup(self):
        c = self.config
        t = c.transformer
        self.table = embedding("tokens", self, (c.vocab_size, t.width), 0.02, ("vocab", "embed"))
        axes = ("position", "embed")
        self.positions = embedding("positions", self, (c.context_length, t.width), 0.01, axes)
        if not c.tied:
            axes = ("embed", "vocab")
            self.head = embedding("head", self, (t.width, c.vocab_size), 0.02, axes)
        self.norm = layer_norm(t, None)

    def embed(self, ids: Int[Array, "B L"]) -> Float[Array, "B L D"]:
        """Vectors of tokens, to which positions are added once their places are known."""
        return lookup(self.table, ids)

    def logits(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Of the token after each, from what leaves the last norm."""
        dtype = self.config.transformer.dtype
        if self.config.tied:
            return unembed(tokens, self.table, dtype)
        return project_out(tokens, self.head, dtype)

    def __call__(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        segment: Int[Array, "B L"] | None = None,
        prefix: Shaped[Array, "B L"] | None = None,
        context: Float[Array, "B C E"] | KeyValues | None = None,
        context_mask: Shaped[Array, "B C"] | None = None,
        logits_at: LogitsAt = "all",
        train: bool = False,
    ) -> Output:
        """Whole sequences -> tokens and logits.

        Raises:
          ValueError: more tokens than the context length.
        """
        valid = real_tokens(inputs, mask)
        self._check(inputs)
        places = whole_places(valid, segment, prefix)
        x = self._first(inputs, places, train)
        x = self._body(train)(x, places.mask, context, context_mask)
        tokens = self.norm(x)
        return Output(tokens, logits_at_places(self.logits, tokens, logits_at, valid))

    def prefill(
        self,
        inputs: Inputs,
        mask: Shaped[Array, "B L"] | None = None,
        *,
        slots: int,
        prefix: Shaped[Array, "B L"] | None = None,
        context: Float[Array, "B C E"] | KeyValues | None = None,
        context_mask: Shaped[Array, "B C"] | None = None,
        logits_at: LogitsAt = "all",
        cache_dtype: str | None = None,
    ) -> Step:
        """Reads a prompt into a new cache of `slots` tokens a row, padding included.

        Args:
          cache_dtype: that keys and values are kept in; None: the stream's.
        """
        t = self.config.transformer
        size = t.width // t.heads
        cache = empty(t.layers, len(inputs), slots, t.heads, size, cache_dtype or t.stream)
        if context is not None:
            if not isinstance(context, KeyValues):
                context = self.cross_kv(context)
            cache = cache._replace(context=Context(context, context_mask))
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

    def cross_kv(self, context: Float[Array, "B C E"]) -> KeyValues:
        """Keys and values that cross-attention makes of a context, [layers, B, C, N, H]."""
        return self._body(False).cross_kv(context)

    def _extend(
        self,
        inputs: Array,
        cache: Cache,
        mask: Array | None,
        prefix: Array | None,
        logits_at: LogitsAt,
    ) -> Step:
        valid = real_tokens(inputs, mask)
        self._check(inputs)
        cache, places = allocate(valid, cache, prefix)
        x, cache = self._body(False).extend(self._first(inputs, places, False), cache, places)
        tokens = self.norm(x)
        return Step(tokens, logits_at_places(self.logits, tokens, logits_at, valid), cache)

    def _check(self, inputs: Array) -> None:
        if inputs.shape[1] > self.config.context_length:
            raise ValueError(
                f"{inputs.shape[1]} tokens do not fit the context length "
                f"{self.config.context_length}"
            )

    @nn.compact
    def _body(self, train: bool) -> transformer.Transformer:
        return transformer.Transformer(self.config.transformer, train, name="transformer")

    @nn.compact
    def _first(self, inputs: Array, places: Places, train: bool) -> Array:
        """What enters the first block."""
        t = self.config.transformer
        x = self.embed(inputs) if inputs.ndim == 2 else inputs
        # past the table: NaN, where a clamped index would give the last row again
        x = x + lookup(self.positions, places.position, nan_outside=True)
        return nn.Dropout(t.dropout, deterministic=not train)(x.astype(t.stream))


def _size(width: int, layers: int, heads: int) -> Config:
    body = dataclasses.replace(BODY, width=width, layers=layers, heads=heads, hidden=4 * width)
    return Config(transformer=body)


def inputs(config: Config) -> tuple[Any, ...]:
    """What the model is called with to make its parameters, one row."""
    return (jax.ShapeDtypeStruct((1, 4), jnp.int32),)


VARIANTS = {
    "tiny": _size(128, 2, 2),
    "small": _size(768, 12, 12),
    "medium": _size(1024, 24, 16),
    "large": _size(1280, 36, 20),
    "XL": _size(1600, 48, 25),
}
