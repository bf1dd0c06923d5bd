"""The sounds of Sonic Pi: 165 recordings with telling names; `prepare` fetches.

https://sonic-pi.net, CC0; 44.1 kHz FLAC of 0.03 to 30 seconds

* Instruments, loops, voices and noises: "drum_cymbal_open", "tabla_na", "perc_door". The name in
  words is the text, prefixes spelled out: "an open drum cymbal" would be better English, and is not
  what the files say.
* Variants that differ by a number alone ("tabla_ghe1" to 8) are one text, and one `group`.
* `label`: the prefix, an index into CLASSES. Split by a hash of the file's name: the variants of
  one text fall into several splits, so that held-out sounds have names that training has heard;
  `by="text"` keeps a text's files together.
* 35 of these are bundled as `sounds`, with texts of their own.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Literal

from mmjax.data.source import Example
from mmjax.datasets import prepared
from mmjax.datasets.prepared import Place, Stored, check_choice
from mmjax.datasets.prepared.captions import SPLITS, in_split
from mmjax.datasets.prepared.packages import Package

PREFIXES = {
    "ambi": "ambience",
    "bass": "bass",
    "bd": "bass drum",
    "drum": "drum",
    "elec": "electronic",
    "glitch": "glitch",
    "guit": "guitar",
    "loop": "loop",
    "mehackit": "electronic voice",
    "misc": "noise",
    "perc": "percussion",
    "sn": "snare drum",
    "tabla": "tabla",
    "vinyl": "vinyl record",
}
CLASSES = tuple(PREFIXES.values())
FOLDER = "usr/share/sonic-pi/samples/"
COPYRIGHT = "usr/share/doc/sonic-pi-samples/copyright"


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all"
    by: Literal["file", "text"] = "file"  # what falls into one split as a whole
    test: float = 0.2  # share that is for testing; the validation's is 0.1


def text_of(name: str) -> str:
    """ "tabla_ghe1" -> "tabla ghe": a file's name in words, without the number of a variant."""
    prefix, _, rest = name.partition("_")
    rest = re.sub(r"(?<=[a-z])\d+$", "", rest.replace("_", " "))
    said = PREFIXES[prefix]
    return f"{said}, {rest}"


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    def wanted(name: str) -> bool:
        return name == COPYRIGHT or (name.startswith(FOLDER) and name.endswith(".flac"))

    found = dict(members(SET.packages[0], wanted))
    out.licence("sonic-pi-samples.txt", found.pop(COPYRIGHT))
    for done, name in enumerate(sorted(found), 1):
        out.row(id=PurePosixPath(name).stem, audio=out.put("sounds", found[name]))
        yield done, len(found)


SET = prepared.Set(
    name="sonic_pi",
    about="165 named recordings of instruments, loops and noises",
    licence="CC0-1.0",
    packages=(
        Package(
            "debian",
            "sonic-pi-samples",
            "3.2.2~repack-8",
            "25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d",
            "CC0-1.0",
            "the samples",
            21_882_696,
            "pool/main/s/sonic-pi",
        ),
    ),
    build=_build,
    disk=22_000_000,
)


def open(config: Config) -> Stored:
    """The recordings of a split: audio (FLAC bytes), text, label, group, id.

    Columns: text, label, group. Raises DataError for a wrong split or a missing set.
    """
    check_choice("sonic_pi: split", config.split, SPLITS)

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        groups: dict[str, int] = {}
        for row in rows:
            text = text_of(row["id"])
            group = groups.setdefault(text, len(groups))
            key = row["id"] if config.by == "file" else text
            if in_split(key, config.split, config.test):
                yield {
                    "audio": Place(*row["audio"]),
                    "text": text,
                    "label": CLASSES.index(PREFIXES[row["id"].partition("_")[0]]),
                    "group": group,
                    "id": row["id"],
                }

    return prepared.source(SET, f"Sonic Pi sounds {config.split}", examples)
