"""The bundled emoji: 1,852 concepts, 1,607 of them drawn in two styles, with a label and tags.

* Text of a concept: its label and its first tags, "mushroom, fungus, toadstool". Both drawings
  share a `group`, so that neither is a negative for the other.
* Held out by family (gender, direction, skin and hair variants of a thing together): in
  `*/unseen_concept` neither drawing was in training, in `*/unseen_style` the Noto drawing was
  and the Fluent one, of it and of its whole family, was not.
* Flags are in `test/flags` alone, never trained on: which country a flag stands for cannot be
  guessed. Country flags exist in Noto only.
* `label` is the class of the concept: an index into `CLASSES`.
"""

import csv
import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from mmjax.data.source import DataError, InMemory
from mmjax.datasets import bundled
from mmjax.datasets.prepared import check_choice

STYLES = ("noto", "fluent")
CLASSES = (
    "smileys & emotion", "people & body", "animals & nature", "food & drink", "travel & places",
    "activities", "objects", "symbols", "flags",
)
SPLITS = (
    "train", "validation/unseen_style", "validation/unseen_concept", "test/unseen_style",
    "test/unseen_concept", "test/flags",
)
SIDE = 64  # pixels of height and width


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # one of SPLITS
    styles: tuple[str, ...] = STYLES  # drawings to use, "noto" and "fluent"
    tags: int = 3  # at most so many tags follow the label in the text


class Concept(NamedTuple):
    """One thing that is drawn, with its drawings."""

    key: str  # code points, "1f468-200d-1f692"
    name: str  # English label
    tags: tuple[str, ...]
    label: int  # index into CLASSES
    family: str
    split: str
    images: tuple[bytes, ...]  # WebP files in the order of STYLES, empty where there is none


@functools.cache
def concepts() -> tuple[Concept, ...]:
    """All concepts in Unicode's order; a concept's place here is its `group`."""
    table = bundled.read("emoji", "emoji.csv").decode().splitlines()
    data = bundled.read("emoji", "emoji.bin")
    start = 0
    rows = []
    for row in csv.DictReader(table):
        images = []
        for style in STYLES:
            stop = start + int(row[style])
            images.append(data[start:stop])
            start = stop
        concept = Concept(
            key=row["key"],
            name=row["label"],
            tags=tuple(row["tags"].split("|")),
            label=CLASSES.index(row["group"]),
            family=row["family"],
            split=row["split"],
            images=tuple(images),
        )
        rows.append(concept)
    return tuple(rows)


def text(concept: Concept, tags: int) -> str:
    """The label and up to `tags` tags; tags that are no more than a word of the label are left."""
    words = {concept.name.lower(), *concept.name.lower().split()}
    new = [tag for tag in concept.tags if tag.lower() not in words]
    return ", ".join([concept.name, *new[:tags]])


def split_of(concept: Concept, style: str) -> str:
    """The split a drawing is in: the Noto drawing of an unseen style is trained on."""
    if concept.split.endswith("/unseen_style") and style == "noto":
        return "train"
    return concept.split


def catalogue(style: str = "noto") -> InMemory:
    """One drawing of every concept that has one in this style, of all splits: image, text, id."""
    number = STYLES.index(style)
    examples = [
        {"image": concept.images[number], "text": concept.name, "id": concept.name}
        for concept in concepts()
        if concept.images[number]
    ]
    return InMemory(examples, f"bundled emoji, {style}")


def open(config: Config) -> InMemory:
    """The drawings of a split: image (WebP bytes), text, name, tags, label, group, style, id.

    `style` is an index into STYLES. Columns: text, label, group, style.
    Raises DataError for an unknown or an empty choice.
    """
    check_choice("emoji: split", config.split, SPLITS)
    for style in config.styles:
        check_choice("emoji: style", style, STYLES)
    if config.tags < 0:
        raise DataError(f"emoji: tags is {config.tags}; it is a number of tags, 0 or more")
    examples = [
        {
            "image": concept.images[number],
            "text": text(concept, config.tags),
            "name": concept.name,
            "tags": concept.tags,
            "label": concept.label,
            "group": group,
            "style": number,
            "id": f"{style}/{concept.key}",
        }
        for group, concept in enumerate(concepts())
        for number, style in enumerate(STYLES)
        if style in config.styles
        and concept.images[number]
        and split_of(concept, style) == config.split
    ]
    if not examples:
        raise DataError(
            f"emoji: split {config.split!r} has no drawing in the styles {config.styles}; the "
            "unseen styles are fluent"
        )
    styles = np.array([example["style"] for example in examples], np.int32)
    return InMemory(examples, f"bundled emoji {config.split}", {"style": styles})
