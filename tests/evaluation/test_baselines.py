"""Baselines of their own: what each gives on data made by hand, and what it refuses."""

import numpy as np
import pytest
from evaluation.contexts import context

from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.evaluation import chance, majority, question_only, thumbnails


def rows(*labels):
    return InMemory([{"label": label, "text": f"question {label % 2}"} for label in labels])


def over(evaluated, *training):
    return context(evaluated, training=lambda: list(training))


def test_majority_and_chance_are_learnt_from_training_alone():
    ours = over(rows(0, 1, 1, 2), rows(2, 2, 1), rows(2, 4))
    assert majority.measure(majority.Config(), ours) == {"accuracy/top1": 1 / 4}
    # 3 answers are known, and 3 of 4 rows have one of them
    assert chance.measure(chance.Config(), ours) == {"accuracy/top1": pytest.approx(1 / 4)}
    named = majority.Config(metric="answers/exact")
    assert majority.measure(named, ours) == {"answers/exact": 1 / 4}


def test_questions_are_answered_by_their_most_common_training_answer():
    asked = [("colour?", 1), ("colour?", 2), ("colour?", 2), ("shape?", 7), ("size?", 2)]
    training = InMemory([{"text": text, "label": label} for text, label in asked])
    asked = [("colour?", 2), ("shape?", 7), ("shape?", 1), ("never asked?", 2)]
    ours = over(InMemory([{"text": text, "label": label} for text, label in asked]), training)
    found = question_only.measure(question_only.Config(), ours)
    assert found == {"accuracy/top1": 3 / 4}


def test_kinds_of_questions_have_their_baselines():
    def asked(*three):
        rows = [dict(text=text, label=label) for text, label, _ in three]
        return InMemory(rows, columns={"kind": np.array([kind for *_, kind in three])})

    training = asked(("colour?", 2, "a"), ("shape?", 7, "b"))
    ours = over(asked(("colour?", 2, "a"), ("shape?", 1, "b"), ("shape?", 7, "b")), training)
    found = question_only.measure(question_only.Config(metric="accuracy", by="kind"), ours)
    assert found == {"accuracy": 2 / 3, "a/accuracy": 1.0, "b/accuracy": 0.5}


@pytest.mark.parametrize("module", [chance, majority, question_only])
def test_what_cannot_be_measured_is_refused_before_training(module):
    with pytest.raises(ConfigError, match="training data of the same set, and there is none"):
        module.check(module.Config(), over(rows(0)))
    with pytest.raises(ConfigError, match="no column 'answer'"):
        module.check(module.Config(answer="answer"), over(rows(0), rows(1)))
    module.check(module.Config(), over(rows(0), rows(1)))


def test_thumbnails_need_a_training_picture_of_every_group():
    def drawn(*groups):
        return InMemory([
            {"image": np.full((20, 20, 3), 40 * group, np.uint8), "group": group}
            for group in groups
        ])  # fmt: skip

    def decode(index, source=None):
        return (evaluated if source is None else source)[index]

    evaluated = drawn(1, 2, 3)
    ours = context(evaluated, training=lambda: [drawn(3, 2), drawn(1)], decode=decode)
    thumbnails.check(thumbnails.Config(), ours)
    found = thumbnails.measure(thumbnails.Config(at=(1,)), ours)
    assert found == {"image_to_text/r1": 1.0, "image_to_text/median_rank": 1.0}
    for training in ([], [drawn(3, 2)]):
        with pytest.raises(ConfigError, match="training drawings of the candidates"):
            thumbnails.check(thumbnails.Config(), over(evaluated, *training))
    with pytest.raises(ConfigError, match="column 'group', which the data has not"):
        thumbnails.check(thumbnails.Config(), over(rows(1), rows(1)))
