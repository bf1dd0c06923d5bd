"""The majority: the most common answer of training, given to every row."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context

NAME = "majority"  # first segment of its metrics' names


@dataclasses.dataclass(frozen=True)
class Config:
    answer: str = "label"  # column that is guessed
    metric: str = "accuracy/top1"  # the evaluator's metric that it stands beside


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where the column is missing."""
    training_columns(context, config.answer)


def measure(config: Config, context: Context) -> dict[str, float]:
    """The share of right answers, by the metric's name."""
    (trained,) = training_columns(context, config.answer)
    guess = Counter(trained).most_common(1)[0][0]
    right = [answer == guess for answer in context.source.column(config.answer).tolist()]
    return {config.metric: float(np.mean(right))}


def training_columns(context: Context, *names: str) -> list[list[Any]]:
    """The values of stored columns over all training data of the set that is evaluated.

    Raises:
      ConfigError: no training data of that set, or no such column there or in what is evaluated.
    """
    training = context.training()
    if not training:
        raise ConfigError(
            "it learns from training data of the same set, and there is none: leave `baseline` out"
        )
    values: list[list[Any]] = []
    for name in names:
        columns = [source.column(name) for source in (*training, context.source)]
        if any(column is None for column in columns):
            raise ConfigError(f"the data has no column {name!r}")
        values.append([value for column in columns[:-1] for value in column.tolist()])
    return values
