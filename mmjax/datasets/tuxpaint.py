"""Tux Paint's stamps: 950 cut-out photographs and drawings with captions; `prepare` fetches.

https://tuxpaint.org/stamps, GPL-2

* Captions are sentences in up to 78 languages ("A great blue heron."); `language` picks one, and
  stamps without a caption in it are left out.
* Equal English captions are one `group`: "A flower." is said of six. `unique` keeps the first.
* Sounds, unchanged: `audio="effect"` gives the stamps that have one (a bell rings), `"speech"`
  those whose caption is spoken in `language`, as Ogg or WAV bytes.
* Split by a hash of the English caption. `label`: the top folder, an index into CLASSES.
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
from mmjax.datasets.prepared.drawing import each, from_picture, from_svg
from mmjax.datasets.prepared.packages import Package

CLASSES = (
    *("animals", "clothes", "food", "hobbies", "household", "medical", "military"),
    *("naturalforces", "people", "plants", "seasonal", "space", "sports", "symbols", "town"),
    "vehicles",
)
FOLDER = "usr/share/tuxpaint/stamps/"
COPYRIGHT = "usr/share/doc/tuxpaint-stamps-default/copyright"
SPOKEN = re.compile(r"(.*)_desc(?:_([A-Za-z@_]+))?(?:\.ogg)?$")  # "frog_desc_pt_BR"


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all"
    language: str = "en"  # of the captions: "de", "pt_BR", "ca@valencia", ...
    categories: tuple[str, ...] = ()  # of CLASSES; (): all. 259 symbols are letters and digits
    unique: bool = False  # one stamp for each English caption
    audio: Literal["", "effect", "speech"] = ""  # only stamps with this sound, in the field `audio`


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    pictures: dict[str, tuple[bytes, bool]] = {}  # stem -> (file, whether it is an SVG)
    texts: dict[str, list[str]] = {}  # stem -> lines
    sounds: dict[str, dict[str, Place]] = {}  # stem -> language, "" for an effect -> where it is
    for name, data in members(SET.packages[0], lambda name: name.startswith((FOLDER, COPYRIGHT))):
        if name == COPYRIGHT:
            out.licence("tuxpaint-gpl-2.txt", data)
            continue
        path = PurePosixPath(name.removeprefix(FOLDER))
        stem = str(path.with_suffix(""))
        if path.suffix == ".svg":
            pictures.setdefault(stem, (data, True))
        elif path.suffix == ".png":  # where there are both, its text is drawn
            pictures[stem] = (data, False)
        elif path.suffix == ".txt":
            texts[stem] = data.decode("utf-8", "replace").splitlines()
        elif path.suffix in (".ogg", ".wav"):
            spoken = SPOKEN.match(stem)
            place = out.put("speech" if spoken else "effects", data)
            if spoken:
                language = spoken[2] or "en"
                sounds.setdefault(spoken[1], {})[language] = place
            else:
                sounds.setdefault(stem, {})[""] = place
        yield 0, len(pictures)

    def draw(stem: str) -> bytes:
        data, vector = pictures[stem]
        return from_svg(data, out.side) if vector else from_picture(data, out.side)

    stems = sorted(stem for stem in pictures if texts.get(stem))  # mirrored ones have no caption
    for done, (stem, image) in enumerate(zip(stems, each(draw, stems), strict=True), 1):
        out.row(
            id=stem,
            captions=captions_of(texts[stem]),
            image=out.put("images", image),
            sounds=sounds.get(stem, {}),
        )
        yield done, len(stems)


def captions_of(lines: list[str]) -> dict[str, str]:
    """By language: the first line is English, the others are like "de.utf8=Ein Reiher."."""
    captions = {"en": lines[0]}
    for line in lines[1:]:
        match = re.match(r"([\w@]+)\.utf8=(.*)", line)
        if match:
            captions[match[1]] = match[2]
    return {language: " ".join(text.split()) for language, text in captions.items() if text}


SET = prepared.Set(
    name="tuxpaint",
    about="950 stamps with captions in up to 78 languages, sound effects, spoken captions",
    licence="GPL-2.0-or-later",
    packages=(
        Package(
            "debian",
            "tuxpaint-stamps-default",
            "2022.06.04-1",
            "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
            "GPL-2.0-or-later",
            "photographs and drawings, captions, sounds",
            160_880_444,
            "pool/main/t/tuxpaint-stamps",
        ),
    ),
    build=_build,
    disk=170_000_000,
    draws=True,
)


def open(config: Config) -> Stored:
    """The stamps of a split: image (WebP bytes), text, label, group, id; audio if asked for.

    Columns: text, label, group. Raises DataError for a wrong choice or a missing set.
    """
    check_choice("tuxpaint: split", config.split, SPLITS)
    for category in config.categories:
        check_choice("tuxpaint: category", category, CLASSES)
    sound = {"": None, "effect": "", "speech": config.language}[config.audio]

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        languages = {language for row in rows for language in row["captions"]}
        check_choice("tuxpaint: language", config.language, sorted(languages))
        groups: dict[str, int] = {}
        seen: set[int] = set()
        for row in rows:
            group = groups.setdefault(row["captions"]["en"].lower(), len(groups))
            category = row["id"].split("/")[0]
            if (
                config.language not in row["captions"]
                or not in_split(row["captions"]["en"].lower(), config.split)
                or (config.categories and category not in config.categories)
                or (sound is not None and sound not in row["sounds"])
                or (config.unique and group in seen)
            ):
                continue
            seen.add(group)
            example = {
                "image": Place(*row["image"]),
                "text": row["captions"][config.language],
                "label": CLASSES.index(category),
                "group": group,
                "id": row["id"],
            }
            if sound is not None:
                example["audio"] = Place(*row["sounds"][sound])
            yield example

    return prepared.source(SET, f"Tux Paint stamps {config.split}", examples)
