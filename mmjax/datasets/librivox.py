"""The bundled speech: five clips of LibriVox, 24.7 seconds in all, 16 kHz, with transcripts.

* A smoke test, not a benchmark: one woman reads from "Sense and Sensibility".
* Transcripts are lower case without punctuation; that of 0920 has a word too many ("a more a
  amiable woman"), left as the package has it.
"""

import csv
import dataclasses

from mmjax.data.source import InMemory
from mmjax.datasets import bundled


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose: there is one split."""


def open(config: Config) -> InMemory:
    """The five clips: audio (WAV bytes), text, group, id. Columns: text, group."""
    table = bundled.read("librivox", "librivox.csv").decode().splitlines()
    data, stop, examples = bundled.read("librivox", "librivox.bin"), 0, []
    for group, row in enumerate(csv.DictReader(table)):
        start, stop = stop, stop + int(row["bytes"])
        examples.append(
            {"audio": data[start:stop], "text": row["text"], "group": group, "id": row["name"]})
    return InMemory(examples, "bundled LibriVox")
