"""Tabler icons: 6,287 line drawings of 24 x 24 units, with ten tags each; `prepare` fetches.

https://tabler.io/icons, MIT

* Text of an icon: its name in words and its first tags, "calendar up, date, schedule, event".
* The filled and the outlined form of an icon are one `group`.
* Split by a hash of the first word of the name: "bell", "bell-off" and "bell-ringing" are together.
* `label`: the category, an index into CLASSES.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from mmjax.data.source import DataError, Example
from mmjax.datasets import prepared
from mmjax.datasets.prepared import Place, Stored, check_choice
from mmjax.datasets.prepared.captions import SPLITS, caption, in_split, words
from mmjax.datasets.prepared.drawing import each, from_svg
from mmjax.datasets.prepared.packages import Package

STYLES = ("outline", "filled")
CLASSES = (
    *("Animals", "Arrows", "Badges", "Brand", "Buildings", "Charts", "Communication", "Computers"),
    *("Currencies", "Database", "Design", "Development", "Devices", "Document", "E-commerce"),
    *("Electrical", "Extensions", "Food", "Games", "Gender", "Gestures", "Health", "Laundry"),
    *("Letters", "Logic", "Map", "Math", "Media", "Mood", "Nature", "Numbers", "Photography"),
    *("Shapes", "Sport", "Symbols", "System", "Text", "Vehicles", "Version control", "Weather"),
    "Zodiac",
)


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all"
    styles: tuple[str, ...] = STYLES  # forms to use, "outline" and "filled"
    tags: int = 3  # at most so many tags follow the name in the text
    categories: bool = False  # also the category as a caption of its own: "Animals"
    brands: bool = False  # also the 378 logos of companies, whose names cannot be guessed


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    wanted = re.compile(r"package/(icons\.json|icons/(outline|filled)/.*\.svg|LICENSE)")
    files = dict(members(SET.packages[0], lambda name: bool(wanted.fullmatch(name))))
    out.licence("tabler-mit.txt", files["package/LICENSE"])
    entries = json.loads(files["package/icons.json"])
    drawn = [(entry, style) for entry in entries.values() for style in entry["styles"]]

    def draw(job: tuple[dict[str, Any], str]) -> bytes:
        entry, style = job
        return from_svg(files[f"package/icons/{style}/{entry['name']}.svg"], out.side)

    for done, ((entry, style), image) in enumerate(zip(drawn, each(draw, drawn), strict=True), 1):
        out.row(
            id=entry["name"],
            style=style,
            tags=[str(tag) for tag in entry["tags"]],
            category=entry["category"],
            image=out.put("images", image),
        )
        yield done, len(drawn)


SET = prepared.Set(
    name="tabler",
    about="6,287 icons as line drawings and filled, with tags",
    licence="MIT",
    packages=(
        Package(
            "npm",
            "@tabler/icons",
            "3.51.0",
            "b30108713d3fa60aee862c2a133225da8e0f309be0708fe2925763ff810c766c",
            "MIT",
            "SVG icons, categories, tags",
            1_245_641,
        ),
    ),
    build=_build,
    disk=15_000_000,
    draws=True,
)


def open(config: Config) -> Stored:
    """The icons of a split: image (WebP bytes, black on white), text, label, group, style, id.

    `style` is an index into STYLES. Columns: text, label, group, style.
    Raises DataError for a wrong choice or a missing set.
    """
    check_choice("tabler: split", config.split, SPLITS)
    for style in config.styles:
        check_choice("tabler: style", style, STYLES)
    if config.tags < 0:
        raise DataError(f"tabler: tags is {config.tags}; it is a number of tags, 0 or more")

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        groups: dict[str, int] = {}
        for row in rows:
            group = groups.setdefault(row["id"], len(groups))
            brand = row["category"] == "Brand"
            key = row["id"] if brand else row["id"].split("-")[0]
            if row["style"] not in config.styles or not in_split(key, config.split):
                continue
            if brand and not config.brands:
                continue
            name = words(row["id"]).removeprefix("brand ") + (" logo" if brand else "")
            text = caption(name, map(words, row["tags"]), config.tags)
            yield {
                "image": Place(*row["image"]),
                "text": (text, row["category"]) if config.categories else text,
                "label": CLASSES.index(row["category"]),
                "group": group,
                "style": STYLES.index(row["style"]),
                "id": f"{row['style']}/{row['id']}",
            }

    return prepared.source(SET, f"Tabler icons {config.split}", examples, ("style",))
