"""Text transformer: token and position embeddings, pre-norm blocks, one pooled vector.

* CLIP's (https://arxiv.org/abs/2103.00020) is causal and pools at the end-of-text token; SigLIP's
  sees both ways and pools the last position of a fully padded caption; mean pooling serves small
  ones.
* Without blocks, mean pooling makes it a bag of words: what CLIP compared itself with
  (https://arxiv.org/abs/2103.00020, section 2.3).
* Padding is given by a mask, never guessed from ids.
* Captions may come packed, several in a row; what leaves is the same.

Letters: B batch, L tokens, D width, V vocabulary; P packs, R rows of a pack.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers import packing, pooling, transformer
from mmjax.layers.attention import attention_mask
from mmjax.layers.placement import lookup
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.typing import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: int = 49_408  # V
    context_length: int = 77  # the longest caption, tokens
    # the stack of blocks
    transformer: transformer.Config = transformer.Config(layers=2)
    causal: bool = True  # each position sees only earlier ones
    # "last": the last valid position, the end of the text
    pool: Literal["last", "mean", "attention"] = "last"
    attend_padding: bool = False  # SigLIP: padding is part of the caption
    # "last" pools at the first token of this id, whatever the mask says; -1: at the highest id of
    # the row, as CLIP's first release; None: the mask alone says where the end is
    end_id: int | None = None


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B L D"]  # after the last block and norm
    pooled: Float[Array, "B D"]


class Model(nn.Module):
    """Text tower."""

    config: Config

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "*P L"],
        mask: Bool[Array, "*P L"] | None = None,
        packed: packing.Layout | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Token ids and their validity (True = a real token; padding on the right) -> tokens and a
        pooled vector.

        Args:
          ids: [B, L], or [P, R, L] where `packed` says which token belongs to which caption.

        Raises:
          ValueError: more tokens than the context length; packed captions for a model that attends
            to padding.
        """
        c, t = self.config, self.config.transformer
        length = ids.shape[-1]
        if packed is None and length > c.context_length:
            raise ValueError(f"{length} tokens do not fit the context length {c.context_length}")
        if c.attend_padding:
            mask = None
        # std 0.02 and 0.01: OpenAI CLIP's released code
        table = embedding("tokens", self, (c.vocab_size, t.width), 0.02, ("vocab", "embed"))
        positions = embedding(
            "positions", self, (c.context_length, t.width), 0.01, ("position", "embed")
        )
        if packed is None:
            x = lookup(table, ids) + positions[None, :length]
            allowed = attention_mask(mask, length, causal=c.causal)
        else:
            if c.attend_padding:
                raise ValueError("attend_padding: packed captions have no padding to attend to")
            x = lookup(table, ids) + lookup(positions, packed.position)
            x = x.reshape(-1, length, t.width)
            allowed = packing.attention_mask(packed, causal=c.causal)
        x = transformer.Transformer(t, train, name="transformer")(x.astype(t.stream), allowed)
        tokens = layer_norm(t, "norm")(x)
        if packed is not None:
            tokens = tokens.reshape(*ids.shape, t.width)
            tokens, mask = packing.unpack(tokens, packed, c.context_length)
        if c.pool == "last" and c.end_id is not None and packed is None:
            pooled = pooling.first_of(tokens, ids, c.end_id)
        elif c.pool == "last":
            pooled = pooling.last_valid(tokens, mask)
        elif c.pool == "mean":
            pooled = pooling.masked_mean(tokens, mask)
        else:
            pooled = pooling.AttentionPool(t, name="pool")(tokens, mask)
        return Output(tokens, pooled)


class Bag(nn.Module):
    """A bag of words: the sum of one trained vector per token, over the root of their number.

    A token that training never held keeps its small first vector, and so says next to nothing.
    """

    vocab_size: int  # V
    width: int  # D

    @nn.compact
    def __call__(
        self, ids: Int[Array, "B L"], mask: Bool[Array, "B L"] | None = None
    ) -> Float[Array, "B D"]:
        """Token ids and their validity (True = a real token) -> a vector, float32."""
        mask = jnp.ones(ids.shape, bool) if mask is None else mask
        table = embedding("tokens", self, (self.vocab_size, self.width), 0.02, ("vocab", "joint"))
        count = jnp.sqrt(jnp.maximum(mask.sum(1, keepdims=True), 1).astype(table.dtype))
        return jnp.einsum("BLD,BL->BD", lookup(table, ids), mask.astype(table.dtype)) / count


VARIANTS = {
    "tiny": Config(transformer=transformer.Config(width=192, layers=2, heads=3, hidden=768)),
    "S": Config(transformer=transformer.Config(width=384, layers=12, heads=6, hidden=1536)),
    "B": Config(transformer=transformer.Config(width=512, layers=12, heads=8, hidden=2048)),
    "L": Config(transformer=transformer.Config(width=768, layers=12, heads=12, hidden=3072)),
    "H": Config(transformer=transformer.Config(width=1024, layers=24, heads=16, hidden=4096)),
    "bigG": Config(transformer=transformer.Config(width=1280, layers=32, heads=20, hidden=5120)),
}
