"""What every decoder of the house takes and returns: one contract for GPT-2, Llama, Whisper, BLIP.

    embed(ids)                                 token ids -> what the model reads, [B, L, D]
    model(inputs, mask, ...)                   whole sequences -> Output
    prefill(inputs, mask, slots=..., ...)      prompts into a new cache -> Step
    extend(inputs, cache, mask, ...)           the next tokens -> Step
    logits(tokens)                             of what leaves the last norm

* `inputs` are token ids [B, L] or embeddings [B, L, D]: a picture's patches between words.
* `mask` [B, L]: True or 1 = a real token; padding may stand on either side; None: all are real.
* `logits_at`: "all", "last" (of each row's last real token, [B, 1, V]), "none" (for a loss that
  takes `logits` of a part at a time), or places [B, Q]. A prefill of 8,192 tokens over 256,000
  words need not form them all.
* `prefix` [B, L]: tokens that see each other both ways; one call reads the whole prefix.
* `segment` [B, L], of whole sequences: which text of its row a token belongs to.
* `context` and `context_mask`, where there is cross-attention: hidden states [B, C, E], or the keys
  and values that `cross_kv` made of them.
* `check(prompt)`, where there is one: refuses arguments of `prefill`, by name, before anything
  compiles, which would be read wrongly.
* Hidden states and attention weights on request: layers/stack.py, layers/attention.py.

Letters: B batch, L tokens, Q places asked for, C positions of a context, D and E widths, V
    vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from mmjax.layers.cache import Cache
from mmjax.layers.places import LogitsAt, as_mask, tokens_at
from mmjax.typing import Array, Bool, Float, Int, Shaped

Inputs = Int[Array, "B L"] | Float[Array, "B L D"]  # token ids or embeddings


class Output(NamedTuple):
    """What a decoder says to whole sequences."""

    tokens: Float[Array, "B L D"]  # after the last block and norm
    logits: Float[Array, "B Q V"] | None  # of the token after each, float32


class Step(NamedTuple):
    """The same for new tokens, and what the next ones need."""

    tokens: Float[Array, "B L D"]
    logits: Float[Array, "B Q V"] | None
    cache: Cache


def logits_at_places(
    logits: Callable[[Array], Array], tokens: Array, logits_at: LogitsAt, valid: Array
) -> Array | None:
    """A decoder's logits of the tokens that are asked for, [B, Q, V]; None where none are."""
    if isinstance(logits_at, str) and logits_at == "none":
        return None
    return logits(tokens_at(tokens, logits_at, valid))


def real_tokens(inputs: Inputs, mask: Shaped[Array, "B L"] | None) -> Bool[Array, "B L"]:
    """The mask of a batch: as it is given, or all."""
    return jnp.ones(inputs.shape[:2], bool) if mask is None else as_mask(mask)
