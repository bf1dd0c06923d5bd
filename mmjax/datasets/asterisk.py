"""The prompts of the Asterisk telephone system with their texts; `prepare` fetches.

https://www.asterisk.org, Debian packages asterisk-core-sounds-{en,fr,es,it,ru}

* English: 551 recordings of one woman (Allison Smith), 24 minutes at 8 kHz, most of a few seconds,
  the longest of 73: "Please enter your agent number followed by the pound key."
* French, Spanish, Italian and Russian are sets of their own, each of one voice, with the texts as
  the packages have them: Spanish ones lack accents.
* Text has case and punctuation, digits as numerals ("Please press 1") or in words. Left out: tones,
  silence, and recordings whose text has remarks in it.
* Equal texts are one `group`. Split by a hash of the text without case and punctuation.
"""

import dataclasses
import functools
import gzip
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from mmjax.data.source import Example
from mmjax.datasets import prepared
from mmjax.datasets.prepared import Place, Stored, check_choice
from mmjax.datasets.prepared.captions import SPLITS, in_split
from mmjax.datasets.prepared.packages import Package

VERSION = "1.6.1-1"
POOL = "pool/main/a/asterisk-core-sounds"
FOLDER = "usr/share/asterisk/sounds/"
DOCUMENTS = "usr/share/doc/asterisk-core-sounds-"
NO_SPEECH = re.compile(r"\[.*\]$|.*\(")  # "[ascending tones]", "(1 second of silence)"
SYMBOL = re.compile(r"\s*\[.\]$")  # "dollar [$]"


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all"
    language: Literal["en", "fr", "es", "it", "ru"] = "en"  # that is spoken
    test: float = 0.1  # share of the texts that is for testing; the validation's is 0.1


class Voice(NamedTuple):
    """The recordings of a language."""

    folder: str  # of the sounds
    about: str
    licence: str
    sounds: tuple[str, int]  # sha256 and bytes of the package
    texts: tuple[str, int]


VOICES = {
    "en": Voice(
        "en_US_f_Allison",
        "551 telephone prompts of one voice with their texts, 24 minutes",
        "CC-BY-SA-3.0",
        ("2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d", 18_272_864),
        ("973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50", 22_844),
    ),
    "fr": Voice(
        "fr_CA_f_June",
        "506 telephone prompts in French, 23 minutes",
        "CC-BY-SA-3.0",
        ("8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e", 18_516_060),
        ("04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056", 23_152),
    ),
    "es": Voice(
        "es_MX_f_Allison",
        "477 telephone prompts in Spanish, 29 minutes",
        "CC-BY-SA-3.0",
        ("9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903", 23_767_256),
        ("9afdab7f559f036649fb406e625899306ca1004df8ebe39c30bfbd5912d66f74", 22_012),
    ),
    "it": Voice(
        "it_IT_m_Carlo",
        "570 telephone prompts in Italian, 21 minutes",
        "CC-BY-3.0",
        ("5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb", 18_262_124),
        ("3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b", 23_972),
    ),
    "ru": Voice(
        "ru_RU_f_IvrvoiceRU",
        "555 telephone prompts in Russian, 23 minutes",
        "CC-BY-3.0",
        ("ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201", 18_788_860),
        ("28a61616bb0cd3345a7ea532dec4df9f071e5d0fa9f8c1a563ea9669002f39ab", 25_592),
    ),
}


def _build(
    language: str, members: prepared.Members, out: prepared.Writer
) -> Iterator[tuple[int, int]]:
    recordings, documents = SETS[language].packages
    listing = f"{DOCUMENTS}{language}/core-sounds-{language}.txt.gz"
    copyright = f"{DOCUMENTS}{language}/copyright"
    papers = dict(members(documents, lambda name: name in (listing, copyright)))
    out.licence(f"asterisk-{VOICES[language].licence.lower()}.txt", papers[copyright])
    texts = _texts(gzip.decompress(papers[listing]).decode("utf-8-sig"))
    folder = f"{FOLDER}{VOICES[language].folder}/"

    def wanted(name: str) -> bool:
        return name.removeprefix(folder).removesuffix(".wav") in texts

    sounds = {name.removeprefix(folder): data for name, data in members(recordings, wanted)}
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
        if colon and text and not line.startswith(";") and not NO_SPEECH.match(text):
            texts[name.strip()] = SYMBOL.sub("", text)
    return texts


def _set(language: str, voice: Voice) -> prepared.Set:
    packages = [
        Package(
            "debian", f"asterisk-core-sounds-{language}{part}", VERSION, sha256, voice.licence,
            used_for, size, POOL,
        )
        for part, (sha256, size), used_for in (
            ("-wav", voice.sounds, "recordings"), ("", voice.texts, "texts, licence"),
        )
    ]  # fmt: skip
    return prepared.Set(
        name="asterisk" if language == "en" else f"asterisk_{language}",
        about=voice.about,
        licence=voice.licence,
        packages=tuple(packages),
        build=functools.partial(_build, language),
        disk=25_000_000,
        read_by=lambda options: options.get("language", "en") == language,
        source="asterisk",
    )


SETS = {language: _set(language, voice) for language, voice in VOICES.items()}


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

    return prepared.source(
        SETS[config.language], f"Asterisk prompts {config.language} {config.split}", examples
    )
