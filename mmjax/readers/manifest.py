"""A user's own data: a JSONL, CSV, TSV or Parquet file that lists images, captions and labels.

    data.train = dict(own=dict(name="manifest", path="photos/list.jsonl", split="train"))

    {"image": "a.jpg", "text": ["a dog", "a brown dog on grass"]}      # one object per line
    {"image": "b.jpg", "text": "a cat"}

* Sounds, videos, questions, answers and any other field are declared by `columns`:

    dict(name="manifest", path="speech.csv", columns=dict(audio=dict(name="wav"), start=dict()))
    dict(name="manifest", path="vqa.jsonl", columns=dict(question=dict(), answer=dict(name="says")))

* A row may have a list of images, one, or none: `columns=dict(image=dict(kind="files"))`. Rows are
  then split by their group, else by the first of their images.
* Several captions of a picture are a list, or a row each: a file that is named again, and files
  with the same bytes, are one picture.
* Paths are relative to the manifest (or `root`); Windows' backslashes are understood, and so are a
  byte order mark, CRLF and blank lines. CSV needs a header; `.tsv` is separated by tabs.
* Parquet: one file, a glob or a folder of them; an image or sound may also be encoded bytes, or
  Hugging Face's struct of bytes and path: `path="data/train-*.parquet"` is a downloaded set as it
  is.
* Refused at once, with the line: a missing or empty file, a missing column, broken JSON, CSV or
  Parquet, files that do not exist. Counted as corrupt when they are met: captions that are empty or
  no UTF-8, rows without a value, values that are not what was declared, images that do not decode.
* Without captions, `text=""` makes them from the class names and `templates`.
* A manifest of more than 16 MB is read once; what was read is kept in the data folder.
"""

import bisect
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmjax.data.source import CorruptExample, DataError, Example
from mmjax.readers import lines, parquet, shards
from mmjax.readers.columns import KINDS, Column, Declared, declared, media, refuse_missing
from mmjax.readers.equal_files import MOST, compared
from mmjax.readers.files import (
    Choice,
    Files,
    check_classes,
    check_split,
    read,
    some,
    tell_copies,
    tell_repeated,
)
from mmjax.readers.index import indexed
from mmjax.readers.rows import Chunk
from mmjax.readers.table import Row, Table

_SUFFIXES = (*lines.JSON, *lines.CSV, parquet.SUFFIX)


@dataclasses.dataclass(frozen=True)
class Config(Choice):
    path: str  # the manifest: .jsonl, .csv, .tsv, .parquet; also a glob or folder of .parquet files
    image: str = "image"  # column of image paths (Parquet: also bytes); "": there are no images
    text: str = "text"  # column of captions, one or a list; "": captions from class names
    label: str = "label"  # column of class names or numbers; may be missing
    group: str = "group"  # column; rows of one group are not each other's negatives; may be missing
    id: str = "id"  # column of names for messages ("key" of img2dataset); may be missing: the path
    # further fields: dict(audio=dict(name="wav"), difficulty=dict(kind="float")), see columns.py
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    split_column: str = ""  # column that names the split of a row; "": by hash
    root: str = ""  # folder that paths are relative to; "": the manifest's
    check_files: int = 10_000  # files whose existence is checked at the start, at most
    # files that are compared, at most, so that copies under other names count as one; 0: none
    compare_files: int = MOST


def open(config: Config) -> Files:
    """The rows of a split. Raises DataError for what is wrong with the manifest as a whole."""
    if not config.split_column:
        check_split(config.split, config.validation, config.test)
    path = Path(config.path)
    files = _files(config.path)
    columns = declared(config, files=True)
    if config.split_column:
        columns["split"] = Declared(config.split_column, KINDS["split"])
    root = Path(config.root) if config.root else files[0].parent
    table = indexed(
        path.name,
        files,
        columns,
        functools.partial(_compared, files, columns, root, config.compare_files),
        places=config.split != "all" and not config.split_column,
        identity=f"{root.absolute()} {config.compare_files}",
    )
    if not len(table):
        raise DataError(f"{path} has no rows")
    if not config.class_names:
        config = dataclasses.replace(config, class_names=tuple(table.about.get("class_names", ())))
    _check_columns(path, config, table, columns)
    have = table.about["columns"]
    fields = tuple(field for field, column in media(columns).items() if column.name in have)
    lists = tuple(field for field, column in columns.items() if column.kind == "files")
    origin = Listed(table, root, fields, lists)
    _check_files(path, origin, config.check_files)
    by_path = fields[0] if fields else "image"
    tell_repeated(path.name, table, "id" if table.about["counts"]["id"] else by_path)
    tell_copies(path.name, table)
    return Files(
        path.name,
        table,
        origin,
        config,
        split_column=config.split_column,
        columns=columns,
    )


def listed(name: str, field: str, column: str) -> "Listed":
    """All rows with one column alone, whatever else the manifest has: no splits, no classes.

    Args:
      field: "image" or "text". column: what the manifest calls it.

    Raises:
      DataError: no manifest, or no such column.
    """
    files = _files(name)
    columns = {field: Declared(column, KINDS[field])}
    scan = functools.partial(_reader(files), files, columns)
    table = indexed(Path(name).name, files, columns, scan, places=False)
    have = table.about["columns"]
    if column not in have:
        raise DataError(f"{name} has no column {column!r}; it has: {', '.join(have)}")
    return Listed(table, files[0].parent, tuple(media(columns)))


@dataclasses.dataclass(frozen=True)
class Listed:
    """The rows of a manifest, whose images and sounds are files, or bytes in the table."""

    table: Table
    root: Path  # that paths are relative to
    fields: tuple[str, ...]  # of bytes, "image"
    lists: tuple[str, ...] = ()  # fields of several files

    def where(self, number: int) -> str:
        """The line, or the row of a Parquet file counted from 0."""
        if "line" in self.table.numbers:
            return f"line {self.table.numbers['line'][number]}"
        parts = self.table.about["parts"]
        name, first = parts[bisect.bisect_right([first for _, first in parts], number) - 1]
        return (f"{name}, " if len(parts) > 1 else "") + f"row {number - first}"

    def load(self, number: int, row: Row) -> Example:
        example: Example = {}
        for field in self.fields:
            example[field] = self._bytes(field, number, row)
        for field in self.lists:
            paths = [located(self.root, written) for written in row.values[field]]
            example[field] = [read(path) for path in paths]
        return example

    def _bytes(self, field: str, number: int, row: Row) -> bytes:
        data = self.table.data(number, field)
        if data is not None:
            return data
        if field not in row.paths:
            raise CorruptExample(f"no {field} path")
        return read(located(self.root, row.paths[field]))


def located(root: Path, written: str) -> str:
    """The file of a path as the manifest has it. Raises CorruptExample."""
    if "\\" in written and not os.path.exists(os.path.join(root, written)):
        if re.match(r"[A-Za-z]:\\|\\\\", written) and os.name != "nt":
            raise CorruptExample(f"{written} is on a drive of Windows; write it relative to {root}")
        written = written.replace("\\", "/")  # written on Windows
    return os.path.join(root, written)


def _compared(
    files: list[Path],
    columns: Mapping[str, Declared],
    root: Path,
    most: int,
    advance: Callable[[int], None],
    about: dict[str, Any],
) -> Iterator[Chunk]:
    """The rows of the files, which say of their pictures what other one has the same bytes."""
    chunks = _reader(files)(files, columns, advance, about)
    field = next(iter(media(columns)), "")
    return compared(chunks, field, functools.partial(located, root), most)


def _reader(files: list[Path]) -> Callable[..., Iterator[Chunk]]:
    """What reads files of this form."""
    return parquet.chunks if files[0].suffix == parquet.SUFFIX else lines.chunks


def _check_columns(
    path: Path, config: Config, table: Table, columns: Mapping[str, Declared]
) -> None:
    have = table.about["columns"]
    label = columns["label"].name if "label" in columns else ""
    refuse_missing(f"{path} has no column", columns, have, label in have)
    if "text" in columns or not config.templates:
        return
    if label not in have:
        raise DataError(
            f"{path}: text='' makes captions from class names, but there is no column "
            f"{label!r}; it has: {', '.join(have)}; templates=() leaves captions out"
        )
    check_classes(str(path), table, label, config.class_names)


def _check_files(path: Path, origin: Listed, most: int) -> None:
    """Looks whether images exist, evenly spread over the rows."""
    table = origin.table
    count = min(len(table), most) if origin.fields or origin.lists else 0
    missing = []
    for place in range(count):
        number = place * len(table) // count
        row = table[number]
        if not row.problem:
            missing += _missing(origin, number, row)
    if missing:
        one_each = len(origin.fields) == 1 and not origin.lists
        what = f"{origin.fields[0]}s" if one_each else "rows with files"
        raise DataError(
            f"{len(missing)} of {count} {what} named in {path} do not exist: {some(missing)}. "
            f"Paths are relative to {origin.root}: set root, or check_files=0 to have missing ones "
            "counted as corrupt examples when they are met"
        )


def _missing(origin: Listed, number: int, row: Row) -> list[str]:
    """The first file of a row that is not there, with its line; []: all are."""
    named = [
        written
        for field, written in row.paths.items()
        if origin.table.data(number, field) is None
    ]
    for field in origin.lists:
        named += row.values[field]
    for written in named:
        try:
            path = located(origin.root, written)
        except CorruptExample as error:
            return [f"{error} ({origin.where(number)})"]
        if not os.path.isfile(path):
            return [f"{path} ({origin.where(number)})"]
    return []


def _files(name: str) -> list[Path]:
    """The manifest, or the Parquet files of a glob or folder. Raises DataError."""
    path = Path(name)
    if path.is_file() and path.suffix not in _SUFFIXES:
        raise DataError(
            f"{path}: a manifest is a .jsonl, .csv, .tsv or .parquet file, not {path.suffix!r}"
        )
    if path.is_dir() and not any(path.rglob(f"*{parquet.SUFFIX}")):
        inside = sorted(file.name for file in path.iterdir() if file.suffix in _SUFFIXES)
        raise DataError(
            f"{path} is a folder, not a manifest; manifests in it: {some(inside) or 'none'}. For a "
            'folder of images use name="folder"'
        )
    if not path.exists() and not re.search(r"[*?\[{]", name):
        raise DataError(shards.absent(path, [f"*{suffix}" for suffix in _SUFFIXES], "manifest"))
    found = shards.find(name, (f"*{parquet.SUFFIX}",), "Parquet file")
    if len(found) > 1 and any(file.suffix != parquet.SUFFIX for file in found):
        raise DataError(f"{name}: several files of a manifest must all be {parquet.SUFFIX}")
    return found
