"""The prompts of the Asterisk telephone system with their texts, 24 minutes; `prepare` fetches.

https://www.asterisk.org, Debian packages asterisk-core-sounds-en, CC-BY-SA-3.0

* 551 recordings of one woman (Allison Smith), 8 kHz, most of a few seconds, the longest of 73:
  "Please enter your agent number followed by the pound key."
* Text as the package has it: with case and punctuation, digits as numerals ("Please press 1") or
  in words. Left out: tones, silence, and two recordings whose text has remarks in it.
* Equal texts are one `group`. Split by a hash of the text without case and punctuation.
"""

import dataclasses
import gzip
import re
from collections.abc import Iterator
from typing import Any

from mmjax.data.source import Example
from mmjax.datasets import prepared
from mmjax.datasets.prepared import Place, Stored, check_choice
from mmjax.datasets.prepared.captions import SPLITS, in_split
from mmjax.datasets.prepared.packages import Package

VERSION = "1.6.1-1"
POOL = "pool/main/a/asterisk-core-sounds"
FOLDER = "usr/share/asterisk/sounds/en_US_f_Allison/"
TEXTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
COPYRIGHT = "usr/share/doc/asterisk-core-sounds-en/copyright"
NO_SPEECH = re.compile(r"\[.*\]$|.*\(")  # "[ascending tones]", "(1 second of silence)"
SYMBOL = re.compile(r"\s*\[.\]$")  # "dollar [$]"


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all"
    test: float = 0.1  # share of the texts that is for testing; the validation's is 0.1


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    recordings, documents = SET.packages
    papers = dict(members(documents, lambda name: name in (TEXTS, COPYRIGHT)))
    out.licence("asterisk-cc-by-sa-3.0.txt", papers[COPYRIGHT])
    texts = _texts(gzip.decompress(papers[TEXTS]).decode("utf-8"))

    def wanted(name: str) -> bool:
        return name.removeprefix(FOLDER).removesuffix(".wav") in texts

    sounds = {name.removeprefix(FOLDER): data for name, data in members(recordings, wanted)}
    for done, name in enumerate(sorted(sounds), 1):
        stem = name.removesuffix(".wav")
        out.row(id=stem, text=texts[stem], audio=out.put("speech", sounds[name]))
        yield done, len(sounds)


def _texts(listing: str) -> dict[str, str]:
    """Name of a recording -> what is said: lines like "agent-user: Agent login."."""
    texts = {}
    for line in listing.splitlines():
        name, colon, text = line.partition(":")
        text = " ".join(text.split())
        if colon and not line.startswith(";") and not NO_SPEECH.match(text):
            texts[name.strip()] = SYMBOL.sub("", text)
    return texts


SET = prepared.Set(
    name="asterisk",
    about="551 telephone prompts of one voice with their texts, 24 minutes",
    licence="CC-BY-SA-3.0",
    packages=(
        Package(
            "debian",
            "asterisk-core-sounds-en-wav",
            VERSION,
            "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
            "CC-BY-SA-3.0",
            "recordings",
            18_272_864,
            POOL,
        ),
        Package(
            "debian",
            "asterisk-core-sounds-en",
            VERSION,
            "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
            "CC-BY-SA-3.0",
            "texts, licence",
            22_844,
            POOL,
        ),
    ),
    build=_build,
    disk=25_000_000,
)


def open(config: Config) -> Stored:
    """The recordings of a split: audio (WAV bytes), text, group, id. Columns: text, group.

    Raises DataError for a wrong split or a missing set.
    """
    check_choice("asterisk: split", config.split, SPLITS)

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        groups: dict[str, int] = {}
        for row in rows:
            key = " ".join(re.findall(r"\w+", row["text"].lower()))
            group = groups.setdefault(key, len(groups))
            if in_split(key, config.split, config.test):
                yield {
                    "audio": Place(*row["audio"]),
                    "text": row["text"],
                    "group": group,
                    "id": row["id"],
                }

    return prepared.source(SET, f"Asterisk prompts {config.split}", examples)
