"""The generated scenes: rows, answers that can be worked out again, balance, foreign pictures."""

import re
from collections import Counter

import numpy as np
import pytest

from mmjax.data.source import DataError, Source
from mmjax.datasets import scenes
from mmjax.evaluation.question_only import question_only

ROWS = 800
AREAS = {  # of a shape of radius 1
    "circle": np.pi,
    "square": 1.7**2,
    "triangle": np.sqrt(27) / 4 * 1.15**2,
    "cross": 2 * 2 * 0.7 - 0.7**2,
}


EVERY = tuple(scenes.KINDS)


def opened(**changes):
    options = {"split": "test", "rows": ROWS, **changes}
    return scenes.open(scenes.Config(**options))


@pytest.fixture(scope="module")
def source():
    return opened(kinds=EVERY)


@pytest.fixture(scope="module")
def asked():
    """The three kinds that a model is examined by."""
    return opened()


def answered(text, pictures):
    """The answer, worked out from what the pictures show; "": they do not say."""
    words = re.findall(r"\w+", text.partition("?")[0])
    values = [word for word in words if word in (*scenes.COLOURS, *scenes.SHAPES)]
    if words[:2] == ["what", "do"]:
        named = zip(scenes.PLACES, pictures, strict=False)
        return ", ".join(f"{place} {picture.colour} {picture.shape}" for place, picture in named)
    if "differs" in words:
        seen = [getattr(picture, words[1]) for picture in pictures]
        odd = [value for value, count in Counter(seen).items() if count == 1]
        return f"{odd[0]}, {scenes.PLACES[seen.index(odd[0])]}" if len(odd) == 1 else ""
    shown = [{picture.colour, picture.shape} for picture in pictures]
    there = [place for place, look in enumerate(shown) if look >= set(values)]
    if words[:2] == ["how", "many"]:
        return scenes.NUMBERS[len(there)]
    if words[:2] == ["which", "image"]:
        return scenes.PLACES[there[0]] if len(there) == 1 else ""
    first = [value for look in shown for value in values if value in look]
    return first[0] if first else ""


def right(source):
    """The share of answers that follow from the pictures that are shown."""
    pairs = zip(source.questions, source.pictures, strict=True)
    return np.mean([answered(row.text, pictures) == row.answer for row, pictures in pairs])


def test_rows_are_what_a_source_promises(source):
    assert isinstance(source, Source)
    assert len(source) == ROWS
    assert Counter(source.column("kind").tolist()) == dict.fromkeys(range(4), ROWS / 4)
    for row in range(40):
        example = source[row]
        assert example["text"] == source.column("text")[row]
        assert example["answer"] == source.column("answer")[row]
        assert example["text"].count("<image>") == len(example["image"]) in (2, 3, 4)
        for picture in example["image"]:
            assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8
    assert source.column("length") is None
    assert source.locate(7) == "scenes test, row 7"


def test_a_row_depends_on_nothing_but_its_number(source):
    again = opened(kinds=EVERY, rows=50)
    counted = opened(kinds=("count",), rows=50)
    assert again.questions == source.questions[:50]
    assert counted.questions == source.questions[2:50:4]
    assert counted[3]["id"] == "test/14"
    pixels = [np.stack(rows[5]["image"]) for rows in (source, again)]
    np.testing.assert_array_equal(*pixels)
    assert again.fingerprint == opened(kinds=EVERY, rows=50).fingerprint
    others = [dict(seed=1), dict(split="train"), dict(images="rolled"), dict(rows=54)]
    assert again.fingerprint not in {
        opened(**{"kinds": EVERY, "rows": 50, **change}).fingerprint for change in others
    }


def test_no_two_splits_share_a_picture():
    pictures = []
    for split in scenes.SPLITS:
        for row in range(200):
            pictures += scenes.question(0, split, row).pictures
    assert len(set(pictures)) == len(pictures) > 3 * 200 * 2


def test_answers_follow_from_the_pictures(source):
    assert right(source) == 1.0


@pytest.mark.parametrize("shape", scenes.SHAPES)
def test_what_is_drawn_is_seen(shape):
    for colour in scenes.COLOURS:
        pixels = scenes.draw(scenes.Picture(colour, shape, 15.3, 17.1, 10.0, 230)).astype(float)
        np.testing.assert_array_equal(pixels[17, 15], scenes.COLOURS[colour])
        np.testing.assert_array_equal(pixels[0, 0], 230)
        covered = (pixels[..., 2] - 230) / (scenes.COLOURS[colour][2] - 230)
        assert covered.sum() / 100 == pytest.approx(AREAS[shape], rel=0.04)
        ends = [covered[[0, -1]].max(), covered[:, [0, -1]].max()]
        assert ends == [0, 0]


def test_the_question_gives_little_away(asked):
    train = opened(split="train", rows=3000)
    columns = [train.column("text").tolist(), train.column("answer").tolist()]
    guesses = question_only(*columns, asked.column("text").tolist())
    right = np.array(guesses) == asked.column("answer")
    assert right.mean() < 0.35
    limits = {"different": 0.15, "count": 0.35, "order": 0.5}
    for kind, limit in limits.items():
        assert right[asked.column("kind") == list(scenes.KINDS).index(kind)].mean() < limit


def test_answers_are_even(asked):
    answers = {}
    for row in asked.questions:
        kind = re.sub("|".join((*scenes.COLOURS, *scenes.SHAPES)), "*", row.text)
        answers.setdefault(kind, Counter())[row.answer] += 1
    assert len(answers) == 2 * 2 + 3 * 2 + 3 * 3
    for counts in answers.values():
        expected = sum(counts.values()) / len(counts)
        assert max(counts.values()) < expected + 4 * np.sqrt(expected)


def test_shuffled_pictures_are_those_of_another_row(asked):
    shuffled = opened(images="shuffled")
    assert shuffled.questions == asked.questions
    assert Counter(shuffled.pictures) == Counter(asked.pictures)
    for own, other in zip(asked.pictures, shuffled.pictures, strict=True):
        assert len(own) == len(other) and own != other
    assert right(shuffled) < 0.35


def test_rolled_pictures_stand_one_place_later(asked):
    rolled = opened(images="rolled")
    assert rolled.questions == asked.questions
    assert [(*pictures[1:], pictures[0]) for pictures in rolled.pictures] == [
        row.pictures for row in asked.questions
    ]
    counts = opened(images="rolled", kinds=("count",))
    assert right(counts) == 1.0
    assert right(opened(images="rolled", kinds=("different",))) == 0.0


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(split="dev"), "scenes: split.*dev"),
        (dict(images="mixed"), "scenes: images.*mixed"),
        (dict(kinds=("counts",)), "scenes: kind.*counts"),
        (dict(kinds=()), "asks one of the kinds"),
        (dict(kinds=("count",), rows=2), "none of the 2 rows asks one of the kinds count"),
        (dict(kinds=("count",), rows=3), "only one row has . pictures"),
    ],
)
def test_what_cannot_be_opened(changes, message):
    with pytest.raises(DataError, match=message):
        opened(**{"images": "shuffled", **changes})
