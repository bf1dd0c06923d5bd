"""Programmes: what is asked is what is seen, evenly, and in no other stretch of time."""

import dataclasses
from collections import Counter, defaultdict

import numpy as np
import pytest

from mmjax.data.source import DataError, Source
from mmjax.datasets import digits, programmes
from mmjax.datasets.programmes import DIRECTIONS, KINDS, LATELY, NOW, OFTEN
from mmjax.evaluation.question_only import question_only

ROWS = 400
LONG = 24  # frames of a segment of the slowest scale


def opened(**changes):
    return programmes.open(programmes.Config(**{"rows": 20, **changes}))


@pytest.fixture(scope="module")
def many():
    """Programmes that nothing is drawn of."""
    return opened(rows=ROWS)._all


def test_the_contract():
    source = opened(rows=6)
    assert isinstance(source, Source)
    example = source[4]
    frames = np.asarray(example["video"].frames)
    assert frames.shape == (len(example["video"].frames), 24, 24, 3) and frames.dtype == np.uint8
    assert 120 <= len(frames) <= 480 and example["video"].rate == 2
    for name in ("text", "question", "answer", "kind", "seconds", "conversation"):
        assert source.column(name)[4] == example[name], name
    assert source.column("video")[4].frames.scenes == example["video"].frames.scenes
    assert source.column("kind").tolist() == [*KINDS, *KINDS]
    assert source.column("frames") is None and source.locate(4) == "programmes train, row 4"
    more = opened(rows=9)
    np.testing.assert_array_equal(np.asarray(more[4]["video"].frames), frames)
    assert more.fingerprint != source.fingerprint == opened(rows=6).fingerprint


def test_what_is_said_is_what_is_seen(many):
    for one in many[:50]:
        scenes = one.scenes
        assert 120 <= one.frames <= 480 and scenes[-1].frames == NOW
        ends = np.cumsum([scene.frames for scene in scenes])
        lately = [scene.digit for scene, end in zip(scenes, ends, strict=True)
                  if ends[-1] - end < LATELY]  # fmt: skip
        names = [digits.CLASSES[scene.digit] for scene in scenes]
        assert all(first != second for first, second in zip(names, names[1:], strict=False))
        for question in one.questions:
            words = question.text.rstrip("?").split()
            if question.kind == "short":
                assert question.answer == scenes[-1].direction
            elif question.kind == "medium":
                digit = digits.CLASSES.index(words[-1])
                assert lately.count(digit) == 1
                after = lately[lately.index(digit) + 1]
                assert question.answer == digits.CLASSES[after]
            elif words[0] == "how":
                assert question.answer == OFTEN[names.count(words[4])]
            else:
                assert question.answer == ("yes" if names.count(words[2]) > 1 else "no")
        assert one.caption.split(",")[0].split()[-1] == names[0]
        assert one.caption.endswith(f"{names[-1]} that moves {scenes[-1].direction}")


def test_it_moves_where_the_answer_says():
    source = opened(rows=40, kinds=("short",), longest=60)
    for row in range(40):
        light = np.asarray(source[row]["video"].frames)[-NOW:, ..., 0].astype(float)
        place = np.arange(24)
        total = light.sum((1, 2))
        middle = np.stack([light.sum(2) @ place, light.sum(1) @ place], 1) / total[:, None]
        toward = DIRECTIONS[source[row]["answer"]]
        np.testing.assert_allclose(np.diff(middle, axis=0), 2 * np.tile(toward, (NOW - 1, 1)))


def test_answers_are_even(many):
    """Who knows the question alone is right about as often as chance."""
    answers = defaultdict(Counter)
    for one in many:
        for question in one.questions:
            first = question.text.split()[0] if question.kind == "long" else question.kind
            answers[first][question.answer] += 1
    for first, count in (("short", 4), ("medium", 10), ("how", 4), ("did", 2)):
        assert len(answers[first]) == count
        share = max(answers[first].values()) / answers[first].total()
        assert share < 1.4 / count, first
    asked = opened(rows=240, split="test")
    pairs = [(one.text, one.answer) for each in many for one in each.questions]
    guesses = question_only(*zip(*pairs, strict=True), asked.column("question").tolist())
    right = np.array(guesses) == asked.column("answer")
    by_kind = [right[asked.column("kind") == kind].mean() for kind in KINDS]
    assert by_kind[0] < 0.36 and by_kind[1] < 0.2 and by_kind[2] < 0.45


def segments(scenes, frames):
    """The mean of each segment of so many frames, counted from the end."""
    drawn = programmes.draw(programmes.Config(), scenes).astype(float)
    drawn = drawn[len(drawn) % frames :]
    return drawn.reshape(-1, frames, *drawn.shape[1:]).mean(1)


def test_now_is_told_by_the_order_of_the_last_frames_alone(many):
    """Means of two seconds are the same of a way and of the way back."""
    places = defaultdict(list)
    for one in many:
        last = one.scenes[-1]
        toward = np.array(DIRECTIONS[last.direction])
        row, column = np.array([last.row, last.column]) + toward * last.step * (NOW - 1)
        names = list(DIRECTIONS)
        other = names[(names.index(last.direction) + 2) % 4]
        back = last._replace(direction=other, row=int(row), column=int(column))
        places[last.direction].append((np.array([last.row, last.column]) + [row, column]) / 2)
        if len(places[last.direction]) < 3:
            scenes = (*one.scenes[:-1], back)
            np.testing.assert_array_equal(segments(one.scenes, NOW), segments(scenes, NOW))
    middles = [np.mean(each, axis=0) for each in places.values()]
    assert np.ptp(middles, axis=0).max() < 1  # pixels


def test_what_followed_what_is_not_in_means_of_twelve_seconds(many):
    """Two scenes of one segment change places: another answer, and the same means."""
    found = 0
    for one in many[:100]:
        ends = np.cumsum([scene.frames for scene in one.scenes][::-1])  # from the end
        begins = np.concatenate([[0], ends[:-1]])
        for number in range(1, len(ends) - 1):
            inside = begins[number] // LONG == (ends[number + 1] - 1) // LONG
            if not inside or ends[number + 1] > LATELY:
                continue
            place = len(ends) - 2 - number  # of the earlier one
            scenes = list(one.scenes)
            scenes[place], scenes[place + 1] = scenes[place + 1], scenes[place]
            come = [scene.digit for scene in scenes]
            lengths = [scene.frames for scene in scenes]
            if found < 3:
                means = segments(tuple(scenes), LONG)
                np.testing.assert_allclose(segments(one.scenes, LONG), means)
            before = {question for question in one.questions if question.kind == "medium"}
            found += before != set(programmes._lately(come, lengths))
    assert found > 100


def test_the_last_half_minute_does_not_tell_how_often(many):
    """The best guess from how often it came there."""
    answers = defaultdict(Counter)
    for one in many:
        ends = np.cumsum([scene.frames for scene in one.scenes])
        lately = [scene.digit for scene, end in zip(one.scenes, ends, strict=True)
                  if ends[-1] - end < LATELY]  # fmt: skip
        for question in one.questions:
            if question.kind == "long":
                words = question.text.rstrip("?").split()
                digit = digits.CLASSES.index(words[4] if words[0] == "how" else words[2])
                answers[words[0], lately.count(digit)][question.answer] += 1
    right = sum(max(each.values()) for each in answers.values())
    assert right / sum(each.total() for each in answers.values()) < 0.55


def test_a_conversation_and_its_sentence():
    source = opened(rows=3, questions=5, caption=True)
    for example in (source[row] for row in range(3)):
        turns = example["conversation"]
        assert len(turns) == 2 * 6 and turns[0]["content"] == example["question"]
        assert turns[-2]["content"] == programmes.CAPTION
        assert turns[-1]["content"] == example["text"]
    alone = opened(rows=2, questions=0, caption=True)
    assert alone[1]["answer"] == alone[1]["text"] and alone[1]["kind"] == "caption"


def test_nothing_is_shared_by_splits():
    used = {}
    for split in programmes.SPLITS:
        found = opened(split=split)._all
        used[split] = {scene.picture for one in found for scene in one.scenes}
    assert not used["train"] & used["validation"] and not used["test"] & used["train"]
    assert not used["test"] & used["validation"] and len(used["test"]) > 35


def test_choices():
    for changes in (
        dict(split="all"), dict(kinds=("slow",)), dict(kinds=()), dict(questions=0),
        dict(shortest=30), dict(longest=59), dict(digit=13),
    ):  # fmt: skip
        with pytest.raises(DataError, match="programmes: "):
            opened(**changes)
    assert dataclasses.asdict(programmes.Config())["longest"] == 240


def test_answers_as_classes():
    """Each question's answer is its class by name; what a programme does not ask is not known."""
    source = programmes.open(programmes.Config(rows=12, longest=80, questions=20))
    known = 0
    for row in range(len(source)):
        example = source[row]
        turns = [turn["content"] for turn in example["conversation"]]
        told = {}
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            if question == programmes.NOW_ASKED:
                told["now"] = answer
            elif "right after the" in question:
                told["after_" + question.rstrip("?").split()[-1]] = answer
            elif "how often" in question:
                told["often_" + question.rstrip("?").split()[-2]] = answer
        for name, classes in programmes.LABELS.items():
            number = example[name]
            assert number == source.column(name)[row]
            if name in told:
                assert classes[number] == told[name]
                known += 1
            elif not name.startswith("often"):  # whether one came back is answered by a count too
                assert number == programmes.UNKNOWN
    assert known > 60
