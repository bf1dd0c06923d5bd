"""Answers to questions: VQA accuracy, in its soft form where several people answered (Antol et al.
2015, https://arxiv.org/abs/1505.00468; https://visualqa.org/evaluation.html).

* "exact_match": the answer is the one that most people gave.
* "accuracy", where rows have several answers: an answer is right as far as three other people gave
  it, averaged over leaving out each person.
* Where `by` names what kind of question each is, "accuracy" of all and "<kind>/accuracy" of each.
* Answers are made comparable as VQA's evaluation does it: lower case, punctuation, articles, and
  numbers up to ten as digits. Its list of misspelled contractions ("dont") is left out.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context, Result
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.texts import Texts
from mmjax.typing import Shaped

ENOUGH = 3  # other people who gave an answer that is wholly right
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten".split()
    )
} | {"none": "0"}  # fmt: skip
ARTICLES = ("a", "an", "the")
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'


@dataclasses.dataclass(frozen=True)
class Answers(Texts):
    reference: str = "answer"  # column, or field, of the answer or answers
    questions: str = "text"  # column, or field, that is shown beside them; "": none
    by: str = ""  # column of the kinds of questions, which are measured apart; "": none

    def check(self, context: Context) -> None:
        super().check(context)
        if self.by and context.source.column(self.by) is None:
            raise ConfigError(f"by={self.by!r} is no column of the data; leave it out, or name one")

    def finish(self, rows: Rows, context: Context) -> Result:
        predictions = [comparable(text) for text in self.predictions(rows, context)]
        references = [
            [comparable(text) for text in texts] for texts in self.references(rows, context)
        ]
        pairs = list(zip(predictions, references, strict=True))
        exact = np.array([said == most_common(answers) for said, answers in pairs], np.float64)
        metrics = {"exact_match": float(exact.mean())}
        queries = {"exact_match": exact, "index": rows["index"]}
        if self.by or any(len(answers) > 1 for answers in references):
            soft = np.array([soft_accuracy(said, answers) for said, answers in pairs])
            metrics["accuracy"] = float(soft.mean())
            queries["accuracy"] = soft
            if self.by:
                kinds = context.source.column(self.by)[rows["index"]]
                metrics |= {f"{kind}/accuracy": value for kind, value in means(soft, kinds).items()}
        media = {}
        if self.keep:
            wanted = [most_common(answers) for answers in references]
            soft = queries.get("accuracy", ())
            notes = [f"accuracy {value:.2f}" for value in soft]
            media["answers"] = self.shown(rows, context, predictions, wanted, exact, notes)
        return Result(metrics, media=media, queries=queries)


def means(values: Shaped[np.ndarray, " R"], kinds: np.ndarray) -> dict[str, float]:
    """The mean of the values of each kind, in the order of their names."""
    return {str(kind): float(np.mean(values[kinds == kind])) for kind in sorted(set(kinds))}


def most_common(answers: Sequence[str]) -> str:
    """Of equally common ones the first."""
    return Counter(answers).most_common(1)[0][0]


def soft_accuracy(said: str, answers: Sequence[str]) -> float:
    """How right an answer is among those of several people; of one person: 0 or 1."""
    if len(answers) == 1:
        return float(said == answers[0])
    agreeing = sum(said == answer for answer in answers)
    total = 0.0
    for answer in answers:  # each person is left out once
        others = agreeing - (said == answer)
        total += min(1.0, others / ENOUGH)
    return total / len(answers)


def comparable(text: str) -> str:
    """An answer as VQA's evaluation compares it."""
    text = " ".join(text.split()).lower()
    out = text
    number = re.search(r"\d,\d", text) is not None
    for mark in PUNCTUATION:
        if number or f"{mark} " in text or f" {mark}" in text:
            out = out.replace(mark, "")
        else:
            out = out.replace(mark, " ")
    out = re.sub(r"\.(?!\d)", "", out)
    words = [NUMBERS.get(word, word) for word in out.split()]
    return " ".join(word for word in words if word not in ARTICLES)


Config = Answers  # what a config's sub-tree of this evaluator is turned into
