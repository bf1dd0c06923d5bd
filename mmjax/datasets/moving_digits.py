"""Digits that move, made from the bundled ones (digits.py): clips with no file behind them.

* One digit or two come into a picture, each with a direction, a speed, and something that it does
  then: it goes on, stops, bounces off an edge or leaves. No single frame says which way, how fast
  or who came first.
* A row is drawn from (seed, split, row) alone: any number of rows takes no disk, and more `rows`
  begin with the same ones.
* No split shares a digit's picture with another. Besides, each digit has one direction that is kept
  out of training: `combinations="held_out"` asks for these.
* How much the order of frames tells is measured with `clips`: "shuffled" has a clip's frames in an
  order by chance, "still" its middle one again and again.

Letters: T frames, S pixels along an edge, D pixels along the edge of a digit.
"""

import dataclasses
import functools
import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmjax.data.source import DataError, Example, objects
from mmjax.datasets import digits
from mmjax.datasets.prepared import check_choice
from mmjax.typing import Natural, Positive, UInt8

SPLITS = ("train", "validation", "test")
PICTURES = {"train": (0, 140), "validation": (140, 160), "test": (160, 200)}  # of each digit
COMBINATIONS = ("seen", "held_out", "all")
CLIPS = ("own", "shuffled", "still")
DIRECTIONS = {  # rows down, columns to the right
    "right": (0, 1),
    "down and right": (1, 1),
    "down": (1, 0),
    "down and left": (1, -1),
    "left": (0, -1),
    "up and left": (-1, -1),
    "up": (-1, 0),
    "up and right": (-1, 1),
}
SPEEDS = {"slowly": 0.04, "quickly": 0.09}  # of the room that a digit has, in a frame
ACTIONS = {  # what it does -> what it did
    "goes on": "it went on",
    "stops": "it stopped",
    "bounces": "it bounced",
    "leaves": "it left",
}
LABELS = {  # what `label` may be -> the names of its classes; of the digit that came first
    "direction": tuple(DIRECTIONS),
    "digit": digits.CLASSES,
    "speed": tuple(SPEEDS),
    "action": tuple(ACTIONS),
    # of both; -1 where there is one
    "second_direction": tuple(DIRECTIONS),
    "second_digit": digits.CLASSES,
    "order": ("the lower first", "the higher first"),
}
UNKNOWN = -1  # class of what is not there
QUESTIONS = ("which", "direction", "speed", "action")
TRIES = 64  # paths that are drawn at a time, until one of them does what it is to do
APART = 3  # frames between the coming of two digits
SHOWN = 5  # frames in which a digit is seen at least


class Path(NamedTuple):
    """How one digit goes; places are those of its upper left corner, in pixels."""

    digit: int
    picture: int  # which of its pictures
    direction: str  # one of DIRECTIONS
    speed: str  # one of SPEEDS
    action: str  # one of ACTIONS
    places: np.ndarray  # float [T, 2], row and column
    comes: int  # the first frame in which half of it is seen


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # one of SPLITS
    rows: Positive = 1000  # clips
    frames: Positive = 16  # T
    side: Positive = 32  # S
    digit: Positive = 12  # D
    most: Positive = 2  # digits of a clip, one at least
    fewest: Positive = 1  # likewise
    label: str = "direction"  # one of LABELS
    combinations: str = "seen"  # one of COMBINATIONS: which digits go in which directions
    actions: tuple[str, ...] = tuple(ACTIONS)  # what digits may do, some of ACTIONS
    clips: str = "own"  # one of CLIPS; the labels stay
    caption: str = ""  # asked of every clip, its sentence the answer; "": a question in its turn
    seed: Natural = 0  # of everything that is drawn


def held_out(digit: int, direction: str) -> bool:
    """Whether this digit never goes this way in training."""
    return list(DIRECTIONS).index(direction) == (3 * digit + 5) % len(DIRECTIONS)


# -- how they go


def paths(config: Config, row: int) -> tuple[Path, ...]:
    """Of the digits of a row, in the order of their coming."""
    rng = np.random.default_rng((config.seed, SPLITS.index(config.split), row))
    count = int(rng.integers(config.fewest, config.most + 1))
    while True:
        found: list[Path] = []
        for digit in rng.permutation(len(digits.CLASSES))[:count]:
            found.append(_path(config, rng, int(digit)))
        found.sort(key=lambda path: path.comes)
        comes = [path.comes for path in found]
        if all(np.diff(comes) >= APART):
            return tuple(found)


def _path(config: Config, rng: np.random.Generator, digit: int) -> Path:
    direction = _draw(rng, [
        name for name in DIRECTIONS
        if config.combinations == "all"
        or held_out(digit, name) == (config.combinations == "held_out")
    ])  # fmt: skip
    speed = _draw(rng, list(SPEEDS))
    action = _draw(rng, list(config.actions))
    picture = int(rng.integers(*PICTURES[config.split]))
    while True:
        begin = int(rng.integers(0, config.frames // 2))  # it does not move before, and is not seen
        places = _places(config, rng, direction, speed, action, begin)
        if places is not None:
            seen = _seen(config, places) & (np.arange(config.frames) >= begin)
            places[:begin] = np.nan
            comes = int(np.argmax(seen))
            if seen.sum() >= SHOWN:
                return Path(digit, picture, direction, speed, action, places, comes)


def _draw(rng: np.random.Generator, names: list[str]) -> str:
    return names[rng.integers(len(names))]


def _places(
    config: Config, rng: np.random.Generator, direction: str, speed: str, action: str, begin: int
) -> np.ndarray | None:
    """A path [T, 2] that does what it is to do; None where none of TRIES does."""
    room = float(config.side - config.digit)
    step = np.array(DIRECTIONS[direction], float)
    step *= SPEEDS[speed] * room / np.linalg.norm(step)
    time = np.maximum(np.arange(config.frames) - begin, 0)
    turn = int(rng.integers(begin + 3, config.frames - 2))  # when it stops
    if action == "stops":
        time = np.minimum(time, turn - begin)
    starts = rng.uniform(-config.digit, config.side, (TRIES, 2))
    free = starts[:, None] + time[:, None] * step  # [TRIES, T, 2]
    if action == "leaves":
        margin = config.digit / 2
        gone = (free[:, -1] < -margin) | (free[:, -1] > room + margin)
        fits = gone.any(1) & _inside(free[:, begin : begin + 3], room).any(1)
    elif action == "bounces":
        free, when = _bounced(free, room, begin)
        fits = (when >= begin + 3) & (when <= config.frames - 4) & _inside(free[:, -1], room)
    else:
        fits = _inside(free[:, turn], room) & _inside(free[:, -1], room)
    good = np.flatnonzero(fits)
    return free[good[0]].copy() if len(good) else None


def _inside(places: np.ndarray, room: float) -> np.ndarray:
    """Whether all of a digit is in the picture."""
    return ((places >= 0) & (places <= room)).all(-1)


def _bounced(free: np.ndarray, room: float, begin: int) -> tuple[np.ndarray, np.ndarray]:
    """Paths that are thrown back by the far edges, and the frame in which it happens, 0: never."""
    ahead = np.sign(free[:, -1:] - free[:, begin : begin + 1])
    far = np.where(ahead > 0, room, 0.0)
    beyond = (free - far) * ahead
    back = np.where(beyond > 0, far - beyond * ahead, free)
    hit = (beyond > 0).any(2) & (np.arange(free.shape[1]) > begin)
    return back, np.where(hit.any(1), hit.argmax(1), 0)


def _seen(config: Config, places: np.ndarray) -> np.ndarray:
    """In which frames at least half of the digit is inside, [T]."""
    shown = np.minimum(places + config.digit, config.side) - np.maximum(places, 0)
    return shown.clip(0, None).prod(1) >= config.digit**2 / 2


# -- how it is drawn


def draw(config: Config, row: int, found: tuple[Path, ...]) -> UInt8[np.ndarray, "T S S 3"]:
    """The frames of a clip; where digits overlap, the brighter one is seen."""
    frames = np.zeros((config.frames, config.side, config.side), np.uint8)
    for path in found:
        image = tile(path.digit, path.picture, config.digit)
        for frame, (top, left) in zip(frames, path.places, strict=True):
            if np.isfinite(top):
                # whole pixels would make a slow digit jerk
                matrix = (1, 0, -left, 0, 1, -top)
                size = (config.side, config.side)
                moved = image.transform(
                    size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
                )
                np.maximum(frame, np.asarray(moved), out=frame)
    if config.clips == "shuffled":
        rng = np.random.default_rng((config.seed, len(SPLITS), row))
        frames = frames[rng.permutation(len(frames))]
    elif config.clips == "still":
        frames = np.repeat(frames[len(frames) // 2][None], len(frames), axis=0)
    return np.repeat(frames[..., None], 3, axis=3)


@functools.cache
def tile(digit: int, picture: int, side: int) -> Image.Image:
    """One of the pictures of a digit, `side` pixels along each edge."""
    tile = Image.fromarray(_tiles()[digit, picture])
    return tile.resize((side, side), Image.Resampling.BOX)


_tiles = functools.cache(digits.tiles)


# -- what is said of it


def sentence(found: tuple[Path, ...]) -> str:
    """ "a seven moves up quickly and stops", or of two "first a seven ..., then a two ..."."""
    said = []
    for path in found:
        name = digits.CLASSES[path.digit]
        a = "an" if name == "eight" else "a"
        said.append(f"{a} {name} moves {path.direction} {path.speed} and {path.action}")
    return said[0] if len(said) == 1 else f"first {said[0]}, then {said[1]}"


def question(row: int, found: tuple[Path, ...]) -> tuple[str, str]:
    """A question about the clip and its answer; the kinds have their turns."""
    kind = QUESTIONS[row % len(QUESTIONS)]
    path = found[row // len(QUESTIONS) % len(found)]
    name = digits.CLASSES[path.digit]
    if kind == "which":
        return "which digit came first?", digits.CLASSES[found[0].digit]
    if kind == "direction":
        return f"which way did the {name} move?", path.direction
    if kind == "speed":
        return f"how did the {name} move?", path.speed
    return f"what did the {name} do then?", ACTIONS[path.action]


# -- the source


class MovingDigits:
    """The rows of a config, drawn when they are asked for."""

    def __init__(self, config: Config):
        self.config = config
        digest = hashlib.sha256(repr(config).encode())
        for row in range(min(3, config.rows)):  # how they are drawn is a part of the contents
            digest.update(draw(config, row, paths(config, row)).tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return self.config.rows

    def __getitem__(self, index: int) -> Example:
        config = self.config
        found = paths(config, index)
        asked, answer = self._asked(index, found)
        numbers = _numbers(found)
        return {
            "video": draw(config, index, found),
            "text": sentence(found),
            "question": asked,
            "answer": answer,
            "label": numbers[config.label],
            **numbers,
            "group": index,
            "id": f"{config.split}/{index}",
        }

    def column(self, name: str) -> np.ndarray | None:
        if name == "group":
            return np.arange(len(self), dtype=np.int32)
        if name == "label":
            name = self.config.label
        if name in LABELS:
            return np.array([_numbers(found)[name] for found in self._all], np.int32)
        if name == "text":
            return objects([sentence(found) for found in self._all])
        if name in ("question", "answer"):
            both = [self._asked(row, found) for row, found in enumerate(self._all)]
            return objects([one[name == "answer"] for one in both])
        return None

    @functools.cached_property
    def _all(self) -> list[tuple[Path, ...]]:
        return [paths(self.config, row) for row in range(len(self))]

    def _asked(self, row: int, found: tuple[Path, ...]) -> tuple[str, str]:
        """A question about a row and its answer."""
        caption = self.config.caption
        return (caption, sentence(found)) if caption else question(row, found)

    def locate(self, index: int) -> str:
        return f"moving digits {self.config.split}, row {index}"


def _numbers(found: tuple[Path, ...]) -> dict[str, int]:
    """The classes of a clip, by LABELS."""
    first = found[0]
    numbers = {
        "direction": list(DIRECTIONS).index(first.direction),
        "digit": first.digit,
        "speed": list(SPEEDS).index(first.speed),
        "action": list(ACTIONS).index(first.action),
        "second_direction": UNKNOWN,
        "second_digit": UNKNOWN,
        "order": UNKNOWN,
    }
    for second in found[1:]:
        numbers["second_direction"] = list(DIRECTIONS).index(second.direction)
        numbers["second_digit"] = second.digit
        numbers["order"] = int(first.digit > second.digit)
    return numbers


def open(config: Config) -> MovingDigits:
    """One example a clip: video (uint8 [T, S, S, 3]), text, question, answer, label, group, id, and
    the numbers of LABELS by their names.

    Raises DataError for a choice that is none, and for sizes in which nothing can move.
    """
    check_choice("moving_digits: split", config.split, SPLITS)
    check_choice("moving_digits: label", config.label, tuple(LABELS))
    check_choice("moving_digits: combinations", config.combinations, COMBINATIONS)
    check_choice("moving_digits: clips", config.clips, CLIPS)
    for action in config.actions:
        check_choice("moving_digits: actions", action, tuple(ACTIONS))
    if not config.actions:
        raise DataError("moving_digits: actions is empty; name some of " + ", ".join(ACTIONS))
    if not 1 <= config.fewest <= config.most <= 2:
        raise DataError(
            f"moving_digits: {config.fewest} to {config.most} digits of a clip; there are 1 or 2"
        )
    if config.frames < 12 or config.digit * 2 > config.side:
        raise DataError(
            f"moving_digits: frames={config.frames}, digit={config.digit} in side={config.side}: "
            "take 12 frames at least, and a side of twice the digit"
        )
    room = config.side - config.digit
    # the slowest way out of the picture is askew
    reach = min(SPEEDS.values()) * room / np.sqrt(2) * (config.frames - 1)
    if "leaves" in config.actions and reach <= config.digit / 2:
        raise DataError(
            f"moving_digits: in frames={config.frames} a digit of {config.digit} pixels that moves "
            f"slowly in side={config.side} goes {reach:.1f} pixels askew and never leaves: take "
            "more frames, a larger side, a smaller digit, or actions without leaving"
        )
    return MovingDigits(config)
