"""Moving digits: what is said of a clip is what is seen in it."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from mmjax.data.source import DataError, Source
from mmjax.datasets import digits, moving_digits
from mmjax.datasets.moving_digits import ACTIONS, DIRECTIONS, LABELS

ROWS = 200


def opened(**changes):
    return moving_digits.open(moving_digits.Config(**{"rows": ROWS, **changes}))


@pytest.fixture(scope="module")
def alone():
    """Clips of one digit each, all of them."""
    source = opened(most=1, combinations="all")
    return [source[row] for row in range(len(source))]


def centres(clip):
    """Row and column of what is bright, [T, 2], and how bright it is, [T]."""
    light = clip[..., 0].astype(float)
    total = light.sum((1, 2))
    place = np.arange(light.shape[1]) + 0.5
    rows = (light.sum(2) * place).sum(1)
    columns = (light.sum(1) * place).sum(1)
    return np.stack([rows, columns], 1) / np.maximum(total, 1e-9)[:, None], total


def whole(clip):
    """The frames in which no light touches an edge."""
    light = clip[..., 0].astype(int)
    edge = light[:, [0, -1]].sum((1, 2)) + light[:, :, [0, -1]].sum((1, 2))
    return (edge == 0) & (light.sum((1, 2)) > 0)


def test_the_contract():
    source = opened(rows=5)
    assert isinstance(source, Source)
    example = source[2]
    assert example["video"].shape == (16, 32, 32, 3) and example["video"].dtype == np.uint8
    assert example["label"] == example["direction"] == source.column("label")[2]
    for name in ("text", "question", "answer", *LABELS):
        assert source.column(name)[2] == example[name], name
    assert source.column("frames") is None and source.locate(2) == "moving digits train, row 2"
    more = opened(rows=9)
    np.testing.assert_array_equal(more[2]["video"], example["video"])
    assert more.fingerprint != source.fingerprint == opened(rows=5).fingerprint
    assert opened(rows=5, label="action")[2]["label"] == example["action"]


def test_it_goes_where_the_label_says(alone):
    measured = 0
    for example in alone:
        clip = example["video"]
        place, _ = centres(clip)
        shown = np.flatnonzero(whole(clip))
        if len(shown) < 4 or shown[3] != shown[0] + 3:
            continue
        steps = np.diff(place[shown[:3]], axis=0)
        step = steps.mean(0)
        turned = list(ACTIONS)[example["action"]] == "bounces" and shown[0] > 2
        if turned or np.abs(steps - step).max() > 0.1 or np.linalg.norm(step) < 0.3:
            continue  # it came in as it turned or stopped
        names = list(DIRECTIONS)
        toward = np.array([np.array(one) / np.linalg.norm(one) for one in DIRECTIONS.values()])
        assert names[int(np.argmax(toward @ step))] == names[example["direction"]]
        pace = np.linalg.norm(step)
        assert (pace > 0.065 * 20) == (example["speed"] == 1)
        measured += 1
    assert measured > ROWS / 3


def test_it_does_what_the_label_says(alone):
    for example in alone:
        clip = example["video"]
        _, light = centres(clip)
        action = list(ACTIONS)[example["action"]]
        still = (clip[-1] == clip[-2]).all() and light[-1] > 0
        assert still == (action == "stops"), example["text"]
        if action == "leaves":
            assert light[-1] < 0.7 * light.max()
        else:
            assert light[-1] > 0.8 * light.max()


def test_two_digits_and_which_came_first():
    config = moving_digits.Config(rows=60, fewest=2, split="test")
    source = moving_digits.open(config)
    for row in range(60):
        first, second = moving_digits.paths(config, row)
        assert second.comes - first.comes >= moving_digits.APART
        assert first.digit != second.digit
        example = source[row]
        assert example["digit"] == first.digit and example["second_digit"] == second.digit
        names = list(DIRECTIONS)
        assert example["second_direction"] == names.index(second.direction)
        assert example["order"] == (first.digit > second.digit)
        text = example["text"].replace(" an ", " a ")
        assert text.startswith(f"first a {digits.CLASSES[first.digit]} moves")
        assert f", then a {digits.CLASSES[second.digit]} moves" in text
        asked, answer = example["question"], example["answer"]
        if asked == "which digit came first?":
            assert answer == digits.CLASSES[first.digit]
        else:
            about = next(one for one in (first, second) if digits.CLASSES[one.digit] in asked)
            assert answer in (about.direction, about.speed, ACTIONS[about.action])
    kinds = Counter(source[row]["question"].split()[0] for row in range(8))
    assert kinds == {"which": 4, "how": 2, "what": 2}


def test_nothing_is_shared_by_splits():
    used = {}
    for split in moving_digits.SPLITS:
        config = moving_digits.Config(split=split)
        found = [path for row in range(ROWS // 2) for path in moving_digits.paths(config, row)]
        used[split] = {path.picture for path in found}
        ways = {(path.digit, path.direction) for path in found}
        assert not any(moving_digits.held_out(*one) for one in ways)
        assert len(ways) > 50
    assert not used["train"] & used["validation"] and not used["test"] & used["train"]
    assert not used["test"] & used["validation"] and len(used["test"]) > 35
    rest = moving_digits.Config(split="test", combinations="held_out")
    found = [path for row in range(50) for path in moving_digits.paths(rest, row)]
    assert len({(path.digit, path.direction) for path in found}) == 10


def test_labels_are_even():
    source = opened(rows=200)
    for name, names in LABELS.items():
        column = source.column(name)
        known = column[column >= 0]  # a lone digit has no second one
        counts = np.bincount(known, minlength=len(names))
        assert len(known) > 80 and counts.min() > 0.25 * len(known) / len(names), name


def test_clips_without_their_order():
    own, shuffled, still = (opened(rows=6, clips=one) for one in moving_digits.CLIPS)
    for row in range(6):
        clips = [source[row]["video"] for source in (own, shuffled, still)]
        order = [sorted(frame.tobytes() for frame in clip) for clip in clips[:2]]
        assert order[0] == order[1]
        assert (clips[2] == clips[0][8]).all()
        assert own[row]["text"] == still[row]["text"]
    assert any((own[row]["video"] != shuffled[row]["video"]).any() for row in range(6))


def test_sizes_and_choices():
    example = opened(rows=1, frames=12, side=64, digit=24)[0]
    assert example["video"].shape == (12, 64, 64, 3)
    for changes in (dict(fewest=3), dict(frames=8), dict(digit=20), dict(split="all")):
        with pytest.raises(DataError, match="moving_digits"):
            opened(**changes)
    with pytest.raises(DataError, match="goes 6.8 pixels askew and never leaves"):
        opened(digit=16)  # of which no path would ever be found
    assert dataclasses.asdict(moving_digits.Config())["label"] == "direction"
