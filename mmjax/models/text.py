"""Text transformer: token and position embeddings, pre-norm blocks, one pooled vector.

* CLIP's (https://arxiv.org/abs/2103.00020) is causal and pools at the end-of-text token; SigLIP's
  sees both ways and pools the final position of a caption that is padded in full and read with its
  padding; mean pooling serves small ones.
* Without blocks, mean pooling makes it a bag of words: what CLIP compared itself with
  (https://arxiv.org/abs/2103.00020, section 2.3).
* Padding is given by a mask, never guessed from ids.
* Captions may come packed, several in a row; what leaves is the same.
* `apply(..., mutable=["intermediates"])` gives "transformer/hidden_states" [layers + 1, B, L, D]:
  what goes into the first block, and what leaves each.

Letters: B batch, L tokens, D width, V vocabulary; P packs, R rows of a pack.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import packing, pooling, transformer
from mmjax.layers.attention import attention_mask
from mmjax.layers.placement import lookup
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.typing import Array, Bool, Float, Int, Positive


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: Positive = 49_408  # V
    context_length: Positive = 77  # the longest caption, tokens
    # the stack of blocks
    transformer: transformer.Config = transformer.Config(layers=2)
    causal: bool = True  # each position sees only earlier ones
    # "last": the last valid position, the end of the text; "final": the last one of the row,
    # padding or not
    pool: Literal["last", "final", "mean", "attention"] = "last"
    attend_padding: bool = False  # SigLIP's training: padding is read like words, masks are unused
    # pool="last" pools at the first token of this id, whatever the mask says; -1: at the highest id
    # of the row, as CLIP's first release; None: the mask alone says where the end is
    end_id: int | None = None
    pad_id: int | None = None  # of padding, as checkpoints say it; nothing is computed from it
    start_id: int | None = None  # likewise, of what stands before a caption

    @property
    def padded_in_full(self) -> bool:
        """Whether a caption's padding changes its vector: all are padded to one length then."""
        return self.attend_padding or self.pool == "final"


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
        mask: Bool[Array, "*P L"] | Int[Array, "*P L"] | None = None,
        packed: packing.Layout | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Token ids and their validity (True or 1 = a real token; padding on the right) -> tokens
        and a pooled vector.

        Args:
          ids: [B, L], or [P, R, L] where `packed` says which token belongs to which caption.

        Raises:
          ValueError: more tokens than the context length.
          ConfigError: packed captions for a model that attends to padding.
        """
        c = self.config
        t = c.transformer
        length = ids.shape[-1]
        if packed is None and length > c.context_length:
            raise ValueError(f"{length} tokens do not fit the context length {c.context_length}")
        mask = None if mask is None or c.attend_padding else mask.astype(bool)
        # std 0.02 and 0.01: OpenAI CLIP's released code
        table = embedding("tokens", self, (c.vocab_size, t.width), 0.02, ("vocab", "embed"))
        positions = embedding(
            "positions", self, (c.context_length, t.width), 0.01, ("position", "embed")
        )
        if packed is None:
            x = lookup(table, ids) + positions[None, :length]
            allowed = attention_mask(mask, length, causal=c.causal)
        else:
            if c.padded_in_full:
                raise ConfigError(
                    "packed captions have no padding to attend to: set data.processor.pack=0"
                )
            x = lookup(table, ids) + lookup(positions, packed.position)
            x = x.reshape(-1, length, t.width)
            allowed = packing.attention_mask(packed, causal=c.causal)
        x = x.astype(t.stream)
        x = transformer.Transformer(t, train, name="transformer")(x, allowed)
        tokens = layer_norm(t, "norm")(x)
        if packed is not None:
            tokens = tokens.reshape(*ids.shape, t.width)
            tokens, mask = packing.unpack(tokens, packed, c.context_length)
        if c.pool == "last" and c.end_id is not None and packed is None:
            pooled = pooling.first_of(tokens, ids, c.end_id)
        elif c.pool == "last":
            pooled = pooling.last_valid(tokens, mask)
        elif c.pool == "final":
            pooled = tokens[:, -1]
        elif c.pool == "mean":
            pooled = pooling.masked_mean(tokens, mask)
        else:
            pooled = pooling.AttentionPool(t, name="pool")(tokens, mask)
        return Output(tokens, pooled)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    return (jax.ShapeDtypeStruct((1, config.context_length), jnp.int32),)


VARIANTS = {
    "tiny": Config(transformer=transformer.Config(width=192, layers=2, heads=3, hidden=768)),
    "S": Config(transformer=transformer.Config(width=384, layers=12, heads=6, hidden=1536)),
    "B": Config(transformer=transformer.Config(width=512, layers=12, heads=8, hidden=2048)),
    "L": Config(transformer=transformer.Config(width=768, layers=12, heads=12, hidden=3072)),
    "H": Config(transformer=transformer.Config(width=1024, layers=24, heads=16, hidden=4096)),
    "bigG": Config(transformer=transformer.Config(width=1280, layers=32, heads=20, hidden=5120)),
}
