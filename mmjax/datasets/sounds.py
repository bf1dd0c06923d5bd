"""The bundled sounds: 35 short recordings of instruments and effects, 44.1 kHz.

* Text of a sound: its file name in words, "an open cymbal ringing"; `label`: its kind.
* One recording a caption and no split: for smoke tests and demonstrations.
"""

import csv
import dataclasses

from mmjax.data.source import InMemory
from mmjax.datasets import bundled

CLASSES = (
    "ambience", "bass", "bass drum", "drum", "electronic", "animal", "percussion", "tabla",
    "vinyl",
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose: there is one split."""


def open(config: Config) -> InMemory:
    """The sounds: audio (FLAC bytes, one or two channels), text, label, group, id.

    `label` is an index into CLASSES. Columns: text, label, group.
    """
    table = bundled.read("sounds", "sounds.csv").decode().splitlines()
    data, stop, examples = bundled.read("sounds", "sounds.bin"), 0, []
    for group, row in enumerate(csv.DictReader(table)):
        start, stop = stop, stop + int(row["bytes"])
        examples.append({
            "audio": data[start:stop],
            "text": row["text"],
            "label": CLASSES.index(row["kind"]),
            "group": group,
            "id": row["name"],
        })
    return InMemory(examples, "bundled sounds")
