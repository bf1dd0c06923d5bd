"""Programmes: digits that move, one scene behind the other for one to four minutes, made from the
bundled ones (digits.py) with no file behind them; questions at the end of each.

* Three kinds of questions, each about another stretch of time. "short": which way it moves now, in
  a scene that began two seconds ago; "medium": what came right after a digit that came once in the
  last half minute; "long": how often a digit came, or whether it came back, over the whole.
* What is asked over the whole is drawn before the programme, and evenly: some digits come never to
  three times, and have been away for twelve seconds when they come back; the others fill the rest.
* No kind is answered by looking elsewhere. In the last two seconds the middle of the way says
  nothing of its direction, so that whoever mixes these frames cannot tell to from fro; whoever
  mixes twelve seconds sees which digits came, and of most not in what order; and of a digit's
  coming over the whole the last half minute has but a part.
* A row is drawn from (seed, split, row) alone: any number of rows takes no disk, and more `rows`
  begin with the same ones. No split shares a digit's picture with another.
* Answers are classes too (LABELS), all that a programme's questions tell: which way it moves now,
  what came right after each digit, how often each came. What is not asked is UNKNOWN.
* A row is a conversation, of one question or of several and a sentence for what has been seen. No
  frame is drawn before it is asked for: how long a programme is and what is said of it is known
  without.

Letters: T frames, S pixels along an edge, D pixels along the edge of a digit.
"""

import dataclasses
import functools
import hashlib
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.source import DataError, Example, objects
from mmjax.datasets import digits
from mmjax.datasets.moving_digits import PICTURES, SPLITS, UNKNOWN, tile
from mmjax.datasets.prepared import check_choice
from mmjax.transforms.video import Video
from mmjax.typing import Natural, Positive, UInt8

KINDS = ("short", "medium", "long")
RATE = 2  # frames per second
SCENE = (4, 8)  # frames that a scene may have, the first of a programme up to 10
NOW = 4  # frames of the last scene
LATELY = 60  # frames of the last half minute
AWAY = 24  # frames between two comings of a digit that is asked about over the whole, at least
ROOM = 12  # pixels that a digit has to move in, at least
ASKED = 4  # digits that are asked about over the whole
DIRECTIONS = {"right": (0, 1), "down": (1, 0), "left": (0, -1), "up": (-1, 0)}  # rows, columns
OFTEN = ("never", "once", "twice", "three times")
NOW_ASKED = "which way does it move now?"
CAPTION = "what has been seen?"
LABELS = {  # of what is asked -> the names of its classes
    "now": tuple(DIRECTIONS),
    **{f"after_{name}": digits.CLASSES for name in digits.CLASSES},
    **{f"often_{name}": OFTEN for name in digits.CLASSES},
}


class Scene(NamedTuple):
    """A digit that moves; its place is that of its upper left corner in the first frame."""

    digit: int
    picture: int  # which of its pictures
    direction: str  # one of DIRECTIONS
    frames: int
    step: int  # pixels from frame to frame
    row: int
    column: int


class Question(NamedTuple):
    """What is asked of a programme."""

    kind: str  # one of KINDS, or "caption"
    text: str
    answer: str
    label: str = ""  # one of LABELS
    number: int = UNKNOWN  # of its class


class Programme(NamedTuple):
    """What is seen, and asked."""

    scenes: tuple[Scene, ...]
    questions: tuple[Question, ...]  # in an order by chance
    caption: str

    @property
    def frames(self) -> int:
        """T."""
        return sum(scene.frames for scene in self.scenes)


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # one of SPLITS
    rows: Positive = 1000  # programmes
    shortest: Positive = 60  # seconds
    longest: Positive = 240  # likewise
    side: Positive = 24  # S
    digit: Positive = 12  # D
    kinds: tuple[str, ...] = KINDS  # which are asked; they have their turns where it is one
    questions: Natural = 1  # of a row at most
    caption: bool = False  # whether a sentence for what has been seen is asked, as the last
    seed: Natural = 0  # of everything that is drawn


# -- what comes


def programme(config: Config, row: int) -> Programme:
    """Of a row."""
    rng = np.random.default_rng((config.seed, SPLITS.index(config.split), row))
    while True:
        lengths = _lengths(config, rng)
        order = rng.permutation(len(digits.CLASSES))
        whole, counts = _over_the_whole(rng, order[:ASKED])
        come = _digits(rng, lengths, counts, order[ASKED:])
        if come is None:
            continue
        lately = _lately(come, lengths)
        if not lately:
            continue
        scenes = _scenes(config, rng, come, lengths)
        way = scenes[-1].direction
        now = Question("short", NOW_ASKED, way, "now", list(DIRECTIONS).index(way))
        questions = [now, *lately, *whole]
        asked = tuple(questions[place] for place in rng.permutation(len(questions)))
        return Programme(scenes, asked, _sentence(scenes))


def _lengths(config: Config, rng: np.random.Generator) -> list[int]:
    """Frames of each scene; the last has NOW."""
    left = RATE * int(rng.integers(config.shortest, config.longest + 1)) - NOW
    lengths = [NOW]
    drawn = rng.integers(len(SCENE), size=left).tolist()
    while left:
        frames = SCENE[drawn[len(lengths)]]
        if left - frames < min(SCENE):
            frames = left
        lengths.append(frames)
        left -= frames
    return lengths[::-1]


def _over_the_whole(
    rng: np.random.Generator, asked: np.ndarray
) -> tuple[list[Question], dict[int, int]]:
    """A question about each digit, and how often it comes: every answer of a question is as likely
    as every other."""
    questions = []
    counts = {}
    for digit in asked.tolist():
        name = digits.CLASSES[digit]
        if rng.random() < 2 / 3:
            count = int(rng.integers(len(OFTEN)))
            asked = f"how often did {_a(name)} come?"
            answer = OFTEN[count]
        else:
            back = bool(rng.integers(2))
            count = int(rng.integers(2, len(OFTEN))) if back else 1
            asked = f"did the {name} come back?"
            answer = "yes" if back else "no"
        questions.append(Question("long", asked, answer, f"often_{name}", count))
        counts[digit] = count
    return questions, counts


def _digits(
    rng: np.random.Generator, lengths: list[int], counts: dict[int, int], others: np.ndarray
) -> list[int] | None:
    """The digit of each scene, never one twice in a row; None where there is no room."""
    ends = np.cumsum(lengths).tolist()
    begins = [0, *ends[:-1]]
    come = [-1] * len(lengths)
    for digit, count in counts.items():
        taken: list[int] = []
        for place in rng.permutation(len(lengths)).tolist():
            apart = all(
                max(begins[place] - ends[one], begins[one] - ends[place]) >= AWAY for one in taken
            )
            if come[place] < 0 and apart and len(taken) < count:
                taken.append(place)
                come[place] = digit
        if len(taken) < count:
            return None
    drawn = rng.random(len(come)).tolist()
    for place, digit in enumerate(come):
        if digit < 0:
            near = come[max(0, place - 1) : place + 2]
            free = [one for one in others.tolist() if one not in near]
            come[place] = free[int(drawn[place] * len(free))]
    return come


def _lately(come: list[int], lengths: list[int]) -> list[Question]:
    """What came right after each digit that was seen in one scene of the last half minute."""
    ends = np.cumsum(lengths).tolist()
    seen = [place for place, end in enumerate(ends) if ends[-1] - end < LATELY]
    questions = []
    for place in seen[:-1]:
        if [come[one] for one in seen].count(come[place]) == 1:
            name = digits.CLASSES[come[place]]
            asked = f"in the last half minute, what came right after the {name}?"
            after = come[place + 1]
            label = f"after_{name}"
            questions.append(Question("medium", asked, digits.CLASSES[after], label, after))
    return questions


def _scenes(
    config: Config, rng: np.random.Generator, come: list[int], lengths: list[int]
) -> tuple[Scene, ...]:
    """How the digits move."""
    count = len(come)
    room = config.side - config.digit
    directions = rng.integers(len(DIRECTIONS), size=count).tolist()
    pictures = rng.integers(*PICTURES[config.split], size=count).tolist()
    middles = rng.random((count, 2)).tolist()
    scenes = []
    for number, frames in enumerate(lengths):
        name = list(DIRECTIONS)[directions[number]]
        toward = DIRECTIONS[name]
        step = room // (2 * NOW - 2) if frames == NOW else room // ROOM
        reach = step * (frames - 1)
        # the middle of the way is drawn alike for all directions
        margin = -(-reach // 2)
        far = margin if sum(toward) > 0 else reach - margin
        places = []
        for drawn, one in zip(middles[number], toward, strict=True):
            middle = margin + int(drawn * (room - 2 * margin + 1))
            places.append(middle - far * one)
        scenes.append(Scene(come[number], pictures[number], name, frames, step, *places))
    return tuple(scenes)


def _a(name: str) -> str:
    return f"an {name}" if name == "eight" else f"a {name}"


def _sentence(scenes: tuple[Scene, ...]) -> str:
    """ "first a two, lately seven five one, now an eight that moves left"."""
    behind = 0
    lately: list[str] = []
    for scene in scenes[::-1]:
        behind += scene.frames
        if behind > LATELY:
            break
        lately.append(digits.CLASSES[scene.digit])
    said = " ".join(lately[:0:-1])
    first = _a(digits.CLASSES[scenes[0].digit])
    now = _a(digits.CLASSES[scenes[-1].digit])
    return f"first {first}, lately {said}, now {now} that moves {scenes[-1].direction}"


# -- how it is drawn


def draw(config: Config, scenes: tuple[Scene, ...]) -> UInt8[np.ndarray, "T S S 3"]:
    """The frames of a programme."""
    total = sum(scene.frames for scene in scenes)
    frames = np.zeros((total, config.side, config.side, 3), np.uint8)
    time = 0
    for scene in scenes:
        image = np.asarray(tile(scene.digit, scene.picture, config.digit))[..., None]
        down, right = DIRECTIONS[scene.direction]
        for number in range(scene.frames):
            top = scene.row + number * scene.step * down
            left = scene.column + number * scene.step * right
            frames[time, top : top + config.digit, left : left + config.digit] = image
            time += 1
    return frames


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """The frames of a programme, drawn when they are read as an array."""

    config: Config
    scenes: tuple[Scene, ...]

    def __len__(self) -> int:
        return sum(scene.frames for scene in self.scenes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        frames = draw(self.config, self.scenes)
        return frames if dtype is None else frames.astype(dtype)


# -- the source


class Programmes:
    """The rows of a config, drawn when they are asked for."""

    def __init__(self, config: Config):
        self.config = config
        digest = hashlib.sha256(repr(config).encode())
        for row in range(min(2, config.rows)):  # how they are drawn is a part of the contents
            digest.update(draw(config, programme(config, row).scenes).tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return self.config.rows

    def __getitem__(self, index: int) -> Example:
        found = programme(self.config, index)
        asked = self._asked(index, found)
        return {
            "video": self._video(found),
            "text": found.caption,
            "conversation": _conversation(asked),
            "question": asked[0].text,
            "answer": asked[0].answer,
            "kind": asked[0].kind,
            "seconds": found.frames // RATE,
            **dict.fromkeys(LABELS, UNKNOWN),
            **{one.label: one.number for one in found.questions},
            "group": index,
            "id": f"{self.config.split}/{index}",
        }

    def column(self, name: str) -> np.ndarray | None:
        if name == "group":
            return np.arange(len(self), dtype=np.int32)
        if name == "seconds":
            return np.array([found.frames // RATE for found in self._all], np.int32)
        if name in LABELS:
            known = [{one.label: one.number for one in found.questions} for found in self._all]
            return np.array([labels.get(name, UNKNOWN) for labels in known], np.int32)
        if name == "text":
            return objects([found.caption for found in self._all])
        if name == "video":
            return objects([self._video(found) for found in self._all])
        if name in ("conversation", "question", "answer", "kind"):
            asked = [self._asked(row, found) for row, found in enumerate(self._all)]
            if name == "conversation":
                return objects([_conversation(questions) for questions in asked])
            field = "text" if name == "question" else name
            return objects([getattr(questions[0], field) for questions in asked])
        return None

    @functools.cached_property
    def _all(self) -> list[Programme]:
        return [programme(self.config, row) for row in range(len(self))]

    def _video(self, found: Programme) -> Video:
        return Video(Frames(self.config, found.scenes), RATE)

    def _asked(self, row: int, found: Programme) -> list[Question]:
        """The questions of a row: each kind in its turn where there is one alone."""
        config = self.config
        of_kinds = [one for one in found.questions if one.kind in config.kinds]
        if config.questions == 1:
            kind = config.kinds[row % len(config.kinds)]
            of_kinds = [one for one in of_kinds if one.kind == kind]
        asked = of_kinds[: config.questions]
        if config.caption:
            asked.append(Question("caption", CAPTION, found.caption))
        return asked

    def locate(self, index: int) -> str:
        return f"programmes {self.config.split}, row {index}"


def _conversation(asked: list[Question]) -> list[dict[str, str]]:
    turns = []
    for one in asked:
        turns.append({"role": "user", "content": one.text})
        turns.append({"role": "assistant", "content": one.answer})
    return turns


def open(config: Config) -> Programmes:
    """One example a programme: video (a Video of 2 frames a second, uint8 [T, S, S, 3]), text (a
    sentence for it), conversation, question, answer, kind, seconds, group, id, and the classes of
    LABELS by their names; of several questions the first.

    Raises DataError for a choice that is none, and for sizes in which nothing can move.
    """
    check_choice("programmes: split", config.split, SPLITS)
    for kind in config.kinds:
        check_choice("programmes: kinds", kind, KINDS)
    if not config.kinds:
        raise DataError("programmes: kinds is empty; name some of " + ", ".join(KINDS))
    if not config.questions and not config.caption:
        raise DataError("programmes: questions=0 and no caption: nothing is asked; take one")
    if not 60 <= config.shortest <= config.longest:
        raise DataError(
            f"programmes: {config.shortest} to {config.longest} seconds; a programme has a minute "
            "at least, and the longest is no shorter than the shortest"
        )
    if config.digit + ROOM > config.side:
        raise DataError(
            f"programmes: a digit of {config.digit} pixels has no room to move in "
            f"side={config.side}; take a side of {config.digit + ROOM} at least"
        )
    return Programmes(config)
