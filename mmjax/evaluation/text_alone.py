"""The description that a decoder of texts alone would write: the same for every row.

* Word by word the most common one of training behind what stands already, up to the most common
  end: what a perfect language model of the training texts says greedily, without anything heard or
  seen. A model that has not learned to listen can do no better than about this.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation import majority
from mmjax.evaluation.attributes import Attributes
from mmjax.evaluation.base import Context
from mmjax.evaluation.texts import normalised

NAME = "text_alone"  # first segment of its metrics' names


@dataclasses.dataclass(frozen=True)
class Config:
    answer: str = "answer"  # column of the training descriptions
    attributes: Attributes = Attributes()  # what they state, and how that is read


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where there are no training texts, or no labels."""
    majority.training_columns(context, config.answer)
    config.attributes.check(context)


def measure(config: Config, context: Context) -> dict[str, float]:
    """The evaluator's metrics, of the one description."""
    (texts,) = majority.training_columns(context, config.answer)
    sentence = greedy([normalised(text).split() for text in texts])
    index = np.arange(len(context.source))
    result = config.attributes.compare([sentence] * len(index), index, context)
    return {name: value for name, value in result.metrics.items() if "accuracy" in name}


def greedy(texts: Sequence[Sequence[str]]) -> str:
    """The most common first word, the most common one behind it, and so on; of words equally common
    the first in the alphabet. Raises ConfigError where there is no text."""
    if not texts:
        raise ConfigError("there are no training texts")
    said: list[str] = []
    left = [list(text) for text in texts]
    while True:
        count = Counter(text[len(said)] if len(said) < len(text) else "" for text in left)
        word = min(count, key=lambda word: (-count[word], word))
        if not word:
            return " ".join(said)
        left = [text for text in left if len(text) > len(said) and text[len(said)] == word]
        said.append(word)
