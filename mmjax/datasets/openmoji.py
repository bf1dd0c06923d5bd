"""OpenMoji: 2,465 things and signs in one style, in colour and as outlines; `prepare` fetches.

https://openmoji.org, CC-BY-SA-4.0

* A third style of the bundled emoji: `beside=("noto", "fluent")` puts those drawings into the same
  source, and the same thing has the same `group`.
* Splits follow the bundled emoji, so that no relative of a thing held out there is trained on
  here; flags are in `test/flags` alone. Everything else is for training.
* 2,030 variants of skin tone, and 9 swatches of skin and hair, are left out unless asked for.
* Text: the annotation and the first tags. `label`: an index into CLASSES, whose first nine are
  those of the emoji.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from mmjax.data.source import DataError, Example, InMemory
from mmjax.datasets import emoji, prepared
from mmjax.datasets.bundled import emoji_families
from mmjax.datasets.prepared import Place, check_choice
from mmjax.datasets.prepared.captions import caption
from mmjax.datasets.prepared.drawing import each, from_svg
from mmjax.datasets.prepared.packages import Package

DRAWN = ("color", "black")  # in colour; as black outlines
STYLES = (*emoji.STYLES, *DRAWN)
SPLITS = ("train", "validation/unseen_concept", "test/unseen_concept", "test/flags", "all")
CLASSES = (*emoji.CLASSES, "components", "extras of OpenMoji", "extras of Unicode")
GROUPS = (  # OpenMoji's own names in the order of CLASSES
    *("smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places"),
    *("activities", "objects", "symbols", "flags", "component"),
    *("extras-openmoji", "extras-unicode"),
)
FLAGS = ("flags", "country-flag", "subdivision-flag", "regional-indicator")


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # one of SPLITS
    styles: tuple[str, ...] = ("color",)  # drawings to use, "color" and "black"
    beside: tuple[str, ...] = ()  # drawings of the bundled emoji beside them: "noto", "fluent"
    tags: int = 3  # at most so many tags follow the annotation in the text
    skin_tones: bool = False  # also the variants of skin tone (in colour), skin and hair alone


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    package = SET.packages[0]
    wanted = re.compile(r"package/(data/openmoji\.json|(color|black)/svg/.*\.svg|LICENSE\.txt)")
    files = dict(members(package, lambda name: bool(wanted.fullmatch(name))))
    out.licence("openmoji-cc-by-sa-4.0.txt", files["package/LICENSE.txt"])
    entries = json.loads(files["package/data/openmoji.json"])
    # The outlines of a hand are the same in every skin tone: one is enough.
    drawn = [
        (entry, style)
        for entry in entries
        for style in DRAWN
        if style == "color" or not entry["skintone"]
    ]

    def draw(job: tuple[dict[str, Any], str]) -> bytes:
        entry, style = job
        return from_svg(files[f"package/{style}/svg/{entry['hexcode']}.svg"], out.side)

    for done, ((entry, style), image) in enumerate(zip(drawn, each(draw, drawn), strict=True), 1):
        tags = f"{entry['tags']}, {entry['openmoji_tags']}".split(",")
        out.row(
            id=entry["hexcode"],
            style=style,
            name=entry["annotation"],
            tags=[tag.strip() for tag in tags if tag.strip()],
            group=entry["group"],
            subgroup=entry["subgroups"],
            base=entry["skintone_base_hexcode"] if entry["skintone"] else "",
            image=out.put("images", image),
        )
        yield done, len(drawn)


SET = prepared.Set(
    name="openmoji",
    about="2,465 emoji and extra signs in colour and outline, 2,030 variants of skin tone",
    licence="CC-BY-SA-4.0",
    packages=(
        Package(
            "npm",
            "openmoji",
            "17.0.0",
            "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
            "CC-BY-SA-4.0 (drawings), LGPL-3.0 (code)",
            "SVG drawings, annotations, tags",
            4_339_458,
        ),
    ),
    build=_build,
    disk=20_000_000,
    draws=True,
)


def open(config: Config) -> InMemory:
    """The drawings of a split: image (WebP bytes), text, name, tags, label, group, style, id.

    Columns: text, label, group, style. Raises DataError for a wrong choice or a missing set.
    """
    check_choice("openmoji: split", config.split, SPLITS)
    for style in config.styles:
        check_choice("openmoji: style", style, DRAWN)
    for style in config.beside:
        check_choice("openmoji: beside", style, emoji.STYLES)
    if config.tags < 0:
        raise DataError(f"openmoji: tags is {config.tags}; it is a number of tags, 0 or more")

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        places = _Places(rows)
        for row in rows:
            toned = row["base"] or row["group"] == "component"  # swatches of skin, hair alone
            chosen = row["style"] in config.styles and (config.skin_tones or not toned)
            if chosen and config.split in (places.split(row), "all"):
                yield {
                    "image": Place(*row["image"]),
                    "text": caption(row["name"], row["tags"], config.tags),
                    "name": row["name"],
                    "tags": tuple(row["tags"]),
                    "label": GROUPS.index(row["group"]),
                    "group": places.group(row),
                    "style": STYLES.index(row["style"]),
                    "id": f"openmoji-{row['style']}/{row['id']}",
                }
        yield from _bundled(config)

    return prepared.source(SET, f"OpenMoji {config.split}", examples, ("style",))


def _bundled(config: Config) -> Iterator[Example]:
    """The drawings of the bundled emoji that `beside` asks for, in the same split."""
    splits = emoji.SPLITS if config.split == "all" else (config.split,)
    for split in splits if config.beside else ():
        source = emoji.open(emoji.Config(split, tags=config.tags))
        rows = (source[index] for index in range(len(source)))
        yield from (row for row in rows if emoji.STYLES[row["style"]] in config.beside)


class _Places:
    """Group and split of each drawing, from those of the bundled emoji."""

    def __init__(self, rows: list[dict[str, Any]]):
        concepts = emoji.concepts()
        self.names = {row["id"]: row["name"].lower() for row in rows}
        self.groups = {concept.key: number for number, concept in enumerate(concepts)}
        self.by_name = {concept.name.lower(): number for number, concept in enumerate(concepts)}
        held_out = [concept for concept in concepts if concept.split.endswith("/unseen_concept")]
        self.held_out = {concept.family: concept.split for concept in held_out}
        self.held_out_names = {concept.name.lower(): concept.split for concept in held_out}

    def group(self, row: dict[str, Any]) -> int:
        base = row["base"] or row["id"]
        name = self.names[base]
        known = self.groups.get(_key(base), self.by_name.get(name))
        if known is not None:
            return known
        return self.by_name.setdefault(name, len(self.by_name) + 10_000)

    def split(self, row: dict[str, Any]) -> str:
        family = emoji_families.family(_key(row["id"]))
        name = row["name"].lower()
        if family in self.held_out:
            return self.held_out[family]
        if name in self.held_out_names:
            return self.held_out_names[name]
        is_flag = row["group"] in FLAGS or row["subgroup"] in FLAGS
        return "test/flags" if is_flag else "train"


def _key(code_points: str) -> str:
    """The bundled emoji's key of "0023-FE0F-20E3": "23-20e3"."""
    points = (point.lstrip("0") for point in code_points.lower().split("-"))
    return "-".join(point for point in points if point != "fe0f")
