"""The bundled speech: five clips of LibriVox, 24.7 seconds in all, 16 kHz, with transcripts.

* A smoke test, not a benchmark: one woman reads from "Sense and Sensibility". The splits (four
  clips and one) show how held-out data is named in a config.
* Transcripts are lower case without punctuation; that of 0920 has a word too many ("a more a
  amiable woman"), left as the package has it.
"""

import csv
import dataclasses

from mmjax.data.source import InMemory
from mmjax.datasets import bundled
from mmjax.datasets.prepared import check_choice

SPLITS = ("train", "test", "all")
TEST = 4  # the clip, counted from 0, that is for testing


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "all"  # one of SPLITS


def open(config: Config) -> InMemory:
    """The clips of a split: audio (WAV bytes), text, group, id. Columns: text, group.

    Raises DataError for a wrong split.
    """
    check_choice("librivox: split", config.split, SPLITS)
    table = bundled.read("librivox", "librivox.csv").decode().splitlines()
    rows = zip(csv.DictReader(table), bundled.pieces("librivox"), strict=True)
    examples = [
        {"audio": sound, "text": row["text"], "group": group, "id": row["name"]}
        for group, (row, sound) in enumerate(rows)
        if config.split in ("all", "test" if group == TEST else "train")
    ]
    name = "bundled LibriVox" if config.split == "all" else f"bundled LibriVox {config.split}"
    return InMemory(examples, name)
