"""How text is generated: one frozen dataclass, checked before anything compiles.

* Temperature 0, the default, takes the likeliest token; with `beams` above 1 it is beam search.
* Whatever narrows or moves the choice (penalties, forced and forbidden tokens, top-k and so on)
  holds for all three: greedy, sampling, beams.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from mmjax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Options:
    max_new_tokens: int = 64  # N: tokens of an answer at most, its end included
    min_new_tokens: int = 0  # before so many, no token ends an answer
    end_ids: tuple[int, ...] = ()  # tokens that end an answer; none: it has all N tokens
    padding_id: int = 0  # fills the rest of an answer that has ended

    temperature: float = 0.0  # divides the logits; 0: the likeliest token is taken
    top_k: int = 0  # only the k likeliest tokens may be drawn; 0: all
    top_p: float = 1.0  # only the likeliest that together have this probability
    min_p: float = 0.0  # only those with this share of the likeliest one's probability
    repetition_penalty: float = 1.0  # above 1: what was read or said becomes less likely
    no_repeat_ngram: int = 0  # no sequence of so many tokens occurs twice; 0: it may
    suppressed: tuple[int, ...] = ()  # tokens that are never said
    suppressed_first: tuple[int, ...] = ()  # tokens that are not said first
    forced: tuple[int, ...] = ()  # the first tokens of every answer, whatever the model says
    forced_end: int | None = None  # the last token of an answer that would be longer than N

    # log-probabilities are of what the rules allow; else of all tokens, as the model has them
    renormalised: bool = False

    beams: int = 1  # K: texts that are followed side by side for each prompt
    length_penalty: float = 1.0  # a text's score is its log-probability / length ** this
    # True: a prompt is done with K finished texts; False: when the best running one, at its length,
    # is no better than the worst of them; "never": when it can become no better
    early_stopping: bool | Literal["never"] = False
    returns: int = 1  # answers for each prompt: the best beams, or independent samples

    # of the cache's keys and values; None: the model's own
    cache_dtype: Literal["float32", "bfloat16"] | None = None
    # more functions (logits, History) -> logits, after those above and before temperature
    processors: tuple[Callable, ...] = ()

    def __post_init__(self) -> None:
        for name, low in {
            "max_new_tokens": 1, "min_new_tokens": 0, "temperature": 0, "top_k": 0,
            "no_repeat_ngram": 0, "beams": 1, "returns": 1,
        }.items():  # fmt: skip
            value = getattr(self, name)
            if value < low:
                raise ConfigError(f"{name} is {value}: it is {low} or more")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}: it is above 0 and at most 1")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p is {self.min_p}: it is between 0 and 1")
        if self.repetition_penalty <= 0:
            raise ConfigError(f"repetition_penalty is {self.repetition_penalty}: it is above 0")
        if len(self.forced) > self.max_new_tokens:
            raise ConfigError(
                f"{len(self.forced)} tokens are forced, but max_new_tokens is {self.max_new_tokens}"
            )
        if self.beams > 1 and self.temperature:
            raise ConfigError(
                "beams are not drawn at random: set temperature to 0, or beams to 1 and `returns` "
                "to as many samples as you want"
            )
        if self.beams > 1 and self.returns > self.beams:
            raise ConfigError(f"{self.beams} beams have no {self.returns} answers to return")
        if self.beams == 1 and self.returns > 1 and not self.temperature:
            raise ConfigError(
                f"the likeliest answer is one, not {self.returns}: set a temperature, or beams"
            )
