"""BERT and RoBERTa: text encoders that see both ways, and the heads that they are trained with.

* BERT https://arxiv.org/abs/1810.04805: the norm after each sum, token types, a pooler on the first
  token. RoBERTa https://arxiv.org/abs/1907.11692 counts positions of real tokens, from behind the
  padding's own.
* Heads: words that were masked, whether one segment follows the other, classes of texts and of
  tokens, one of several choices, where an answer starts and ends.
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
from mmjax.layers.dense import Dense, unembed
from mmjax.layers.placement import lookup
from mmjax.layers.transformer import ACTIVATIONS, embedding, layer_norm
from mmjax.typing import Array, Bool, Float, Int, Natural, Positive

BODY = transformer.Config(
    width=768, layers=12, heads=12, hidden=3072, norm="post", norm_epsilon=1e-12,
    initialisation="bert",
)  # fmt: skip
LABELLED = ("classes", "token_classes")  # heads whose outputs have names


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: Positive = 30_522  # V
    context_length: Positive = 512  # rows of the position table
    types: Natural = 2  # kinds of segments, "first sentence" and "second"
    transformer: transformer.Config = BODY  # the stack of blocks
    # from tokens to one vector: the first one, dense and tanh; the first one; the mean of real ones
    pool: Literal["dense", "first", "mean"] = "dense"
    # RoBERTa: this id stands at the position of its own number, and the first real token behind it
    padding_id: int | None = None
    # what is said beside the vectors. words: the word at each token; next_sentence: whether the
    # second segment follows the first; pretraining: both; classes: the class of the text;
    # token_classes: the class of each token; choice: how good the text is among several;
    # answer: how well an answer starts and ends at each token
    head: Literal[
        "none", "words", "next_sentence", "pretraining", "classes", "token_classes", "choice",
        "answer",
    ] = "none"  # fmt: skip
    labels: tuple[str, ...] = ()  # names of the classes; only of "classes" and "token_classes"
    tied: bool = True  # the matrix of the head for words is the token table
    start_id: int | None = None  # token that opens a text
    end_ids: tuple[int, ...] = ()  # tokens that end one
    pad_id: int | None = 0  # token that fills up rows, where padding_id does not say it

    @property
    def longest(self) -> int:
        """Tokens of a text at most: RoBERTa's first positions are the padding's."""
        return self.context_length - (0 if self.padding_id is None else self.padding_id + 1)

    def __post_init__(self):
        if bool(self.labels) != (self.head in LABELLED):
            raise ValueError(
                f"head = {self.head!r} with labels = {self.labels}: the heads "
                f"{' and '.join(LABELLED)} have labels, one for each class, and no other head does"
            )


class Output(NamedTuple):
    """What the encoder returns, and what its head says, in float32."""

    tokens: Float[Array, "B L D"]  # after the last block
    pooled: Float[Array, "B D"]
    # words [B, L, V], classes [B, classes], token classes [B, L, classes], choice [B], answer
    # [B, L, 2] (start, end); None without such a head
    logits: Float[Array, "B ..."] | None = None
    # [:, 0]: the second segment follows the first, [:, 1]: it does not; None without that head
    next_sentence: Float[Array, "B 2"] | None = None


class WordHead(nn.Module):
    """Vectors -> logits of words: a dense layer, a norm, the token table and a bias."""

    config: Config

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "B L D"], table: Float[Array, "V D"]
    ) -> Float[Array, "B L V"]:
        c = self.config
        t = c.transformer
        init = nn.initializers.normal(0.02)
        dense = Dense((t.width,), ("embed", None), kernel_init=init, dtype=t.dtype, name="dense")
        # RoBERTa's is always this one, whatever its blocks have
        activation = t.activation if c.padding_id is None else "gelu"
        x = layer_norm(t, "norm")(ACTIVATIONS[activation](dense(tokens)))
        if not c.tied:
            table = embedding("table", self, table.shape, 0.02, ("vocab", "embed"))
        zeros = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("vocab",))
        bias = self.param("bias", zeros, table.shape[:1], jnp.float32)
        return unembed(x.astype(jnp.float32), table, t.dtype) + bias[None, None]


class Model(nn.Module):
    """Text encoder, with the head of its config."""

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
        tokens, a pooled vector and what the head says.

        Raises:
          ValueError: more tokens than there are positions.
        """
        c = self.config
        t = c.transformer
        length = ids.shape[1]
        shape = (c.vocab_size, t.width)
        table = embedding("tokens", self, shape, 0.02, ("vocab", "embed"))
        x = layer_norm(t, "embedding_norm")(self._embed(table, ids, types).astype(t.stream))
        x = nn.Dropout(t.dropout, deterministic=not train)(x)
        allowed = attention_mask(mask, length, causal=False)
        x = transformer.Transformer(t, train, name="transformer")(x, allowed)
        pooled = self._pool(x, mask)
        logits = self._logits(x, pooled, table)
        follows = None
        if c.head in ("next_sentence", "pretraining"):
            follows = self._linear(2, "next_sentence")(pooled).astype(jnp.float32)
        return Output(x, pooled, logits, follows)

    def encode_text(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"] | None = None,
        *,
        normalize: bool = True,
    ) -> Float[Array, "B D"]:
        """Sentence embeddings: the mean of the real tokens, of unit length.

        Args:
          normalize: False: of whatever length it has.
        """
        mean = pooling.masked_mean(self(ids, mask).tokens.astype(jnp.float32), mask)
        if not normalize:
            return mean
        length = jnp.linalg.norm(mean, axis=-1, keepdims=True)
        return mean / jnp.maximum(length, 1e-12)

    def _embed(self, table: Array, ids: Array, types: Array | None) -> Array:
        """The sum of the vectors of each token, its type and its position."""
        c = self.config
        width = c.transformer.width
        length = ids.shape[1]
        if length > c.longest:
            raise ValueError(f"{length} tokens do not fit the context length {c.longest}")
        axes = ("position", "embed")
        positions = embedding("positions", self, (c.context_length, width), 0.02, axes)
        type_vectors = embedding("types", self, (c.types, width), 0.02, (None, "embed"))
        types = jnp.zeros_like(ids) if types is None else types
        # in the reference's order: types, then positions
        x = lookup(table, ids) + type_vectors[types]
        if c.padding_id is None:
            return x + positions[None, :length]
        real = ids != c.padding_id
        counted = jnp.cumsum(real, 1) + c.padding_id
        return x + lookup(positions, jnp.where(real, counted, c.padding_id))

    def _pool(self, x: Array, mask: Array | None) -> Array:
        pool = self.config.pool
        if pool == "mean":
            return pooling.masked_mean(x, mask)
        first = x[:, 0]
        if pool == "first":
            return first
        return jnp.tanh(self._linear(x.shape[-1], "pooler")(first))

    def _logits(self, tokens: Array, pooled: Array, table: Array) -> Array | None:
        c = self.config
        if c.head in ("words", "pretraining"):
            return WordHead(c, name="head")(tokens, table)
        if c.head == "classes":
            return self._linear(len(c.labels), "head")(pooled).astype(jnp.float32)
        if c.head == "choice":
            return self._linear(1, "head")(pooled).astype(jnp.float32)[:, 0]
        if c.head == "token_classes":
            return self._linear(len(c.labels), "head")(tokens).astype(jnp.float32)
        if c.head == "answer":
            return self._linear(2, "head")(tokens).astype(jnp.float32)
        return None

    def _linear(self, features: int, name: str) -> Dense:
        init = nn.initializers.normal(0.02)
        dtype = self.config.transformer.dtype
        return Dense((features,), ("embed", None), kernel_init=init, dtype=dtype, name=name)


def _sized(**sizes: int) -> transformer.Config:
    return dataclasses.replace(BODY, **sizes)


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return (jnp.zeros((1, 4), jnp.int32),)


VARIANTS = {
    "tiny": Config(transformer=_sized(width=128, layers=2, heads=2, hidden=512)),
    "MiniLM-L6": Config(transformer=_sized(width=384, layers=6, hidden=1536)),
    "B": Config(),
    "L": Config(transformer=_sized(width=1024, layers=24, heads=16, hidden=4096)),
    "RoBERTa-B": Config(
        vocab_size=50_265,
        context_length=514,
        types=1,
        transformer=dataclasses.replace(BODY, norm_epsilon=1e-5),
        padding_id=1,
        start_id=0,
        end_ids=(2,),
    ),
}
