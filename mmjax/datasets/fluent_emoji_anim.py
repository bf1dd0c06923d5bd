"""Emoji that move: 187 of Fluent's as short clips with their names; `prepare` fetches them.

npm @lobehub/fluent-emoji-anim-1, drawn by Microsoft, MIT as the package declares

* The first of four packages: 999 files, of which 187 move and are no variant of a skin tone.
* A clip is stored with FRAMES frames at even times, each on white and as large as a bundled emoji.
  Most can be named from any single frame, so whatever time adds is little.
* Names, tags, `label`, `group` and splits are those of the bundled emoji, where the same drawing
  lies as a picture: no relative of what is held out there is trained on here.
"""

import dataclasses
import io
import re
from collections.abc import Iterator
from typing import Any

from PIL import Image

from mmjax.data.source import DataError, Example, InMemory
from mmjax.datasets import emoji, prepared
from mmjax.datasets.prepared import Place, check_choice
from mmjax.datasets.prepared.packages import Package
from mmjax.transforms import moving_pictures
from mmjax.transforms.audio import Cut

SPLITS = (*emoji.SPLITS, "test", "all")  # "test": both kinds of the emoji's test
FRAMES = 16  # of a stored clip
SKIN = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}


@dataclasses.dataclass(frozen=True)
class Config:
    split: str = "train"  # one of SPLITS
    tags: int = 3  # at most so many tags follow the name in the text


def _build(members: prepared.Members, out: prepared.Writer) -> Iterator[tuple[int, int]]:
    wanted = re.compile(r"package/(assets/.*\.webp|README\.md)")
    concepts = {concept.key: concept for concept in emoji.concepts()}
    found = 0
    for name, data in members(SET.packages[0], lambda name: bool(wanted.fullmatch(name))):
        if name.endswith("README.md"):
            out.licence("fluent-emoji-anim.md", data)
            continue
        key = _key(name.rpartition("/")[2].removesuffix(".webp"))
        if key in concepts and not SKIN & set(key.split("-")) and b"ANMF" in data:
            out.row(id=key, video=out.put("videos", _smaller(data, min(out.side, emoji.SIDE))))
        found += 1
        yield found, FILES


FILES = 999
SET = prepared.Set(
    name="fluent_emoji_anim",
    about="187 emoji that move, with the names of the bundled ones",
    licence="MIT",
    packages=(
        Package(
            "npm",
            "@lobehub/fluent-emoji-anim-1",
            "1.0.0",
            "4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea",
            "MIT",
            "animated WebP drawings",
            164_966_217,
        ),
    ),
    build=_build,
    disk=5_000_000,
)


def _smaller(data: bytes, side: int) -> bytes:
    """The clip with FRAMES frames of side x side pixels, as long as it was."""
    step = []

    def choose(start: float, end: float) -> list[float]:
        step.append((end - start) / FRAMES)
        return [start + (number + 0.5) * step[0] for number in range(FRAMES)]

    frames = moving_pictures.taken(data, choose, Cut(0.0, None), side).frames
    first, *rest = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    first.save(
        file, "WEBP", save_all=True, append_images=rest, duration=round(1000 * step[0]), quality=85
    )
    return file.getvalue()


def open(config: Config) -> InMemory:
    """The clips of a split: video (animated WebP bytes), text, name, tags, label, group, id.

    Columns: text, label, group. Raises DataError for a wrong choice or a missing set.
    """
    check_choice("fluent_emoji_anim: split", config.split, SPLITS)
    if config.tags < 0:
        raise DataError(f"fluent_emoji_anim: tags is {config.tags}; it is a number, 0 or more")

    def examples(rows: list[dict[str, Any]]) -> Iterator[Example]:
        places = {concept.key: group for group, concept in enumerate(emoji.concepts())}
        for row in rows:
            concept = emoji.concepts()[places[row["id"]]]
            if _in_split(concept.split, config.split):
                yield {
                    "video": Place(*row["video"]),
                    "text": emoji.text(concept, config.tags),
                    "name": concept.name,
                    "tags": concept.tags,
                    "label": concept.label,
                    "group": places[row["id"]],
                    "id": f"anim/{row['id']}",
                }

    return prepared.source(SET, f"emoji that move, {config.split}", examples)


def _in_split(own: str, wanted: str) -> bool:
    if wanted == "test":
        return own in ("test/unseen_style", "test/unseen_concept")
    return wanted in (own, "all")


def _key(code_points: str) -> str:
    """The bundled emoji's key of "0023-fe0f-20e3": "23-20e3"."""
    points = (point.lstrip("0") for point in code_points.lower().split("-"))
    return "-".join(point for point in points if point != "fe0f")
