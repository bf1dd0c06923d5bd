"""A text tower beside trained word vectors, each with half of the embedding.

* A locked tower (LiT, https://arxiv.org/abs/2111.07991) cannot learn a word; a bag of words can:
  the sum of one trained vector per token, over the root of their number.
* In training one of every two neighbouring captions is read by the tower alone, the other by the
  bag alone, as a coin falls; the other half of the vector is zero. So neither leans on the other.
  Afterwards each caption is read by both.
* Each half is a unit vector (`parts`), so that a cosine is the mean of two.

Letters: B batch, L tokens, D width of a half, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.dense import Dense
from mmjax.layers.placement import lookup
from mmjax.layers.transformer import embedding
from mmjax.models import bert, text
from mmjax.typing import Array, Bool, Float, Int, Positive


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: Positive = 49_408  # V, of the word vectors; the tower may know more
    context_length: Positive = 77  # the longest caption, tokens; the tower may take longer ones
    width: Positive = 96  # D, of each half: vectors have twice as many entries
    tower: text.Config | bert.Config = text.VARIANTS["tiny"]  # the text tower

    def __post_init__(self) -> None:
        for field in ("vocab_size", "context_length"):
            if getattr(self.tower, field) < getattr(self, field):
                raise ValueError(  # the config's door says where
                    f"tower.{field}={getattr(self.tower, field)}, but captions need "
                    f"{getattr(self, field)}: the tokenizer is another one's, or the tower's "
                    "table is too short"
                )

    @property
    def parts(self) -> int:
        """Unit vectors in one vector."""
        return 2


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "C L E"]  # of the captions that the inner tower read, C = B or B / 2
    pooled: Float[Array, "B 2*D"]  # the inner tower's half, then the bag's


class Bag(nn.Module):
    """A bag of words: the sum of one trained vector per token, over the root of their number.

    A token that training never held keeps its small first vector, and so says next to nothing.
    """

    vocab_size: Positive  # V
    width: Positive  # D

    @nn.compact
    def __call__(self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        """Token ids and their validity (True = a real token) -> a vector, float32."""
        table = embedding("tokens", self, (self.vocab_size, self.width), 0.02, ("vocab", "joint"))
        count = jnp.maximum(mask.sum(1, keepdims=True), 1)
        total = jnp.einsum("BLD,BL->BD", lookup(table, ids), mask.astype(table.dtype))
        return total / jnp.sqrt(count.astype(table.dtype))


class Model(nn.Module):
    """Text tower."""

    config: Config

    def setup(self):
        c = self.config
        body = c.tower.transformer
        self.tower = importlib.import_module(type(c.tower).__module__).Model(c.tower)
        self.head = Dense(
            (c.width,),
            ("embed", "joint"),
            bias=False,
            kernel_init=nn.initializers.normal(body.width**-0.5),
            dtype=body.dtype,
        )
        self.bag = Bag(c.vocab_size, c.width)

    def __call__(
        self,
        ids: Int[Array, "B L"],
        mask: Bool[Array, "B L"] | Int[Array, "B L"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Token ids and their validity (True = a real token) -> tokens and a pooled vector.

        Raises:
          ValueError: an odd number of captions to train on.
        """
        mask = jnp.ones(ids.shape, bool) if mask is None else mask.astype(bool)
        if not train:
            tokens, by_tower = self._read_by_tower(ids, mask)
            return Output(tokens, jnp.concatenate([by_tower, self.bag(ids, mask)], 1))
        if len(ids) % 2:
            raise ValueError(f"{len(ids)} captions cannot be divided between two readers")
        # One of every two neighbours goes to the tower, so that rows stay on their devices. A coin
        # says which, as a mixture may put one source on all even rows.
        coin = jax.random.bernoulli(self.make_rng("dropout"), shape=(len(ids) // 2, 1, 1))
        ids = swapped(ids.reshape(-1, 2, ids.shape[1]), coin)
        mask = swapped(mask.reshape(-1, 2, mask.shape[1]), coin)
        tokens, by_tower = self._read_by_tower(ids[:, 0], mask[:, 0], train=True)
        by_bag = self.bag(ids[:, 1], mask[:, 1])
        nothing = jnp.zeros_like(by_tower)  # in the other reader's half
        read_by_tower = jnp.concatenate([by_tower, nothing], 1)
        read_by_bag = jnp.concatenate([nothing, by_bag], 1)
        pairs = swapped(jnp.stack([read_by_tower, read_by_bag], 1), coin)
        return Output(tokens, pairs.reshape(-1, 2 * self.config.width))

    def _read_by_tower(self, ids: Array, mask: Array, train: bool = False) -> tuple[Array, Array]:
        read = self.tower(ids, mask, train=train)
        return read.tokens, self.head(read.pooled).astype(jnp.float32)


def swapped(
    pairs: Float[Array, "C 2 X"] | Int[Array, "C 2 X"] | Bool[Array, "C 2 X"],
    coin: Bool[Array, "C 1 1"],
) -> Array:
    """The two of each pair in the other order where the coin says so."""
    return jnp.where(coin, pairs[:, ::-1], pairs)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    return (jax.ShapeDtypeStruct((1, config.context_length), jnp.int32),)


VARIANTS = {
    "tiny": Config(),
    # a sentence encoder to lock
    "MiniLM-L6": Config(
        30_522, 128, 192, dataclasses.replace(bert.VARIANTS["MiniLM-L6"], pool="mean")
    ),
}
