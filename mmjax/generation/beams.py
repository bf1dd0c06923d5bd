"""Beam search: K texts of every prompt are followed side by side, the best finished ones returned.

* Scores, ties and the ways to stop are those of `transformers` (5.x), token for token. Its two
  rules that differ from the textbook: with `early_stopping=False` a prompt is done when its best
  running text, at its present length, scores below its worst finished one; and texts that reach N
  tokens count as finished.
* The cache follows the beams; what all beams of a prompt share (a cross-attention context) stays
  where it is.

Letters: B prompts, K beams, R = B * K rows, M candidates of a prompt, V vocabulary, N new tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmjax.generation import logits as rules
from mmjax.generation.decode import Extend, is_end
from mmjax.generation.history import History
from mmjax.generation.options import Options
from mmjax.layers.cache import Cache
from mmjax.layers.decoding import Step
from mmjax.typing import Array, Bool, Float, Int

NEVER = -1e9  # added to the score of what cannot be chosen


class Finished(NamedTuple):
    """The best finished texts of each prompt, best first."""

    tokens: Int[Array, "B K N"]
    log_probs: Float[Array, "B K N"]
    scores: Float[Array, "B K"]
    there: Bool[Array, "B K"]  # False: a place that no text has taken yet


class State(NamedTuple):
    """Behind tokens that were said and not yet read."""

    cache: Cache
    rows: Int[Array, " R"]  # of the cache, that each running text goes on from
    history: History
    tokens: Int[Array, "B K N"]  # of the running texts
    log_probs: Float[Array, "B K N"]  # of each of their tokens
    scores: Float[Array, "B K"]  # sums of log-probabilities
    finished: Finished
    hopeful: Bool[Array, " B"]  # a running text may still become better than a finished one
    running: Bool[Array, ""]  # there is a text to go on with


def begin(step: Step, history: History, options: Options) -> State:
    """Says the first tokens behind the prompts.

    Args:
      step: of B prompts.
      history: of B prompts.
    """
    beams = options.beams
    batch = len(step.logits)
    rows = jnp.repeat(jnp.arange(batch), beams)
    shape = (batch, beams, options.max_new_tokens)
    tokens = jnp.full(shape, options.padding_id, jnp.int32)
    zeros = jnp.zeros(shape)
    nothing = jnp.full(shape[:2], NEVER)
    state = State(
        cache=step.cache.take(rows),
        rows=jnp.arange(len(rows)),
        history=history.take(rows),
        tokens=tokens,
        log_probs=zeros,
        # All beams are equal at first: only the first one is followed.
        scores=nothing.at[:, 0].set(0.0),
        finished=Finished(tokens, zeros, nothing, jnp.zeros(shape[:2], bool)),
        hopeful=jnp.ones(batch, bool),
        running=jnp.array(True),
    )
    return _say(options, step.logits[rows, -1], state)


def advance(extend: Extend, options: Options, state: State) -> State:
    """Reads the last token of each running text, and follows the K best continuations."""
    said = state.history.said
    last = jax.lax.dynamic_slice_in_dim(state.tokens, said - 1, 1, axis=2).reshape(-1, 1)
    cache = state.cache.take(state.rows)._replace(context=state.cache.context)
    step = extend(last, cache, jnp.ones(last.shape, bool))
    return _say(options, step.logits[:, -1], state._replace(cache=step.cache))


def _say(options: Options, logits: Float[Array, "R V"], state: State) -> State:
    beams = options.beams
    batch = len(state.tokens)
    said = state.history.said

    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    log_probs = rules.apply(rules.processors(options), log_probs, state.history)
    if options.renormalised:
        log_probs = jax.nn.log_softmax(log_probs)
    candidates = _candidates(options, state, log_probs.reshape(batch, beams, -1))
    last = said + 1 == options.max_new_tokens
    ends = is_end(candidates.token, options) | last

    scores, order = jax.lax.top_k(candidates.score + jnp.where(ends, NEVER, 0.0), beams)
    chosen = _take(candidates, order)
    finished = _with_finished(options, state, candidates, ends)

    rows = (jnp.arange(batch)[:, None] * beams + chosen.beam).reshape(-1)
    token = chosen.token.reshape(-1)
    best = scores[:, 0] / _length(options, said + 1) ** options.length_penalty
    worst = jnp.where(finished.there, finished.scores.min(1, keepdims=True), NEVER)
    hopeful = state.hopeful & (best[:, None] > worst).any(1)
    running = hopeful.any() & ~ends.all()
    if options.early_stopping is True:
        running &= ~finished.there.all()
    return State(
        cache=state.cache,
        rows=rows,
        history=state.history.take(rows).add(token, jnp.ones(token.shape, bool)),
        tokens=chosen.tokens,
        log_probs=chosen.log_probs,
        scores=scores,
        finished=finished,
        hopeful=hopeful,
        running=running,
    )


def run(extend: Extend, options: Options, state: State) -> Finished:
    """All tokens."""
    state = jax.lax.while_loop(
        lambda state: state.running, lambda state: advance(extend, options, state), state
    )
    return state.finished


class Candidates(NamedTuple):
    """The M best continuations of each prompt, best first."""

    score: Float[Array, "B M"]
    beam: Int[Array, "B M"]  # the running text that is continued
    token: Int[Array, "B M"]
    tokens: Int[Array, "B M N"]
    log_probs: Float[Array, "B M N"]


def _candidates(options: Options, state: State, log_probs: Array) -> Candidates:
    batch, beams, vocab = log_probs.shape
    # So many that K are left when all ends of the best are among them.
    count = max(2, 1 + len(options.end_ids)) * beams
    total = (log_probs + state.scores[..., None]).reshape(batch, beams * vocab)
    score, index = jax.lax.top_k(total, count)
    beam = index // vocab
    token = index % vocab
    said = state.history.said
    log_prob = jnp.take_along_axis(log_probs.reshape(batch, -1), index, axis=1)
    tokens = jnp.take_along_axis(state.tokens, beam[..., None], axis=1).at[:, :, said].set(token)
    before = jnp.take_along_axis(state.log_probs, beam[..., None], axis=1)
    return Candidates(score, beam, token, tokens, before.at[:, :, said].set(log_prob))


def _with_finished(
    options: Options, state: State, candidates: Candidates, ends: Array
) -> Finished:
    """The best K of the finished texts and of the candidates that have just ended."""
    # Only the K best candidates may finish; the others are there to go on with.
    ends &= (jnp.arange(ends.shape[1]) < options.beams)[None]
    score = candidates.score / (state.history.said + 1.0) ** options.length_penalty
    barred = ~ends | ~state.hopeful[:, None]
    if options.early_stopping is True:
        barred |= state.finished.there.all(1, keepdims=True)
    score = jnp.where(barred, score + NEVER, score)
    new = Finished(candidates.tokens, candidates.log_probs, score, ends)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), state.finished, new)
    _, order = jax.lax.top_k(both.scores, options.beams)
    return _take(both, order)


def _length(options: Options, said: Array) -> Array | float:
    """The length that a running text is judged at."""
    if options.early_stopping == "never" and options.length_penalty > 0:
        return float(options.max_new_tokens)
    return said.astype(jnp.float32)


def _take(rows: Any, order: Array) -> Any:
    """Entries `order` [B, k] of arrays [B, M, ...]."""

    def taken(x: Array) -> Array:
        index = order.reshape(order.shape + (1,) * (x.ndim - 2))
        return jnp.take_along_axis(x, index, axis=1)

    return jax.tree.map(taken, rows)
