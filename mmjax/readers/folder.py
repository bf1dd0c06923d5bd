"""A user's own data: a folder of images with side-car texts, or one folder per class.

    data.train = dict(own=dict(name="folder", path="photos", split="train"))

    photos/a.jpg photos/a.txt     # layout "captions": one caption per line of the text
    photos/cat/1.jpg              # layout "classes": label = folder, captions from `templates`

* Searched through all depths, hidden files left out, in the order of the paths.
* Refused at once: a folder that does not exist or holds no image, images without a text or class.
  Counted as corrupt when they are met: empty texts, texts that are no UTF-8, broken images.
* In layout "classes" a class is a group: images of one class are not each other's negatives.
"""

import dataclasses
import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from mmjax.data.captions import decode_utf8
from mmjax.data.source import CorruptExample, DataError, Example
from mmjax.readers.files import Choice, Files, check_split, read, some
from mmjax.readers.rows import Chunk
from mmjax.readers.table import Row, Table, table_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
ROWS = 8192  # in a chunk


@dataclasses.dataclass(frozen=True)
class Config(Choice):
    path: str  # the folder: what torchvision's ImageFolder or Hugging Face's imagefolder reads
    layout: Literal["auto", "captions", "classes"] = "auto"  # auto: captions if there are texts


def open(config: Config) -> Files:
    """The images of a split. Raises DataError for what is wrong with the folder as a whole."""
    check_split(config.split, config.validation, config.test)
    root = Path(config.path)
    if not root.is_dir():
        raise DataError(_missing(root))
    names = _images(root)
    texts = {name: root / (os.path.splitext(name)[0] + ".txt") for name in names}
    without = [name for name in names if not texts[name].is_file()]
    layout = config.layout
    if layout == "auto":
        layout = "captions" if len(without) < len(names) else "classes"
    if layout == "captions" and without:
        raise DataError(
            f"{len(without)} of {len(names)} images in {root} have no text beside them: "
            f"{some(without)}. {Path(without[0]).name} needs {texts[without[0]].name} with its "
            'captions, one a line; layout="classes" takes the folders as classes instead'
        )
    if layout == "classes":
        loose = [name for name in names if "/" not in name]
        if loose:
            raise DataError(
                f"{len(loose)} of {len(names)} images in {root} are in no class folder: "
                f"{some(loose)}. Put each into a folder named like its class, or a text with its "
                f"captions beside each ({loose[0]}: {texts[loose[0]].name})"
            )
        chunks: Iterable[Chunk] = [_classes(names)]
    else:
        chunks = _captions(root, texts)
    table = table_of(chunks, places=config.split != "all")
    columns = {"text": "text"} if layout == "captions" else {}
    return Files(
        root.name,
        table,
        Inside(table, root),
        config,
        columns=columns,
        rows="images",
        numbers=False,  # a folder "3" is a class of that name
    )


@dataclasses.dataclass(frozen=True)
class Inside:
    """The images of a folder."""

    table: Table
    root: Path

    def where(self, number: int) -> str:
        """The path in the folder."""
        return self.table[number].image or ""

    def load(self, number: int, row: Row) -> Example:
        return {"image": read(os.path.join(self.root, row.image or ""))}


def _images(root: Path) -> list[str]:
    """Paths below the folder, with "/", sorted. Raises DataError when there is none."""
    found, others = [], []
    for folder, inside, files in os.walk(root):
        inside[:] = [name for name in inside if not name.startswith((".", "__"))]
        for name in files:
            path = (Path(folder) / name).relative_to(root).as_posix()
            if not name.startswith("."):
                (found if name.lower().endswith(SUFFIXES) else others).append(path)
    if not found:
        have = f"; it has {some(sorted(others))}" if others else "; it is empty"
        raise DataError(f"no image in {root} ({' '.join(SUFFIXES)}){have}")
    return sorted(found)


def _classes(names: list[str]) -> Chunk:
    return Chunk(len(names), {"image": names, "label": [name.split("/")[0] for name in names]})


def _captions(root: Path, texts: dict[str, Path]) -> Iterator[Chunk]:
    names = list(texts)
    for start in range(0, len(names), ROWS):
        part = names[start : start + ROWS]
        problems: dict[int, str] = {}
        found = [_lines(texts[name], row, problems) for row, name in enumerate(part)]
        yield Chunk(len(part), {"image": part, "text": found}, problems=problems)


def _lines(path: Path, row: int, problems: dict[int, str]) -> str | tuple[str, ...] | None:
    try:
        lines = decode_utf8(read(str(path)).removeprefix(b"\xef\xbb\xbf")).splitlines()
    except CorruptExample as error:
        problems[row] = f"{path.name}: {error}"
        return None
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        problems[row] = f"empty caption: nothing in {path.name}"
        return None
    return found[0] if len(found) == 1 else found


def _missing(root: Path) -> str:
    if root.is_file():
        return f'{root} is a file, not a folder of images; for a list of images use name="manifest"'
    folder = next(one for one in root.parents if one.is_dir())
    inside = sorted(one.name for one in folder.iterdir() if one.is_dir())
    near = difflib.get_close_matches(root.relative_to(folder).parts[0], inside, n=3, cutoff=0.5)
    return f"no folder {root}; in {folder.resolve()} there is: {some(near or inside) or 'none'}"
