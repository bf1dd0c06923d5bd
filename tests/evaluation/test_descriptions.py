"""What a description states, what a decoder of texts alone would say, and average precision."""

import numpy as np
import pytest
from evaluation.contexts import context

from mmjax.config import ConfigError
from mmjax.data.source import InMemory, objects
from mmjax.evaluation import attributes, average_precision, text_alone
from mmjax.processors.tagged import Config as Tagged
from mmjax.processors.tagged import build

NAMES = {"rhythm": ("jig", "slip jig", "reel"), "key": ("in G major", "in A major")}


def test_the_class_that_a_sentence_names():
    said = ["A slip-jig, in G major!", "a jig in A major", "a jig or a reel", "a rigjig", ""]
    assert attributes.stated_classes(said, NAMES["rhythm"]).tolist() == [1, 0, -1, -1, -1]
    assert attributes.stated_classes(said, NAMES["key"]).tolist() == [0, 1, -1, -1, -1]


def test_attributes_beside_what_texts_alone_say():
    rows = [
        {"text": "?", "answer": "a reel in G major", "rhythm": 2, "key": 0},
        {"text": "?", "answer": "a reel in A major", "rhythm": 2, "key": 1},
        {"text": "?", "answer": "a tune in A major", "rhythm": -1, "key": 1},
    ]
    columns = {"answer": objects([row["answer"] for row in rows])}
    columns |= {name: [row[name] for row in rows] for name in NAMES}
    source = InMemory(rows, columns=columns)
    given = context(source, training=lambda: [source])
    evaluator = attributes.Attributes(names=NAMES)
    evaluator.check(given)
    said = ["a jig in G major", "a reel in A major", "a reel in G major"]
    result = evaluator.compare(said, np.arange(3), given)
    assert result.metrics["rhythm/accuracy/top1"] == 0.5  # of two rows whose rhythm is known
    assert result.metrics["key/accuracy/top1"] == pytest.approx(2 / 3)
    assert result.queries["rhythm/accuracy/index"].tolist() == [0, 1]
    config = text_alone.Config(attributes=evaluator)
    text_alone.check(config, given)
    alone = text_alone.measure(config, given)  # "a reel in A major"
    assert alone["rhythm/accuracy/top1"] == 1.0
    assert alone["key/accuracy/top1"] == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match="no column of that name"):
        attributes.Attributes(names={"mood": ("calm",)}).check(given)


def test_greedy_is_word_by_word():
    """Not the most common sentence: most begin with b, and of these no two are alike."""
    texts = ["a", "a", "b c", "b d", "b d e"]
    assert text_alone.greedy([text.split() for text in texts]) == "b d"


def test_average_precision_of_its_definition():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    found = average_precision.average_precision(scores, np.array([1, 0, 1, 0]))
    assert found == pytest.approx(5 / 6)
    equal = average_precision.average_precision(np.zeros(4), np.array([0, 1, 0, 0]))
    assert equal == 0.25  # in whatever order


def test_classes_that_hold_at_once():
    example = {"audio": np.zeros(16_000, np.float32) + 0.1, "labels": [0, 2]}
    made = build(Tagged(classes=3, bins=16, frames=50), None, None).encode([example])
    assert made["label"].tolist() == [[1, 0, 1]] and made["audio"].shape == (1, 50, 16)
    assert "audio_mask" not in made
    named = build(Tagged(2, ("dog", "cat"), field="text", bins=16, frames=50), None, None)
    made = named.encode([{"audio": example["audio"], "text": "A cat and a dogfish"}])
    assert made["label"].tolist() == [[0, 1]]
    with pytest.raises(ConfigError, match="1 names for classes=2"):
        Tagged(2, ("dog",))
