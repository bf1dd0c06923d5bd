"""The likeliest text without any sound: what a language model of the training texts would write.

* It is told how many letters the text has, which no listener is, and writes the likeliest text of
  that many under an n-gram of the training texts' letters. A model that has not learned to listen
  can do no better than about this.
* The search is exact (Viterbi over the states of the n-gram).

Letters: S states, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context
from mmjax.evaluation.ctc_errors import identities, identities_of, written
from mmjax.evaluation.word_errors import WordErrors, edit_distance
from mmjax.generation import ngram
from mmjax.typing import Positive

NAME = "language_alone"  # first segment of its metrics' names


@dataclasses.dataclass(frozen=True)
class Config:
    order: Positive = 5  # letters of an n-gram
    errors: WordErrors = WordErrors(unit="character")  # how texts are compared


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where there are no training texts."""
    if not context.training():
        raise ConfigError("no training set has the evaluated set's name: leave `baseline` out")


def measure(config: Config, context: Context) -> dict[str, float]:
    """The rate of errors, by the evaluator's metric."""
    source = context.source
    references = [written(context, source[row]["text"]) for row in range(len(source))]
    encoded = [context.encode([{"text": text}])["text"][0] if text else () for text in references]
    texts = identities(context, context.training())
    model = ngram.train(texts, config.order)
    vocabulary = 1 + max(int(one) for text in texts for one in text)
    machine = ngram.automaton(model, identities_of(vocabulary, blank=-1))
    likeliest = likeliest_texts(machine, {len(ids) for ids in encoded})
    wrong = 0
    units = 0
    for reference, ids in zip(references, encoded, strict=True):
        said = config.errors.split(reference)
        guess = np.asarray([likeliest[len(ids)]], np.int32)
        shown = context.show({"text": guess, "text_mask": np.ones_like(guess, bool)}, 0)["text"]
        wrong += edit_distance(said, config.errors.split(shown))
        units += len(said)
    return {config.errors.metric: wrong / units}


def likeliest_texts(machine: ngram.Automaton, lengths: Iterable[int]) -> dict[int, list[int]]:
    """The likeliest text of each length, its end included, as ids."""
    wanted = set(lengths)
    states, vocabulary = machine.scores.shape
    best = np.full(states, -np.inf)
    best[machine.start] = 0.0
    steps: list[tuple[np.ndarray, np.ndarray]] = []  # of each state, where it was reached from
    into = machine.following.ravel()
    found: dict[int, list[int]] = {}
    for length in range(max(wanted) + 1):
        if length in wanted:
            found[length] = _traced(steps, int(np.argmax(best + machine.end)))
        values = (best[:, None] + machine.scores).ravel()
        order = np.argsort(values, kind="stable")  # the best way into a state is written last
        source = np.zeros(states, np.int64)
        source[into[order]] = order
        best = np.full(states, -np.inf)
        best[into[order]] = values[order]
        steps.append(np.divmod(source, vocabulary))
    return found


def _traced(steps: list[tuple[np.ndarray, np.ndarray]], state: int) -> list[int]:
    """The letters that led to a state."""
    out = []
    for source, letter in reversed(steps):
        out.append(int(letter[state]))
        state = int(source[state])
    return out[::-1]
