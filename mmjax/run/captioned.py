"""The pictures of a folder or a manifest, each once, with the texts that the data has for it.

* A folder: the lines of `a.txt` beside `a.jpg`, where there is one. A manifest: its column of
  texts, where it has one; rows that name one file are one picture.
* A text that is empty or no UTF-8 is none.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from mmjax.data.captions import decode_utf8
from mmjax.data.source import CorruptExample, DataError
from mmjax.data.storage import reaching
from mmjax.readers import manifest
from mmjax.readers.files import read
from mmjax.readers.table import Row
from mmjax.readers.values import checked_text
from mmjax.run import listing


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Files of pictures, their texts, and what could not be used."""

    paths: tuple[str, ...]  # absolute
    texts: tuple[tuple[str, ...], ...]  # of each picture
    faults: tuple[str, ...]  # rows without a picture, and texts that cannot be read
    fingerprint: str  # identity of what there is

    def __len__(self) -> int:
        return len(self.paths)


def open(data: str, image: str = "", text: str = "") -> Pictures:
    """Of a folder of pictures, or a manifest (.jsonl, .csv, .tsv, .parquet) of files.

    Args:
      image: column of the files' names; "": image.
      text: column of the texts; "": text, where there is one.

    Raises:
      DataError: there is no such thing, no picture in it, or no such column.
    """
    path = Path(data).expanduser()
    with reaching(f"--data={data}"):
        if path.is_dir():
            return _folder(path)
        if path.suffix in listing.LISTS:
            return _manifest(path, image, text)
    raise DataError(
        f"--data={data}: give a folder of pictures, or a manifest of them "
        f"({', '.join(listing.LISTS)})"
    )


def _folder(root: Path) -> Pictures:
    names = listing.files_in(root)
    texts: list[tuple[str, ...]] = []
    faults = []
    beside = []
    for name in names:
        path = root / f"{os.path.splitext(name)[0]}.txt"
        found: tuple[str, ...] = ()
        if path.is_file():
            beside.append(str(path.relative_to(root)))
            try:
                lines = decode_utf8(read(str(path)).removeprefix(b"\xef\xbb\xbf")).splitlines()
                found = tuple(line.strip() for line in lines if line.strip())
            except CorruptExample as error:
                faults.append(f"{path}: {error}")
        texts.append(found)
    paths = tuple(str(root.absolute() / name) for name in names)
    return Pictures(paths, tuple(texts), tuple(faults), listing.identity(root, [*names, *beside]))


def _manifest(path: Path, image: str, text: str) -> Pictures:
    pictures = manifest.listed(str(path), "image", image or "image")
    has_texts = bool(text) or "text" in pictures.table.about["columns"]
    texts = manifest.listed(str(path), "text", text or "text") if has_texts else None
    of_picture: dict[str, list[str]] = {}
    faults = []
    for row in range(len(pictures.table)):
        try:
            place = _place(pictures, row)
        except CorruptExample as error:
            faults.append(f"{path.name}, {pictures.where(row)}: {error}")
            continue
        own = of_picture.setdefault(place, [])
        if texts is None:
            continue
        try:
            own += _texts(texts.table[row])
        except CorruptExample as error:
            faults.append(f"{path.name}, {pictures.where(row)}: {error}")
    if not of_picture:
        raise DataError(f"{path} names no picture")
    digest = f"{pictures.table.about['digest']} {image} {text}"
    return Pictures(
        tuple(of_picture), tuple(tuple(own) for own in of_picture.values()), tuple(faults), digest
    )


def _texts(row: Row) -> list[str]:
    """Those of a row. Raises CorruptExample for what is no text."""
    if row.problem:
        raise CorruptExample(row.problem)
    several = row.text if isinstance(row.text, tuple) else (row.text or "",)
    return [checked_text(text) for text in several if text.strip()]


def _place(pictures: manifest.Listed, number: int) -> str:
    """The absolute path of a row's picture.

    Raises:
      CorruptExample: a row without one. DataError: pictures that are no files.
    """
    if pictures.table.data(number, "image") is not None:
        raise DataError(
            f"{pictures.where(number)}: its pictures are bytes inside the table, and a manifest "
            "of texts names files: write them into a folder first"
        )
    row = pictures.table[number]
    if row.problem:
        raise CorruptExample(row.problem)
    if "image" not in row.paths:
        raise CorruptExample("no image path")
    return os.path.abspath(manifest.located(pictures.root, row.paths["image"]))
