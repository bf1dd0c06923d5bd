"""Generated scenes: questions about two to four pictures together. There is no file behind them.

* A picture is 32 x 32 pixels with one coloured shape on a pale ground, its place and size by
  chance. A question needs all pictures of its row: which of them differs and how, on how many
  something is seen, which came first. The pictures stand behind the question, "first <image>
  second <image>".
* "describe", a kind of its own, asks what each picture shows: an easy lesson to begin with, whose
  long answers tie what is seen to its place. Each of KINDS is asked in every fourth row.
* A row is drawn from (seed, split, row) alone: no split shares a picture with another, and more
  `rows` begin with the same ones.
* Answers of the other kinds are drawn before the pictures and evenly, so a question gives little
  away: who knows it and the number of pictures is right in 25% of the rows at best (6% of
  "different", 26% of "count", 43% of "order").
* How much the pictures tell is measured with `images`: in "shuffled" each row has the pictures of
  another row with as many, in "rolled" its own ones, the last of them first. The answers stay.

Letters: M pictures of a row.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mmjax.data.source import DataError, Example, objects
from mmjax.datasets.prepared import check_choice
from mmjax.transforms.dialogue import IMAGE
from mmjax.typing import Natural, Positive, UInt8

SPLITS = ("train", "validation", "test")
IMAGES = ("own", "shuffled", "rolled")
SIDE = 32  # pixels of height and width
FEWEST = 2  # pictures of a row
MOST = 4
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (214, 39, 40),
    "green": (44, 150, 44),
    "blue": (31, 90, 200),
    "yellow": (235, 200, 20),
    "purple": (140, 60, 170),
    "black": (25, 25, 25),
}
NUMBERS = ("zero", "one", "two", "three", "four")
PLACES = ("first", "second", "third", "fourth")
ATTRIBUTES = {"colour": tuple(COLOURS), "shape": SHAPES}


class Picture(NamedTuple):
    """One shape on its ground; lengths in pixels, from the upper left corner."""

    colour: str  # one of COLOURS
    shape: str  # one of SHAPES
    x: float  # of the centre
    y: float
    radius: float
    ground: int  # brightness of what is behind it, to 255


class Question(NamedTuple):
    """What is asked of the pictures of a row."""

    kind: str  # one of KINDS
    text: str
    answer: str
    pictures: tuple[Picture, ...]


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # one of SPLITS
    rows: Positive = 1000  # questions, before `kinds` are chosen from them
    kinds: tuple[str, ...] = ("different", "count", "order")  # of KINDS; the rest is left out
    images: str = "own"  # one of IMAGES: "own"; "shuffled" and "rolled" belong to no answer
    seed: Natural = 0  # of everything that is drawn


# -- what is asked: (random numbers, M) -> text, answer, and the attributes of each picture

Looks = list[dict[str, str]]  # "colour" and "shape" of each picture
Asked = tuple[str, str, Looks]


def _other(rng: np.random.Generator, attribute: str, *excluded: str) -> str:
    """A value of an attribute that is none of those excluded."""
    values = [value for value in ATTRIBUTES[attribute] if value not in excluded]
    return values[rng.integers(len(values))]


def _looks(rng: np.random.Generator, count: int) -> Looks:
    return [{name: _other(rng, name) for name in ATTRIBUTES} for _ in range(count)]


def _attribute(rng: np.random.Generator) -> str:
    return tuple(ATTRIBUTES)[rng.integers(len(ATTRIBUTES))]


def _describe(rng: np.random.Generator, count: int) -> Asked:
    """What each picture shows."""
    looks = _looks(rng, count)
    shown = [
        f"{place} {look['colour']} {look['shape']}"
        for place, look in zip(PLACES, looks, strict=False)
    ]
    return "what do the images show?", ", ".join(shown), looks


def _different(rng: np.random.Generator, count: int) -> Asked:
    """The attribute of one picture is another one than that of all others."""
    attribute = _attribute(rng)
    looks = _looks(rng, count)
    common = _other(rng, attribute)
    odd = _other(rng, attribute, common)
    place = int(rng.integers(count))
    for number, look in enumerate(looks):
        look[attribute] = odd if number == place else common
    return f"which {attribute} differs, and in which image?", f"{odd}, {PLACES[place]}", looks


def _count(rng: np.random.Generator, count: int) -> Asked:
    """On how many pictures a colour or a shape is seen."""
    attribute = _attribute(rng)
    value = _other(rng, attribute)
    looks = _looks(rng, count)
    number = int(rng.integers(count + 1))
    for order, place in enumerate(rng.permutation(count)):
        here = order < number
        looks[place][attribute] = value if here else _other(rng, attribute, value)
    what = f"something {value}" if attribute == "colour" else f"a {value}"
    return f"how many images show {what}?", NUMBERS[number], looks


def _order(rng: np.random.Generator, count: int) -> Asked:
    return _first(rng, count) if rng.integers(2) else _where(rng, count)


def _first(rng: np.random.Generator, count: int) -> Asked:
    """Which of two values of an attribute is seen before the other; each is seen once."""
    attribute = _attribute(rng)
    one = _other(rng, attribute)
    other = _other(rng, attribute, one)
    looks = _looks(rng, count)
    places = rng.permutation(count)
    for place in places:
        looks[place][attribute] = _other(rng, attribute, one, other)
    looks[places[0]][attribute] = one
    looks[places[1]][attribute] = other
    answer = one if places[0] < places[1] else other
    article = "something" if attribute == "colour" else "a"
    return f"which came first, {article} {one} or {article} {other}?", answer, looks


def _where(rng: np.random.Generator, count: int) -> Asked:
    """The place of a coloured shape; each other picture has its colour or its shape, not both."""
    (target,) = _looks(rng, 1)
    place = int(rng.integers(count))
    looks = [dict(target) for _ in range(count)]
    for number, look in enumerate(looks):
        if number != place:
            attribute = _attribute(rng)
            look[attribute] = _other(rng, attribute, target[attribute])
    text = f"which image shows the {target['colour']} {target['shape']}?"
    return text, PLACES[place], looks


KINDS: dict[str, Callable[[np.random.Generator, int], Asked]] = {
    "describe": _describe,
    "different": _different,
    "count": _count,
    "order": _order,
}


def question(seed: int, split: str, row: int) -> Question:
    """The question of one row, with what its pictures show."""
    rng = np.random.default_rng((seed, SPLITS.index(split), row))
    kind = list(KINDS)[row % len(KINDS)]
    fewest = 3 if kind == "different" else FEWEST  # of two pictures none is the odd one
    count = int(rng.integers(fewest, MOST + 1))
    text, answer, looks = KINDS[kind](rng, count)
    places = [f"{place} {IMAGE}" for place in PLACES[:count]]
    text = " ".join([text, *places])
    return Question(kind, text, answer, tuple(_placed(rng, look) for look in looks))


def _placed(rng: np.random.Generator, look: dict[str, str]) -> Picture:
    """Somewhere in a picture, all of it inside."""
    radius = rng.uniform(6, 11)
    x = rng.uniform(radius + 1, SIDE - radius - 1)
    y = rng.uniform(radius + 1, SIDE - radius - 1)
    return Picture(look["colour"], look["shape"], x, y, radius, int(rng.integers(205, 256)))


# -- how it is drawn


def draw(picture: Picture) -> UInt8[np.ndarray, "32 32 3"]:
    """The pixels of a picture, with smooth edges."""
    pixels = np.arange(SIDE) + 0.5
    x = np.abs(pixels[None, :] - picture.x)  # every shape is symmetric
    y = pixels[:, None] - picture.y
    outside = _distance(picture.shape, x, y, picture.radius)
    covered = np.clip(0.5 - outside, 0, 1)[..., None]
    ground = np.full(3, picture.ground)
    mixed = ground + covered * (np.array(COLOURS[picture.colour]) - ground)
    return np.rint(mixed).astype(np.uint8)


def _distance(shape: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """How far outside of a shape a point is, about in pixels; negative inside.

    x: from the axis. y: from the centre, downwards.
    """
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "square":
        return np.maximum(x, np.abs(y)) - 0.85 * radius
    if shape == "triangle":  # one corner up; its sides are half of `corner` from the centre
        corner = 1.15 * radius
        return np.maximum(y, np.sqrt(0.75) * x - y / 2) - corner / 2
    arm = 0.35 * radius
    wide = np.maximum(x - radius, np.abs(y) - arm)
    high = np.maximum(x - arm, np.abs(y) - radius)
    return np.minimum(wide, high)


# -- the source


class Scenes:
    """The rows of a config; pictures are drawn when they are asked for."""

    def __init__(self, config: Config):
        self.config = config
        drawn = [question(config.seed, config.split, row) for row in range(config.rows)]
        self.rows = [row for row in range(config.rows) if drawn[row].kind in config.kinds]
        self.questions = [drawn[row] for row in self.rows]
        if not self.questions:
            raise DataError(
                f"scenes: none of the {config.rows} rows asks one of the kinds "
                f"{', '.join(config.kinds) or '()'}: take more rows, or of {', '.join(KINDS)}"
            )
        self.pictures = _images(config.images, self.questions)
        pairs = zip(self.questions, self.pictures, strict=True)
        told = [(asked.text, asked.answer, pictures) for asked, pictures in pairs]
        digest = hashlib.sha256(repr(told).encode())
        for picture in self.pictures[0]:  # how it is drawn is a part of the contents
            digest.update(draw(picture).tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> Example:
        asked = self.questions[index]
        return {
            "image": [draw(picture) for picture in self.pictures[index]],
            "text": asked.text,
            "answer": asked.answer,
            "kind": list(KINDS).index(asked.kind),
            "group": index,
            "id": f"{self.config.split}/{self.rows[index]}",
        }

    def column(self, name: str) -> np.ndarray | None:
        if name in ("text", "answer"):
            return objects([getattr(asked, name) for asked in self.questions])
        if name == "kind":
            return np.array([list(KINDS).index(asked.kind) for asked in self.questions], np.int32)
        return np.arange(len(self), dtype=np.int32) if name == "group" else None

    def locate(self, index: int) -> str:
        return f"scenes {self.config.split}, row {self.rows[index]}"


def _images(which: str, questions: Sequence[Question]) -> list[tuple[Picture, ...]]:
    """The pictures that each row shows."""
    own = [asked.pictures for asked in questions]
    if which == "own":
        return own
    if which == "rolled":
        return [(pictures[-1], *pictures[:-1]) for pictures in own]
    shown = list(own)
    for count in range(FEWEST, MOST + 1):
        rows = [row for row, pictures in enumerate(own) if len(pictures) == count]
        if len(rows) == 1:
            raise DataError(
                f"scenes: only one row has {count} pictures, and no other row's can be shuffled "
                "with them: take more rows"
            )
        for row, giver in zip(rows, np.roll(rows, 1), strict=True):
            shown[row] = own[giver]
    return shown


def open(config: Config) -> Scenes:
    """One example a question: image (M of uint8 [32, 32, 3]), text, answer, kind, group, id.

    `kind` is an index into KINDS. Columns: text, answer, kind, group.
    Raises DataError for an unknown or an empty choice.
    """
    check_choice("scenes: split", config.split, SPLITS)
    check_choice("scenes: images", config.images, IMAGES)
    for kind in config.kinds:
        check_choice("scenes: kind", kind, tuple(KINDS))
    return Scenes(config)
