"""The Open Clip Art Library of 2005: drawings by many hands, public domain; `prepare` fetches.

https://openclipart.org, Debian package openclipart-svg

* Text: the title, or the file's name where the title is that of a whole collection ("Lemon SVG
  theme"), then the first keywords and the folder: "rabbit, mammal, animal". Some are Italian.
* Left out: 1,378 stars of one generator, and what is blank without the machine's fonts. Unless
  asked for, also 1,702 icons of desktop themes that have nothing but a file name ("kpager"),
  colour gradients and playing cards: 4,249 drawings stay.
* Equal texts are one `group`. Split by a hash of the text without numbers.
* `label`: the top folder, an index into CLASSES.
"""

import dataclasses
import html
import re
from collections.abc import Iterator
from typing import Any

from mmjax.data.source import DataError, Example
from mmjax.datasets import prepared
from mmjax.datasets.prepared import Place, Stored, check_choice
from mmjax.datasets.prepared.captions import SPLITS, caption, in_split, words
from mmjax.datasets.prepared.drawing import DrawingError, each, from_svg
from mmjax.datasets.prepared.packages import Package

CLASSES = (
    *("animals", "buildings", "buttons", "computer", "containers", "decorations", "education"),
    *("electronics", "food", "geography", "logos", "office", "people", "plants", "recreation"),
    *("science", "shapes", "signs_and_symbols", "special", "tools", "transportation", "unsorted"),
)
FOLDER = "usr/share/openclipart/svg/"
COPYRIGHT = "usr/share/doc/openclipart-svg/copyright"
LEFT_OUT = re.compile(r"/shapes/stars/|/(stripper|sexy)_")
# Many drawings, hardly a caption: folders that only `everything` opens.
DULL = re.compile(
    r"computer/icons/([^/]*-theme/|70a\d|plastik_)|special/gradients/|recreation/games/cards/"
)
# Titles that are those of a collection, or of the wrong drawing.
NO_TITLE = re.compile(
    r"HASH\(0x|^\W*$|\b(theme|iconset|icons|collection|clipart|cliparts|sibmission|advertising)\b"
    r"|_Signs|\b(Road Signs|Australian Maps|Map Symbols|Sallite|balloons-aj|PC connectors)\b"
    r"|\b(Chess pieces|moons|Simple arrows)\b",
    re.I,
)
NO_WORD = re.compile(r"\d+$|0x|hash\(", re.I)
NO_KEYWORD = {
    *("", "hash", "unsorted", "theme", "icons", "special", "clip art", "clipart", "svg", "en"),
    *("mapsym", "openclipart", "signs and symbols", "symbols", "united nations member"),
    *("architetto francesco rollandin", "miscellany", "lemon theme icon", "appicon", "mimeicon"),
}


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # "train", "validation", "test", "all"
    tags: int = 3  # at most so many keywords follow the title in the text
    everything: bool = False  # also theme icons, gradients and playing cards


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    def wanted(name: str) -> bool:
        drawing = name.startswith(FOLDER) and name.endswith(".svg")
        return (drawing and not LEFT_OUT.search(name)) or name == COPYRIGHT

    files = dict(members(SET.packages[0], wanted))
    out.licence("openclipart-public-domain.txt", files.pop(COPYRIGHT))

    def draw(name: str) -> bytes | None:
        try:
            return from_svg(files[name], out.side, trim=True)
        except DrawingError:
            return None

    names = sorted(files)
    for done, (name, image) in enumerate(zip(names, each(draw, names), strict=True), 1):
        if image is not None:
            text = files[name].decode("utf-8", "replace")
            author = "".join(_inside("dc:creator", text, plain=False))
            titles = _inside("dc:title", re.sub(r"(?s)<cc:Agent.*?</cc:Agent>", "", text))
            out.row(
                id=name.removeprefix(FOLDER).removesuffix(".svg"),
                title=titles[0] if titles else "",
                author=" ".join(_inside("dc:title", author)),
                keywords=_inside("rdf:li", "".join(_inside("dc:subject", text, plain=False))),
                image=out.put("images", image),
            )
        yield done, len(names)


def _inside(tag: str, text: str, plain: bool = True) -> list[str]:
    """Contents of each such element; plain: without elements and entities."""
    found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.S)
    if not plain:
        return found
    texts = [html.unescape(re.sub(r"<[^>]*>", " ", element)) for element in found]
    return [" ".join(text.split()) for text in texts]


SET = prepared.Set(
    name="openclipart",
    about="5,951 drawings by many hands, with titles and keywords",
    licence="public domain",
    packages=(
        Package(
            "debian",
            "openclipart-svg",
            "1:0.18+dfsg-19",
            "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
            "CC-PDDC",
            "SVG drawings with their titles and keywords",
            24_919_068,
            "pool/main/o/openclipart",
        ),
    ),
    build=_build,
    disk=60_000_000,
    draws=True,
)


def open(config: Config) -> Stored:
    """The drawings of a split: image (WebP bytes), text, label, group, id.

    Columns: text, label, group. Raises DataError for a wrong choice or a missing set.
    """
    check_choice("openclipart: split", config.split, SPLITS)
    if config.tags < 0:
        raise DataError(f"openclipart: tags is {config.tags}; it is a number of tags, 0 or more")

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        groups: dict[str, int] = {}
        for row in rows:
            text = _text(row, config.tags)
            if DULL.match(row["id"]) and not config.everything:
                continue
            group = groups.setdefault(text.lower(), len(groups))
            if in_split(re.sub(r"\W*\d+", "", text.lower()), config.split):
                yield {
                    "image": Place(*row["image"]),
                    "text": text,
                    "label": CLASSES.index(row["id"].split("/")[0]),
                    "group": group,
                    "id": row["id"],
                }

    return prepared.source(SET, f"openclipart {config.split}", examples)


def _text(row: dict[str, Any], tags: int) -> str:
    *folders, file = row["id"].split("/")
    name = words(row["title"])
    if NO_TITLE.search(row["title"]):
        name = _without_author(words(file).removeprefix("aiga "), row["author"])
    name = re.sub(r"[\s#-]*\d+$", "", name) or name  # "crow 01"
    if not re.search(r"[^\W\d_]{3}", name):  # "fc", "sm": the folder says more
        name = words(folders[-1])
    more = [*map(words, row["keywords"]), *map(words, reversed(folders))]
    more = [tag for tag in more if tag.lower() not in NO_KEYWORD and not NO_WORD.match(tag)]
    return caption(name, more, tags)


def _without_author(name: str, author: str) -> str:
    """File names end in the author's name, cut off somewhere: "crow linda ki" -> "crow"."""
    parts = re.sub(r"\s*\w?\d+\w?$", "", name).split(" ")
    for at in range(1, len(parts)):
        rest = " ".join(parts[at:]).lower()
        if len(rest) > 2 and author.lower().startswith(rest):
            return " ".join(parts[:at])
    return name
