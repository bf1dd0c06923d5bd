"""Visual questions answered without a look at the picture: what a VQA model must beat."""

from collections import Counter, defaultdict
from collections.abc import Iterable


def question_only(
    train_questions: Iterable[str], train_answers: Iterable[str], questions: Iterable[str]
) -> list[str]:
    """Answers without a look at the picture: the most common training answer of each question.

    A question that training has not asked gets the most common answer of all.
    """
    answers, asked = Counter(train_answers), defaultdict(Counter)
    for question, answer in zip(train_questions, train_answers, strict=True):
        asked[question][answer] += 1
    return [asked.get(question, answers).most_common(1)[0][0] for question in questions]
