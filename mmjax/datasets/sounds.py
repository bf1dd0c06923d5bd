"""The bundled sounds: 35 short recordings of instruments and effects, 44.1 kHz.

* Text of a sound: its file name in words, "an open cymbal ringing"; `label`: its kind.
* For smoke tests and demonstrations: one recording a caption. The splits, by a hash of the name,
  show how held-out data is named in a config; they are too small to measure anything.
"""

import csv
import dataclasses

from mmjax.data.source import InMemory
from mmjax.datasets import bundled
from mmjax.datasets.prepared import check_choice
from mmjax.datasets.prepared.captions import SPLITS, in_split

CLASSES = (
    "ambience", "bass", "bass drum", "drum", "electronic", "animal", "percussion", "tabla",
    "vinyl",
)


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "all"  # "train", "validation", "test", "all"


def open(config: Config) -> InMemory:
    """The sounds of a split: audio (FLAC bytes, one or two channels), text, label, group, id.

    `label` is an index into CLASSES. Columns: text, label, group. Raises DataError for a wrong
    split.
    """
    check_choice("sounds: split", config.split, SPLITS)
    table = bundled.read("sounds", "sounds.csv").decode().splitlines()
    examples = []
    rows = zip(csv.DictReader(table), bundled.pieces("sounds"), strict=True)
    for group, (row, sound) in enumerate(rows):
        if in_split(row["name"], config.split):
            examples.append({
                "audio": sound,
                "text": row["text"],
                "label": CLASSES.index(row["kind"]),
                "group": group,
                "id": row["name"],
            })
    name = "bundled sounds" if config.split == "all" else f"bundled sounds {config.split}"
    return InMemory(examples, name)
