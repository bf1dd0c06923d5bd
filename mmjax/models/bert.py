"""BERT and RoBERTa: text encoders that see both ways.

* BERT https://arxiv.org/abs/1810.04805: the norm after each sum, token types, a pooler on the first
  token. RoBERTa https://arxiv.org/abs/1907.11692 counts positions of real tokens, from behind the
  padding's own.
* MiniLM https://arxiv.org/abs/2002.10957 is a narrow BERT; sentence embeddings
  (https://arxiv.org/abs/1908.10084) are the mean of its real tokens.

Letters: B batch, L tokens, D width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers import pooling, transformer
from mmjax.layers.attention import attention_mask
from mmjax.layers.dense import Dense
from mmjax.layers.placement import lookup
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.typing import Array, Bool, Float, Int

BODY = transformer.Config(
    width=768, layers=12, heads=12, hidden=3072, norm="post", norm_epsilon=1e-12,
    initialisation="bert",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: int = 30_522  # V
    context_length: int = 512  # rows of the position table
    types: int = 2  # kinds of segments, "first sentence" and "second"
    transformer: transformer.Config = BODY  # the stack of blocks
    # from tokens to one vector: the first one, dense and tanh; the first one; the mean of real ones
    pool: Literal["dense", "first", "mean"] = "dense"
    # RoBERTa: this id stands at the position of its own number, and the first real token behind it
    padding_id: int | None = None


class Output(NamedTuple):
    """What the encoder returns."""

    tokens: Float[Array, "B L D"]  # after the last block
    pooled: Float[Array, "B D"]


class Model(nn.Module):
    """Text encoder."""

    config: Config

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"] | None = None,
        types: Int[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Token ids, their validity (True = a real token) and segment types (all 0 by default) ->
        tokens and a pooled vector.

        Raises:
          ValueError: more tokens than there are positions.
        """
        c, t, length = self.config, self.config.transformer, ids.shape[1]
        first = 0 if c.padding_id is None else c.padding_id + 1
        if length > c.context_length - first:
            raise ValueError(
                f"{length} tokens do not fit the context length {c.context_length - first}"
            )
        table = embedding("tokens", self, (c.vocab_size, t.width), 0.02, ("vocab", "embed"))
        axes, rows = ("position", "embed"), (c.context_length, t.width)
        positions = embedding("positions", self, rows, 0.02, axes)
        kinds = embedding("types", self, (c.types, t.width), 0.02, (None, "embed"))
        types = jnp.zeros_like(ids) if types is None else types
        # in the reference's order: types, then positions
        x = lookup(table, ids) + kinds[types]
        if c.padding_id is None:
            x = x + positions[None, :length]
        else:
            real = ids != c.padding_id
            x = x + positions[jnp.where(real, jnp.cumsum(real, 1) + c.padding_id, c.padding_id)]
        x = layer_norm(t, "embedding_norm")(x.astype(t.stream))
        x = nn.Dropout(t.dropout, deterministic=not train)(x)
        allowed = attention_mask(mask, length, causal=False)
        x = transformer.Transformer(t, train, name="transformer")(x, allowed)
        if c.pool == "mean":
            return Output(x, pooling.masked_mean(x, mask))
        pooled = x[:, 0]
        if c.pool == "dense":
            init = nn.initializers.normal(0.02)
            dense = Dense(
                (t.width,), ("embed", None), kernel_init=init, dtype=t.dtype, name="pooler"
            )
            pooled = jnp.tanh(dense(pooled))
        return Output(x, pooled)

    def encode_text(
        self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"] | None = None
    ) -> Float[Array, "B D"]:
        """Sentence embeddings: the mean of the real tokens, of unit length."""
        mean = pooling.masked_mean(self(ids, mask).tokens.astype(jnp.float32), mask)
        length = jnp.linalg.norm(mean, axis=-1, keepdims=True)
        return mean / jnp.maximum(length, 1e-12)


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return (jnp.zeros((1, 4), jnp.int32),)


VARIANTS = {
    "tiny": Config(transformer=dataclasses.replace(BODY, width=128, layers=2, heads=2, hidden=512)),
    "MiniLM-L6": Config(transformer=dataclasses.replace(BODY, width=384, layers=6, hidden=1536)),
    "B": Config(),
    "L": Config(
        transformer=dataclasses.replace(BODY, width=1024, layers=24, heads=16, hidden=4096)
    ),
    "RoBERTa-B": Config(50_265, 514, 1, dataclasses.replace(BODY, norm_epsilon=1e-5), padding_id=1),
}
