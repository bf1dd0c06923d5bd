"""Visual questions answered without a look at the picture: what a VQA model must beat."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable

import numpy as np

from mmjax.evaluation import majority
from mmjax.evaluation.answers import means
from mmjax.evaluation.base import Context

NAME = "question_only"  # first segment of its metrics' names


@dataclasses.dataclass(frozen=True)
class Config:
    question: str = "text"  # column of the questions
    answer: str = "label"  # column of the answers, as texts or as classes
    metric: str = "accuracy/top1"  # the evaluator's metric that it stands beside
    by: str = ""  # column of the kinds of questions, each of which has the metric too; "": none


def check(config: Config, context: Context) -> None:
    """Raises ConfigError where a column is missing."""
    majority.training_columns(context, config.question, config.answer)


def measure(config: Config, context: Context) -> dict[str, float]:
    """The share of right answers, by the metric's name, "<kind>/<metric>" of each kind."""
    questions, answers = majority.training_columns(context, config.question, config.answer)
    asked = context.source.column(config.question).tolist()
    guesses = question_only(questions, answers, asked)
    truth = context.source.column(config.answer).tolist()
    right = np.array([guess == answer for guess, answer in zip(guesses, truth, strict=True)])
    found = {config.metric: float(np.mean(right))}
    if config.by:
        for kind, value in means(right, context.source.column(config.by)).items():
            found[f"{kind}/{config.metric}"] = value
    return found


def question_only(
    train_questions: Iterable[Hashable],
    train_answers: Iterable[Hashable],
    questions: Iterable[Hashable],
) -> list[Hashable]:
    """The most common training answer of each question.

    A question that training has not asked gets the most common answer of all.
    """
    answers = Counter(train_answers)
    answers_of_question: dict[Hashable, Counter] = defaultdict(Counter)
    for question, answer in zip(train_questions, train_answers, strict=True):
        answers_of_question[question][answer] += 1
    return [
        answers_of_question.get(question, answers).most_common(1)[0][0] for question in questions
    ]
