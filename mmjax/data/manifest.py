"""A user's own data: a JSONL or CSV file that lists images, captions and labels.

    data.train = dict(own=dict(name="manifest", path="photos/list.jsonl", split="train"))

    {"image": "a.jpg", "text": ["a dog", "a brown dog on grass"]}      # one object per line
    {"image": "b.jpg", "text": "a cat"}

* Image paths are relative to the manifest (or `root`); Windows' backslashes are understood, and so
  are a byte order mark, CRLF and blank lines. CSV needs a header; `.tsv` is separated by tabs.
* Refused at once, with the line: a missing or empty file, a missing column, broken JSON or CSV,
  images that do not exist. Counted as corrupt when they are met: captions that are empty or no
  UTF-8, rows without a value, images that do not decode.
* Without captions, `text=""` makes them from the class names and `templates`.
"""

import codecs
import csv
import dataclasses
import difflib
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

from mmjax.data.files import Files, Row, captions_from, check_split, checked_text, in_split, some
from mmjax.data.source import CorruptExample, DataError

_OPTIONAL = ("label", "group", "id")  # columns that may be missing while they have these names
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")


@dataclasses.dataclass(frozen=True)
class Config:
    path: str  # the manifest: .jsonl, .csv or .tsv
    image: str = "image"  # column of image paths; "": there are no images
    text: str = "text"  # column of captions (JSONL: also a list of them); "": from class names
    label: str = "label"  # column of class names or numbers; may be missing
    group: str = "group"  # column; rows of one group are not each other's negatives; may be missing
    id: str = "id"  # column of names for messages; may be missing: the image path
    split: str = "all"  # "train", "validation", "test", "all"
    split_column: str = ""  # column that names the split of a row; "": by hash
    validation: float = 0.1  # share of the groups (or images) that are for validation
    test: float = 0.1  # share that is for testing
    templates: tuple[str, ...] = ("a photo of a {}.",)  # captions of a class, where text is ""
    class_names: tuple[str, ...] = ()  # in the order of their numbers; (): those found, sorted
    root: str = ""  # folder that image paths are relative to; "": the manifest's
    check_files: int = 10_000  # images whose existence is checked at the start, at most


def open(config: Config) -> Files:
    """The rows of a split. Raises DataError for what is wrong with the manifest as a whole."""
    if not config.split_column:
        check_split(config.split, config.validation, config.test)
    path = Path(config.path)
    if not path.is_file():
        raise DataError(_missing(path))
    data = path.read_bytes()
    records = _records(path, data)
    if not records:
        raise DataError(f"{path} has no rows")
    _check_columns(path, config, records)
    root = Path(config.root) if config.root else path.parent
    rows = [_row(line, record, config, root) for line, record in records]
    if config.image:
        _check_files(path, root, rows, config)
    kept = [_in_split(row, record, config) for row, (_, record) in zip(rows, records, strict=True)]
    if not any(kept):
        raise DataError(_empty_split(path, config, records))
    same = dataclasses.replace(config, path="", root="", check_files=0)
    digest = hashlib.sha256(data + repr(same).encode())
    return Files(
        path.name, rows, kept, class_names=config.class_names, fingerprint=digest.hexdigest()
    )


def _row(line: int, record: dict[str, Any], config: Config, root: Path) -> Row:
    """A bad value does not stop here: the row keeps its place and says so when it is read."""
    where, image = f"line {line}", record.get(config.image)
    row = Row(where, _first(record.get(config.id), image, where), None)
    try:
        if config.image:
            row = row._replace(image=_path(image, root))
        if config.group in record:
            row = row._replace(group=str(_filled(record, config.group)))
        if config.label in record:
            row = row._replace(label=_label(_filled(record, config.label)))
        if config.text:
            row = row._replace(text=_text(_filled(record, config.text)))
        elif row.label is not None:
            numbered = isinstance(row.label, int) and row.label < len(config.class_names)
            name = config.class_names[row.label] if numbered else str(row.label)
            row = row._replace(text=captions_from(name, config.templates))
    except CorruptExample as error:
        return row._replace(problem=str(error))
    return row


def _path(value: Any, root: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise CorruptExample("no image path" if not value else f"the image path is {value!r}")
    if "://" in value:
        raise CorruptExample(f"the image is an address, {value}; download it and give its path")
    if "\\" in value and not os.path.exists(os.path.join(root, value)):
        value = value.replace("\\", "/")  # written on Windows
    return os.path.join(root, value)


def _first(*values: Any) -> str:
    return next(str(value) for value in values if value is not None and value != "")


def _filled(record: dict[str, Any], column: str) -> Any:
    value = record.get(column)
    if value is None or value == "" or value == []:
        raise CorruptExample(f"nothing in {column!r}")
    return value


def _text(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return checked_text(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(checked_text(one) for one in value)
    raise CorruptExample(f"the captions are {value!r}, neither text nor a list of texts")


def _label(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise CorruptExample(f"the label is {value!r}, neither a number nor a name")
    return int(value) if str(value).isdecimal() else checked_text(str(value))


def _in_split(row: Row, record: dict[str, Any], config: Config) -> bool:
    if config.split == "all":
        return True
    if config.split_column:
        return str(record.get(config.split_column)).strip() == config.split
    key = _first(record.get(config.group), record.get(config.image), row.id)
    return in_split(key, config.split, config.validation, config.test)


# Reading and checking the file as a whole.


def _records(path: Path, data: bytes) -> list[tuple[int, dict[str, Any]]]:
    """(line, column -> value) of every row. Bytes that are no UTF-8 pass through, escaped."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path} is UTF-16; save it as UTF-8")
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    if path.suffix in (".csv", ".tsv"):
        return _csv_records(path, text)
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        return _json_records(path, text)
    raise DataError(f"{path}: a manifest is a .jsonl, .csv or .tsv file, not {path.suffix!r}")


def _json_records(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    found, faults = [], []
    if text.lstrip().startswith("["):
        raise DataError(
            f"{path} is one JSON list; a manifest has one object per line "
            "(jq -c '.[]' list.json > list.jsonl)"
        )
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            faults.append(f"line {number}: {error}: {line.strip()[:60]!r}")
            continue
        if isinstance(record, dict):
            found.append((number, record))
        else:
            faults.append(f"line {number} is {line.strip()[:60]!r}, no object like {{...}}")
    if faults:
        count = f"{len(faults)} line{'s' * (len(faults) > 1)}"
        raise DataError(f"{path}: {count} of JSON cannot be read:\n  " + "\n  ".join(faults[:5]))
    return found


def _csv_records(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header, found, line = None, [], 1
    try:
        for fields in reader:
            first, line = line, reader.line_num + 1  # a quoted field may hold line ends
            if not any(field.strip() for field in fields):
                continue
            if header is None:
                header = [name.strip() for name in fields]
                twice = {name for name in header if header.count(name) > 1}
                if twice:
                    raise DataError(f"{path}: the header names {some(sorted(twice))} twice")
            elif len(fields) != len(header):
                raise DataError(
                    f"{path}, line {first}: {len(fields)} fields where the header has "
                    f"{len(header)} ({', '.join(header)}); a field with a {delimiter!r} in it "
                    'needs quotes: "a, b"'
                )
            else:
                found.append((first, dict(zip(header, fields, strict=True))))
    except csv.Error as error:
        raise DataError(
            f"{path}: broken CSV in the row that begins on line {line}: {error} (is a quote left "
            "open?)"
        ) from error
    return found


def _check_columns(path: Path, config: Config, records: list) -> None:
    have = dict.fromkeys(column for _, record in records for column in record)
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
    if not config.text and config.label not in have:
        raise DataError(
            f"{path}: text='' makes captions from class names, but there is no column "
            f"{config.label!r}; it has: {', '.join(have)}"
        )
    numbers = all(str(record.get(config.label)).isdecimal() for _, record in records)
    if not config.text and numbers and not config.class_names:
        raise DataError(f"{path}: the labels are numbers; class_names must name them in order")


def _check_files(path: Path, root: Path, rows: list[Row], config: Config) -> None:
    count = min(len(rows), config.check_files)
    checked = [rows[at * len(rows) // count] for at in range(count)] if count else []
    missing = [row for row in checked if row.image and not os.path.isfile(row.image)]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(checked)} images named in {path} do not exist: "
            + some(f"{row.image} ({row.where})" for row in missing)
            + f". Paths are relative to {root}: set root, or check_files=0 to have missing ones "
            "counted as corrupt examples when they are met"
        )


def _missing(path: Path) -> str:
    if path.is_dir():
        inside = sorted(one.name for one in path.iterdir() if one.suffix in _SUFFIXES)
        return (
            f"{path} is a folder, not a manifest; manifests in it: {some(inside) or 'none'}. For a "
            'folder of images use name="folder"'
        )
    folder = next(one for one in (path.parent, *path.parents) if one.is_dir())
    inside = sorted(one.name for one in folder.iterdir() if one.suffix in _SUFFIXES or one.is_dir())
    wanted = path.name if folder == path.parent else path.relative_to(folder).parts[0]
    near = difflib.get_close_matches(wanted, inside, n=3, cutoff=0.5)
    return (
        f"no manifest {path}; in {folder.resolve()} there is: {some(near or inside) or 'nothing'}"
    )


def _empty_split(path: Path, config: Config, records: list) -> str:
    if config.split_column:
        names = sorted({str(record.get(config.split_column)) for _, record in records})
        return f"{path}: no row has {config.split_column}={config.split!r}; it has: {some(names)}"
    return (
        f"{path}: none of its {len(records)} rows is in split {config.split!r} "
        f"(validation={config.validation}, test={config.test})"
    )
