"""Chance: an answer drawn from those that training has, each as likely as any other."""

import dataclasses

import numpy as np

from mmjax.evaluation import majority
from mmjax.evaluation.base import Context

NAME = "chance"  # first segment of its metrics' names


@dataclasses.dataclass(frozen=True)
class Config:
    answer: str = "label"  # column that is guessed
    metric: str = "accuracy/top1"  # the evaluator's metric that it stands beside


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where the column is missing."""
    majority.training_columns(context, config.answer)


def measure(config: Config, context: Context) -> dict[str, float]:
    """The expected share of right answers, by the metric's name."""
    (trained,) = majority.training_columns(context, config.answer)
    choices = set(trained)
    right = [answer in choices for answer in context.source.column(config.answer).tolist()]
    return {config.metric: float(np.mean(right)) / len(choices)}
