"""A user's own data: a JSONL, CSV, TSV or Parquet file that lists images, captions and labels.

    data.train = dict(own=dict(name="manifest", path="photos/list.jsonl", split="train"))

    {"image": "a.jpg", "text": ["a dog", "a brown dog on grass"]}      # one object per line
    {"image": "b.jpg", "text": "a cat"}

* Image paths are relative to the manifest (or `root`); Windows' backslashes are understood, and so
  are a byte order mark, CRLF and blank lines. CSV needs a header; `.tsv` is separated by tabs.
* Parquet: one file, a glob or a folder of them; the image may also be encoded bytes, or Hugging
  Face's struct of bytes and path: `path="data/train-*.parquet"` is a downloaded set as it is.
* Refused at once, with the line: a missing or empty file, a missing column, broken JSON, CSV or
  Parquet, images that do not exist. Counted as corrupt when they are met: captions that are empty
  or no UTF-8, rows without a value, images that do not decode.
* Without captions, `text=""` makes them from the class names and `templates`.
* A manifest of more than 16 MB is read once; what was read is kept in the data folder.
"""

import bisect
import dataclasses
import difflib
import functools
import os
import re
from pathlib import Path

from mmjax.data.source import CorruptExample, DataError, Example
from mmjax.readers import lines, parquet, shards
from mmjax.readers.files import Choice, Files, check_classes, check_split, read, some, tell_repeated
from mmjax.readers.index import indexed
from mmjax.readers.table import Row, Table

_OPTIONAL = ("label", "group", "id")  # columns that may be missing while they have these names
_SUFFIXES = (*lines.JSON, *lines.CSV, parquet.SUFFIX)


@dataclasses.dataclass(frozen=True)
class Config(Choice):
    path: str  # the manifest: .jsonl, .csv, .tsv, .parquet; also a glob or folder of .parquet files
    image: str = "image"  # column of image paths (Parquet: also bytes); "": there are no images
    text: str = "text"  # column of captions, one or a list; "": captions from class names
    label: str = "label"  # column of class names or numbers; may be missing
    group: str = "group"  # column; rows of one group are not each other's negatives; may be missing
    id: str = "id"  # column of names for messages ("key" of img2dataset); may be missing: the path
    split_column: str = ""  # column that names the split of a row; "": by hash
    root: str = ""  # folder that image paths are relative to; "": the manifest's
    check_files: int = 10_000  # images whose existence is checked at the start, at most


def open(config: Config) -> Files:
    """The rows of a split. Raises DataError for what is wrong with the manifest as a whole."""
    if not config.split_column:
        check_split(config.split, config.validation, config.test)
    path, files = Path(config.path), _files(config.path)
    named = {field: getattr(config, field) for field in ("image", "text", *_OPTIONAL)}
    named["split"] = config.split_column
    wanted = {field: name for field, name in named.items() if name}
    read_chunks = parquet.chunks if files[0].suffix == parquet.SUFFIX else lines.chunks
    table = indexed(
        path.name,
        files,
        repr(sorted(wanted.items())),
        functools.partial(read_chunks, files, wanted),
        places=config.split != "all" and not config.split_column,
    )
    if not len(table):
        raise DataError(f"{path} has no rows")
    if not config.class_names:
        config = dataclasses.replace(config, class_names=tuple(table.about.get("class_names", ())))
    _check_columns(path, config, table)
    origin = Listed(table, Path(config.root) if config.root else files[0].parent, config.image)
    _check_files(path, origin, config.check_files)
    tell_repeated(path.name, table, "id" if table.about["counts"]["id"] else "image")
    return Files(
        path.name,
        table,
        origin,
        config,
        split_column=config.split_column,
        columns=wanted,
    )


def listed(name: str, field: str, column: str) -> "Listed":
    """All rows with one column alone, whatever else the manifest has: no splits, no classes.

    Args:
      field: "image" or "text". column: what the manifest calls it.

    Raises:
      DataError: no manifest, or no such column.
    """
    files = _files(name)
    read_chunks = parquet.chunks if files[0].suffix == parquet.SUFFIX else lines.chunks
    scan = functools.partial(read_chunks, files, {field: column})
    table = indexed(Path(name).name, files, f"{field} {column}", scan, places=False)
    have = table.about["columns"]
    if column not in have:
        raise DataError(f"{name} has no column {column!r}; it has: {', '.join(have)}")
    return Listed(table, files[0].parent, column if field == "image" else "")


@dataclasses.dataclass(frozen=True)
class Listed:
    """The rows of a manifest, whose images are files, or bytes in the table."""

    table: Table
    root: Path  # that paths are relative to
    column: str  # of the images; "": there are none

    def where(self, number: int) -> str:
        """The line, or the row of a Parquet file counted from 0."""
        if "line" in self.table.numbers:
            return f"line {self.table.numbers['line'][number]}"
        parts = self.table.about["parts"]
        name, first = parts[bisect.bisect_right([first for _, first in parts], number) - 1]
        return (f"{name}, " if len(parts) > 1 else "") + f"row {number - first}"

    def load(self, number: int, row: Row) -> Example:
        if not self.column:
            return {}
        data = self.table.data(number)
        return {"image": read(self.path(row)) if data is None else data}

    def path(self, row: Row) -> str:
        """Raises CorruptExample."""
        value = row.image or ""
        if "\\" in value and not os.path.exists(os.path.join(self.root, value)):
            if re.match(r"[A-Za-z]:\\|\\\\", value) and os.name != "nt":
                raise CorruptExample(
                    f"{value} is on a drive of Windows; write it relative to {self.root}"
                )
            value = value.replace("\\", "/")  # written on Windows
        return os.path.join(self.root, value)


def _check_columns(path: Path, config: Config, table: Table) -> None:
    have = table.about["columns"]
    for field in ("image", "text", *_OPTIONAL, "split_column"):
        column = getattr(config, field)
        if not column or column in have or (field in _OPTIONAL and column == field):
            continue
        near = difflib.get_close_matches(column, have, n=1, cutoff=0.5)
        hint = f"; did you mean {field}={near[0]!r}?" if near else ""
        if field == "text" and not near and config.label in have:
            hint = "; text='' makes captions from the class names"
        raise DataError(
            f"{path} has no column {column!r} ({field}={column!r}){hint} It has: {', '.join(have)}"
        )
    if config.text:
        return
    if config.label not in have:
        raise DataError(
            f"{path}: text='' makes captions from class names, but there is no column "
            f"{config.label!r}; it has: {', '.join(have)}"
        )
    check_classes(str(path), table, config.label, config.class_names)


def _check_files(path: Path, origin: Listed, most: int) -> None:
    """Looks whether images exist, evenly spread over the rows."""
    table = origin.table
    count = min(len(table), most) if origin.column else 0
    missing = []
    for place in range(count):
        number = place * len(table) // count
        row = table[number]
        if row.problem or table.data(number) is not None:
            continue
        try:
            found = origin.path(row)
        except CorruptExample as error:
            missing.append(f"{error} ({origin.where(number)})")
            continue
        if not os.path.isfile(found):
            missing.append(f"{found} ({origin.where(number)})")
    if missing:
        raise DataError(
            f"{len(missing)} of {count} images named in {path} do not exist: {some(missing)}. "
            f"Paths are relative to {origin.root}: set root, or check_files=0 to have missing ones "
            "counted as corrupt examples when they are met"
        )


def _files(name: str) -> list[Path]:
    """The manifest, or the Parquet files of a glob or folder. Raises DataError."""
    path = Path(name)
    if path.is_file() and path.suffix not in _SUFFIXES:
        raise DataError(
            f"{path}: a manifest is a .jsonl, .csv, .tsv or .parquet file, not {path.suffix!r}"
        )
    if path.is_dir() and not any(path.rglob(f"*{parquet.SUFFIX}")):
        inside = sorted(one.name for one in path.iterdir() if one.suffix in _SUFFIXES)
        raise DataError(
            f"{path} is a folder, not a manifest; manifests in it: {some(inside) or 'none'}. For a "
            'folder of images use name="folder"'
        )
    if not path.exists() and not re.search(r"[*?\[{]", name):
        raise DataError(shards.absent(path, [f"*{one}" for one in _SUFFIXES], "manifest"))
    found = shards.find(name, (f"*{parquet.SUFFIX}",), "Parquet file")
    if len(found) > 1 and any(one.suffix != parquet.SUFFIX for one in found):
        raise DataError(f"{name}: several files of a manifest must all be {parquet.SUFFIX}")
    return found
