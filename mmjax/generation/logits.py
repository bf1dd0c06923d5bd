"""What may be said next: small functions (logits, History) -> logits that compose.

* -inf: never. The order is that of `transformers`, so that the same options give the same tokens.
* Nucleus sampling: https://arxiv.org/abs/1904.09751; min-p: https://arxiv.org/abs/2407.01082; the
  repetition penalty is CTRL's, https://arxiv.org/abs/1909.05858.

Letters: R rows, V vocabulary, T tokens of a history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from mmjax.generation.history import History
from mmjax.generation.options import Options
from mmjax.typing import Array, Float

Logits = Float[Array, "R V"]
Processor = Callable[[Logits, History], Logits]


def processors(options: Options) -> list[Processor]:
    """Of penalties and rules; temperature and what narrows the draw come behind (`narrowed`)."""
    out: list[Processor] = []
    if options.repetition_penalty != 1:
        out.append(repetition_penalty(options.repetition_penalty))
    if options.no_repeat_ngram:
        out.append(no_repeat_ngram(options.no_repeat_ngram))
    if options.min_new_tokens and options.end_ids:
        out.append(suppressed(options.end_ids, until=options.min_new_tokens))
    if options.forced_end is not None:
        out.append(forced((options.forced_end,), first=options.max_new_tokens - 1))
    if options.suppressed:
        out.append(suppressed(options.suppressed, until=options.max_new_tokens))
    if options.suppressed_first:
        out.append(suppressed(options.suppressed_first, until=1))
    if options.forced:
        out.append(forced(options.forced))
    return [*out, *options.processors]


def apply(rules: Iterable[Processor], logits: Logits, history: History) -> Logits:
    for rule in rules:
        logits = rule(logits, history)
    return logits


def repetition_penalty(penalty: float) -> Processor:
    """Logits of what was read or said: divided where they are positive, else multiplied."""

    def rule(logits: Logits, history: History) -> Logits:
        rows = jnp.arange(len(logits))[:, None]
        seen = jnp.zeros(logits.shape, bool).at[rows, history.ids].max(history.real)
        lower = jnp.where(logits > 0, logits / penalty, logits * penalty)
        return jnp.where(seen, lower, logits)

    return rule


def no_repeat_ngram(length: int) -> Processor:
    """Forbids tokens that would end a sequence of `length` tokens that was there before."""

    def rule(logits: Logits, history: History) -> Logits:
        ids = history.ids
        rows, total = ids.shape
        if total < length:
            return logits
        end = history.prompt + history.said  # where the next token goes
        # windows [R, W, length - 1], and the token behind each
        first = jnp.arange(total - length + 1)
        places = first[:, None] + jnp.arange(length - 1)[None]
        windows = ids[:, places]
        behind = first + length - 1
        real = history.real[:, places].all(-1) & history.real[:, behind]
        start = end - length + 1
        last = jax.lax.dynamic_slice_in_dim(ids, start, length - 1, axis=1)
        last_real = jax.lax.dynamic_slice_in_dim(history.real, start, length - 1, axis=1).all(-1)
        same = (windows == last[:, None]).all(-1) & real & last_real[:, None]
        same &= start >= 0  # else the slices above were moved
        row = jnp.arange(rows)[:, None]
        forbidden = jnp.zeros(logits.shape, bool).at[row, ids[:, behind]].max(same)
        return jnp.where(forbidden, -jnp.inf, logits)

    return rule


def suppressed(ids: tuple[int, ...], *, until: int) -> Processor:
    """Forbids tokens while fewer than `until` were said."""

    def rule(logits: Logits, history: History) -> Logits:
        without = logits.at[:, jnp.array(ids)].set(-jnp.inf)
        return jnp.where(history.said < until, without, logits)

    return rule


def forced(ids: tuple[int, ...], *, first: int = 0) -> Processor:
    """The new tokens from number `first` on are these: nothing else is possible."""

    def rule(logits: Logits, history: History) -> Logits:
        number = history.said - first
        wanted = jnp.array(ids)[jnp.clip(number, 0, len(ids) - 1)]
        alone = jnp.where(jnp.arange(logits.shape[-1]) == wanted, 0.0, -jnp.inf)
        return jnp.where((number >= 0) & (number < len(ids)), alone, logits)

    return rule


def narrowed(options: Options, logits: Logits) -> Logits:
    """The logits that a token is drawn by: temperature, then top-k, top-p, min-p."""
    logits = logits / options.temperature
    if 0 < options.top_k < logits.shape[-1]:
        logits = top_k(logits, options.top_k)
    if options.top_p < 1:
        logits = top_p(logits, options.top_p)
    if options.min_p:
        logits = min_p(logits, options.min_p)
    return logits


def top_k(logits: Logits, k: int) -> Logits:
    """Only the k likeliest tokens, and what ties with the last of them."""
    least = jax.lax.top_k(logits, k)[0][:, -1:]
    return jnp.where(logits < least, -jnp.inf, logits)


def top_p(logits: Logits, p: float) -> Logits:
    """Only the likeliest tokens, as few as together have probability p; at least one."""
    order = jnp.argsort(-logits, axis=-1)
    probability = jnp.take_along_axis(jax.nn.softmax(logits, -1), order, axis=-1)
    before = jnp.cumsum(probability, -1) - probability
    kept = jnp.zeros(logits.shape, bool)
    kept = kept.at[jnp.arange(len(logits))[:, None], order].set(before < p)
    return jnp.where(kept, logits, -jnp.inf)


def min_p(logits: Logits, p: float) -> Logits:
    """Only tokens with at least the p-th part of the likeliest one's probability."""
    best = logits.max(-1, keepdims=True)
    return jnp.where(logits < best + jnp.log(p), -jnp.inf, logits)
