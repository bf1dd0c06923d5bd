"""GPT-2: a decoder with learned positions whose head is its token table.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners",
https://github.com/openai/gpt-2

* `prefill` reads a prompt into a cache, `extend` one or more tokens after it; both compute what the
  whole sequence at once gives.
* Positions count real tokens: prompts of different lengths may be padded on either side.

Letters: B batch, L tokens, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers import transformer
from mmjax.layers.cache import Cache, Output, Step, claim, empty
from mmjax.layers.dense import matmul
from mmjax.layers.placement import lookup
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.typing import Array, Bool, Float, Int

BODY = transformer.Config(
    width=768, layers=12, heads=12, hidden=3072, activation="gelu_tanh", initialisation="gpt2"
)


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: int = 50_257  # V
    context_length: int = 1024  # rows of the position table
    transformer: transformer.Config = BODY  # the stack of blocks
    tied: bool = True  # the head is the token table
    start_id: int | None = None  # token that opens a text
    end_ids: tuple[int, ...] = ()  # tokens that end one
    padding_id: int | None = None  # token that fills up rows


class Model(nn.Module):
    """Decoder."""

    config: Config

    def setup(self):
        c, t = self.config, self.config.transformer
        self.table = embedding("tokens", self, (c.vocab_size, t.width), 0.02, ("vocab", "embed"))
        axes = ("position", "embed")
        self.positions = embedding("positions", self, (c.context_length, t.width), 0.01, axes)
        if not c.tied:
            axes = ("embed", "vocab")
            self.head = embedding("head", self, (t.width, c.vocab_size), 0.02, axes)
        self.norm = layer_norm(t, None)

    def __call__(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Token ids and their validity (True = a real token) -> tokens and logits.

        Raises:
          ValueError: more tokens than the context length.
        """
        return Output(*self._run(ids, mask, None, train)[:2])

    def prefill(
        self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"] | None = None, *, slots: int
    ) -> Step:
        """Reads a prompt into a new cache of `slots` tokens a row, padding included."""
        t = self.config.transformer
        size = t.width // t.heads
        return self.extend(ids, empty(t.layers, len(ids), slots, t.heads, size, t.stream), mask)

    def extend(
        self, ids: Int[Array, "B L"], cache: Cache, mask: Bool[Array, "B L"] | None = None
    ) -> Step:
        """Reads the next tokens.

        Raises:
          ValueError: the cache is full (under `jit`: NaN).
        """
        return Step(*self._run(ids, mask, cache, False))

    def logits(self, tokens: Float[Array, "B L D"]) -> Float[Array, "B L V"]:
        """Of the token after each, from what leaves the last norm."""
        c = self.config
        head = self.table.T if c.tied else self.head
        return matmul(tokens.astype(jnp.float32), head, c.transformer.dtype)

    @nn.compact
    def _run(
        self, ids: Array, mask: Array | None, cache: Cache | None, train: bool
    ) -> tuple[Array, Array, Cache | None]:
        c, t = self.config, self.config.transformer
        if ids.shape[1] > c.context_length:
            raise ValueError(
                f"{ids.shape[1]} tokens do not fit the context length {c.context_length}"
            )
        valid = jnp.ones(ids.shape, bool) if mask is None else mask
        cache, places = claim(valid, cache)
        # past the table: NaN, where a clamped index would give the last row again
        rows = self.positions.at[places.position].get(mode="fill", fill_value=jnp.nan)
        x = (lookup(self.table, ids) + rows).astype(t.stream)
        x = nn.Dropout(t.dropout, deterministic=not train)(x)
        body = transformer.Transformer(t, train, name="transformer")
        if cache is None:
            x = body(x, places.mask)
        else:
            x, cache = body.extend(x, cache, places)
        tokens = self.norm(x)
        return tokens, self.logits(tokens), cache


def _size(width: int, layers: int, heads: int) -> Config:
    sizes = dict(width=width, layers=layers, heads=heads, hidden=4 * width)
    return Config(transformer=dataclasses.replace(BODY, **sizes))


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return (jnp.zeros((1, 4), jnp.int32),)


VARIANTS = {
    "tiny": _size(128, 2, 2),
    "small": _size(768, 12, 12),
    "medium": _size(1024, 24, 16),
    "large": _size(1280, 36, 20),
    "XL": _size(1600, 48, 25),
}
