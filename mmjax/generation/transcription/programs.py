"""What is compiled to write windows down: encode, the first token, the whole text.

* Most texts are short: they are written into a short cache, and what has not ended goes on in one
  of full length.

Letters: B windows, T frames, M mel bins, C encoded frames, P tokens of a prompt, N new tokens at
    most, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.generation import beams, decode, history
from mmjax.generation.options import Options
from mmjax.layers.cache import KeyValues
from mmjax.typing import Array, Bool, Float, Int, Key

SHORT = 48  # new tokens that most windows need at most


class Written(NamedTuple):
    """Texts of windows, as numpy arrays."""

    tokens: Int[np.ndarray, "B N"]
    lengths: Int[np.ndarray, " B"]  # the end included
    log_probs: Float[np.ndarray, "B N"]  # of each token; 0 behind
    no_speech: Float[np.ndarray, " B"]  # probability of that token


@functools.partial(jax.jit, static_argnums=0)
def encode(
    model: nn.Module, variables: Mapping[str, Any], features: Float[Array, "B T M"]
) -> KeyValues:
    """What the decoder reads of windows, [layers, B, C, N, H]."""
    encoded = model.apply(variables, features, method="encode_audio")
    return model.apply(variables, encoded, method="cross_kv")


@functools.partial(jax.jit, static_argnums=0)
def first_logits(
    model: nn.Module, variables: Mapping[str, Any], context: KeyValues, start: Int[Array, "B 1"]
) -> Float[Array, "B V"]:
    """Of what follows a first token."""
    return model.apply(variables, start, context=context, method="decode").logits[:, 0]


def write(
    model: nn.Module,
    options: Options,
    no_speech: int,
    variables: Mapping[str, Any],
    context: KeyValues,
    ids: Int[np.ndarray, "B P"],
    mask: Bool[np.ndarray, "B P"],
    places: Int[np.ndarray, "B 2"],
    keys: Key[Array, " B"],
) -> Written:
    """Texts behind prompts.

    Args:
      no_speech: a token whose probability is told.
      ids: prompts, padded on the left.
      places: in them, of <|startoftranscript|> and of the last token.
    """
    prompt = (no_speech, variables, context, ids, mask, places)
    if options.beams > 1:
        best, silence = _beams(model, options, *prompt)
        tokens = best.tokens[:, 0]
        log_probs = best.log_probs[:, 0]
    else:
        short = min(SHORT, options.max_new_tokens)
        at_first = dataclasses.replace(options, max_new_tokens=short)
        state, silence = _begin(model, at_first, *prompt, keys)
        if short < options.max_new_tokens and not bool(state.ended.all()):
            state = _go_on(model, options, short, variables, state)
        tokens = state.tokens
        log_probs = state.log_probs
    tokens = np.asarray(tokens)
    ends = tokens == options.end_ids[0]
    lengths = np.where(ends.any(1), ends.argmax(1) + 1, tokens.shape[1])
    return Written(tokens, lengths, np.asarray(log_probs), np.asarray(silence))


def _prefill(model, options, no_speech, variables, context, ids, mask, places):
    """The model behind the prompts, what was read, and the probability of silence."""
    step = model.apply(
        variables, ids, mask, context=context, slots=ids.shape[1] + options.max_new_tokens,
        logits_at=places, method="prefill",
    )  # fmt: skip
    silence = jax.nn.softmax(step.logits[:, 0].astype(jnp.float32))[:, no_speech]
    read = history.start(ids, mask, len(ids), options.max_new_tokens)
    return step._replace(logits=step.logits[:, 1:]), read, silence


def _extend(model, variables) -> decode.Extend:
    return lambda token, cache, mask: model.apply(variables, token, cache, mask, method="extend")


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _begin(model, options, no_speech, variables, context, ids, mask, places, keys):
    arguments = (variables, context, ids, mask, places)
    step, read, silence = _prefill(model, options, no_speech, *arguments)
    state = decode.begin(step, read, keys, options)
    return decode.run(_extend(model, variables), options, state), silence


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _go_on(model, options, short, variables, state):
    state = decode.longer(state, options, options.max_new_tokens - short)
    return decode.run(_extend(model, variables), options, state)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _beams(model, options, no_speech, variables, context, ids, mask, places):
    arguments = (variables, context, ids, mask, places)
    step, read, silence = _prefill(model, options, no_speech, *arguments)
    state = beams.begin(step, read, options)
    return beams.run(_extend(model, variables), options, state), silence
