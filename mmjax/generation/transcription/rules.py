"""What Whisper may say when it says times (Radford et al. 2022, https://arxiv.org/abs/2212.04356).

* A text is <|0.00|> words <|2.40|><|2.40|> words <|5.00|>: times stand in pairs, but for the first
  and the last, and never go back.
* When all times together are likelier than the likeliest word, a time is said.
* The numbers are those of the released code, https://github.com/openai/whisper.

Letters: R rows, V vocabulary, T tokens of a history.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from mmjax.generation.history import History
from mmjax.generation.logits import Logits
from mmjax.typing import Array, Int


@dataclasses.dataclass(frozen=True)
class Timestamps:
    """A rule (logits, History) -> logits; equal ones are one compiled program."""

    first: int  # <|0.00|>; a higher id is a later time
    end: int  # <|endoftext|>; words are below it
    silent: int  # <|notimestamps|>, which is a thing of the prompt
    latest_start: int | None  # steps of time that a text begins after at most; None: any

    def __call__(self, logits: Logits, history: History) -> Logits:
        ids = jnp.arange(logits.shape[-1])[None]
        time = ids >= self.first
        last = _is_time(self, history, 1)
        before = _is_time(self, history, 2)
        # behind a pair of times, and behind the first one, comes a word
        barred = time & (last & (before | (history.said < 2)))[:, None]
        # behind a time that ends words comes its twin, or the end of the text
        closing = last & ~before & (history.said >= 2)
        barred |= (ids < self.end) & closing[:, None]
        latest = _latest(self, history)
        lowest = jnp.where(closing, latest, latest + 1)  # words have a length
        barred |= time & (ids < lowest[:, None])
        at_start = ids < self.first
        if self.latest_start is not None:
            at_start |= ids > self.first + self.latest_start
        barred |= at_start & (history.said == 0)
        barred |= ids == self.silent
        logits = jnp.where(barred, -jnp.inf, logits)

        times = jax.nn.logsumexp(jnp.where(time, logits, -jnp.inf), axis=-1, keepdims=True)
        word = jnp.where(time, -jnp.inf, logits).max(-1, keepdims=True)
        return jnp.where(~time & (times > word), -jnp.inf, logits)


def _is_time(rule: Timestamps, history: History, back: int) -> Array:
    """Whether the token so many places back was said, and is a time, [R]."""
    place = history.prompt + history.said - back
    token = jax.lax.dynamic_slice_in_dim(history.ids, jnp.maximum(place, 0), 1, axis=1)[:, 0]
    return (token >= rule.first) & (history.said >= back)


def _latest(rule: Timestamps, history: History) -> Int[Array, " R"]:
    """The last time that was said; before any, the id below the first."""
    behind = jnp.arange(history.ids.shape[1])[None] >= history.prompt
    said = jnp.where(behind & history.real, history.ids, 0)
    return jnp.maximum(said.max(1), rule.first - 1)
