"""Tux Paint's sound effects: what its stamps sound like, with captions; `prepare` fetches.

https://tuxpaint.org/stamps, GPL-2

* 135 recordings in Ogg or WAV of a second or so to some ten: a bell, a rooster, an engine. The
  caption is that of the stamp, "A rooster.", in up to 78 languages. The stamps themselves are the
  set tuxpaint.py.
* Equal English captions are one `group`, and fall into one split by its hash. `label`: the top
  folder, an index into tuxpaint.CLASSES.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from mmjax.data.source import Example
from mmjax.datasets import prepared, tuxpaint
from mmjax.datasets.prepared import Place, Stored, check_choice
from mmjax.datasets.prepared.captions import SPLITS, in_split

SOUNDS = (".ogg", ".wav")


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all"
    language: str = "en"  # of the captions: "de", "pt_BR", "ca@valencia", ...


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    texts: dict[str, list[str]] = {}  # stem -> lines
    sounds: dict[str, bytes] = {}  # stem -> file

    def wanted(name: str) -> bool:
        return name.startswith((tuxpaint.FOLDER, tuxpaint.COPYRIGHT))

    for name, data in members(SET.packages[0], wanted):
        if name == tuxpaint.COPYRIGHT:
            out.licence("tuxpaint-gpl-2.txt", data)
            continue
        path = PurePosixPath(name.removeprefix(tuxpaint.FOLDER))
        stem = str(path.with_suffix(""))
        if path.suffix == ".txt":
            texts[stem] = data.decode("utf-8", "replace").splitlines()
        elif path.suffix in SOUNDS and not tuxpaint.SPOKEN.match(stem):
            sounds[stem] = data
            yield 0, len(sounds)
    stems = sorted(stem for stem in sounds if texts.get(stem))
    for done, stem in enumerate(stems, 1):
        captions = tuxpaint.captions_of(texts[stem])
        out.row(id=stem, captions=captions, audio=out.put("effects", sounds[stem]))
        yield done, len(stems)


SET = prepared.Set(
    name="tuxpaint_sounds",
    about="sound effects of stamps with captions in up to 78 languages",
    licence=tuxpaint.SET.licence,
    packages=tuxpaint.SET.packages,
    build=_build,
    disk=10_000_000,
)


def open(config: Config) -> Stored:
    """The effects of a split: audio (Ogg or WAV bytes), text, label, group, id.

    Columns: text, label, group. Raises DataError for a wrong choice or a missing set.
    """
    check_choice("tuxpaint_sounds: split", config.split, SPLITS)

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        languages = {language for row in rows for language in row["captions"]}
        check_choice("tuxpaint_sounds: language", config.language, sorted(languages))
        groups: dict[str, int] = {}
        for row in rows:
            key = row["captions"]["en"].lower()
            group = groups.setdefault(key, len(groups))
            if config.language in row["captions"] and in_split(key, config.split):
                yield {
                    "audio": Place(*row["audio"]),
                    "text": row["captions"][config.language],
                    "label": tuxpaint.CLASSES.index(row["id"].split("/")[0]),
                    "group": group,
                    "id": row["id"],
                }

    return prepared.source(SET, f"Tux Paint sounds {config.split}", examples)
