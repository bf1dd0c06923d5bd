"""Greedy decoding and sampling: one token of every row at a time.

* `advance` is one step; `run` repeats it on the device until all rows have ended, `stream` from the
  host, token by token.
* A row's random numbers come from its own key and the number of the token alone: they do not depend
  on its batch mates, on padding, or on whether tokens are streamed.

Letters: R rows, V vocabulary, N new tokens at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.generation import logits as rules
from mmjax.generation.history import History
from mmjax.generation.options import Options
from mmjax.layers.cache import Cache
from mmjax.layers.decoding import Step
from mmjax.typing import Array, Bool, Float, Int, Key

# (tokens [R, 1], cache, mask [R, 1]) -> Step
Extend = Callable[[Array, Cache, Array], Step]


class State(NamedTuple):
    """Behind a token that was said and not yet read."""

    cache: Cache
    history: History
    tokens: Int[Array, "R N"]  # said so far, padding behind
    log_probs: Float[Array, "R N"]  # of each; 0 behind
    ended: Bool[Array, " R"]
    keys: Key[Array, " R"]


def begin(step: Step, history: History, keys: Key[Array, " R"], options: Options) -> State:
    """Says the first token behind a prompt.

    Args:
      step: of the prompt; the last logits count.
    """
    rows = len(step.logits)
    shape = (rows, options.max_new_tokens)
    tokens = jnp.full(shape, options.padding_id, jnp.int32)
    ended = jnp.zeros(rows, bool)
    return _say(options, step, State(step.cache, history, tokens, jnp.zeros(shape), ended, keys))


def advance(extend: Extend, options: Options, state: State) -> State:
    """Reads the last token of each row, and says one more in those that have not ended."""
    last = jax.lax.dynamic_slice_in_dim(state.tokens, state.history.said - 1, 1, axis=1)
    step = extend(last, state.cache, ~state.ended[:, None])
    return _say(options, step, state)


def longer(state: State, options: Options, tokens: int) -> State:
    """The same with room for so many more tokens."""
    more = [(0, 0), (0, tokens)]
    past = jax.tree.map(
        lambda x: jnp.pad(x, [(0, 0), (0, 0), (0, tokens), (0, 0), (0, 0)]), state.cache.past
    )
    read = state.history
    return state._replace(
        cache=state.cache._replace(past=past, valid=jnp.pad(state.cache.valid, more)),
        history=read._replace(ids=jnp.pad(read.ids, more), real=jnp.pad(read.real, more)),
        tokens=jnp.pad(state.tokens, more, constant_values=options.padding_id),
        log_probs=jnp.pad(state.log_probs, more),
    )


def done(options: Options, state: State) -> Bool[Array, ""]:
    """Whether nothing is left to say."""
    return state.ended.all() | (state.history.said >= options.max_new_tokens)


def run(extend: Extend, options: Options, state: State) -> State:
    """All tokens."""
    return jax.lax.while_loop(
        lambda state: ~done(options, state),
        lambda state: advance(extend, options, state),
        state,
    )


def _say(options: Options, step: Step, state: State) -> State:
    said = state.history.said
    logits = step.logits[:, -1].astype(jnp.float32)
    allowed = rules.apply(rules.processors(options), logits, state.history)
    token = choose(options, allowed, state.history, state.keys)
    log_probs = jax.nn.log_softmax(allowed if options.renormalised else logits)
    log_prob = jnp.take_along_axis(log_probs, token[:, None], axis=1)[:, 0]
    running = ~state.ended
    token = jnp.where(running, token, options.padding_id)
    return State(
        cache=step.cache,
        history=state.history.add(token, running),
        tokens=state.tokens.at[:, said].set(token),
        log_probs=state.log_probs.at[:, said].set(jnp.where(running, log_prob, 0.0)),
        ended=state.ended | is_end(token, options),
        keys=state.keys,
    )


def choose(
    options: Options, logits: Float[Array, "R V"], history: History, keys: Key[Array, " R"]
) -> Int[Array, " R"]:
    """The next token of each row, from logits that the rules have been applied to."""
    if not options.temperature:
        return logits.argmax(-1).astype(jnp.int32)
    logits = rules.narrowed(options, logits)
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, history.said)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def is_end(token: Int[Array, "*R"], options: Options) -> Bool[Array, "*R"]:
    """Whether a token ends its row."""
    return jnp.isin(token, jnp.array(options.end_ids, jnp.int32))
