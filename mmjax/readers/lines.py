"""JSONL, CSV and TSV files, some thousand rows at a time, with the line that each row begins on.

* JSON is read strictly, and line by line leniently where a chunk has something special in it (blank
  lines, NaN, bytes that are no UTF-8), or to name what is broken.
* Nothing but the wanted columns is kept, and never more than a chunk.
"""

import codecs
import csv
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.source import DataError
from mmjax.readers import json_text
from mmjax.readers.columns import Declared, media
from mmjax.readers.rows import Chunk

JSON = (".jsonl", ".ndjson", ".json")
CSV = (".csv", ".tsv")
BLOCK = 1 << 20  # bytes that are read at a time
ROWS = 8192  # of CSV, in a chunk


def chunks(
    files: Sequence[Path],
    wanted: Mapping[str, Declared],
    advance: Callable[[int], None],
    about: dict[str, Any],
) -> Iterator[Chunk]:
    """The rows of a file, number "line" with them.

    Args:
      files: one.
      wanted: the columns by field.
      advance: is told how many bytes were read.
      about: gets "columns", the names that the file has, in order.

    Raises:
      DataError: names the line of what cannot be read.
    """
    path = files[0]
    with open(path, "rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{path} is UTF-16; save it as UTF-8")
    kind = _csv if path.suffix in CSV else _json
    return kind(path, wanted, advance, about)


def _chunk(
    wanted: Mapping[str, Declared],
    have: Collection[str],
    take: Callable[[str], list],
    lines: Sequence[int],
) -> Chunk:
    """take: the values of a column of the file. lines: the one that each row begins on."""
    columns = {
        field: take(column.name) for field, column in wanted.items() if column.name in have
    }
    for field, column in media(wanted).items():
        if column.needed:  # a row without an image has a fault
            columns.setdefault(field, [None] * len(lines))
    return Chunk(len(lines), columns, {"line": np.asarray(lines, np.int32)})


def _json(
    path: Path,
    wanted: Mapping[str, Declared],
    advance: Callable[[int], None],
    about: dict[str, Any],
) -> Iterator[Chunk]:
    names: dict[str, None] = {}
    faults: list[str] = []
    for first, lines in _blocks(path, advance):
        if first == 1 or not names:
            _refuse_list(path, lines)
        records, numbers = _records(lines, first, faults)
        have = set().union(*records)
        if not have <= names.keys():
            for record in records:
                names.update(dict.fromkeys(record))
        if records and not faults:
            yield _chunk(wanted, have, functools.partial(_taken, records), numbers)
    if faults:
        count = f"{len(faults)} line{'s' * (len(faults) > 1)}"
        raise DataError(f"{path}: {count} of JSON cannot be read:\n  " + "\n  ".join(faults[:5]))
    about["columns"] = list(names)


def _taken(records: list[dict[str, Any]], name: str) -> list:
    return [record.get(name) for record in records]


def _blocks(path: Path, advance: Callable[[int], None]) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first line, lines)."""
    number = 1
    rest = b""
    with open(path, "rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        while block := file.read(BLOCK):
            advance(len(block))
            *lines, rest = (rest + block).split(b"\n")
            if lines:
                yield number, lines
                number += len(lines)
    if rest:
        yield number, [rest]


def _refuse_list(path: Path, lines: list[bytes]) -> None:
    first = next((line for line in lines if line.strip()), b"")
    if first.lstrip().startswith(b"["):
        raise DataError(
            f"{path} is one JSON list; a manifest has one object per line "
            "(jq -c '.[]' list.json > list.jsonl)"
        )


def _records(
    lines: list[bytes], first: int, faults: list[str]
) -> tuple[list[dict[str, Any]], list[int] | range]:
    """(column -> value of each row, its line)."""
    try:
        records = list(map(json_text.strict, lines))
        if set(map(type, records)) == {dict}:
            return records, range(first, first + len(lines))
    except json_text.BROKEN:
        pass  # something special, or something broken
    records = []
    numbers = []
    for number, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        try:
            record = json_text.lenient(line)
        except json_text.BROKEN as error:
            faults.append(f"line {number}: {error}: {_start(line)}")
            continue
        if isinstance(record, dict):
            records.append(record)
            numbers.append(number)
        else:
            faults.append(f"line {number} is {_start(line)}, no object like {{...}}")
    return records, numbers


def _start(line: bytes) -> str:
    return repr(line.decode("utf-8", "surrogateescape").strip()[:60])


def _csv(
    path: Path,
    wanted: Mapping[str, Declared],
    advance: Callable[[int], None],
    about: dict[str, Any],
) -> Iterator[Chunk]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        done = 0
        try:
            for fields in reader:
                first = line
                line = reader.line_num + 1  # a quoted field may hold line ends
                if not any(map(str.strip, fields)):
                    continue
                if not header:
                    header = _header(path, fields)
                elif len(fields) != len(header):
                    raise DataError(
                        f"{path}, line {first}: {len(fields)} fields where the header has "
                        f"{len(header)} ({', '.join(header)}); a field with a {delimiter!r} in it "
                        'needs quotes: "a, b"'
                    )
                else:
                    rows.append(fields)
                    lines.append(first)
                if len(rows) == ROWS:
                    yield _table(wanted, header, rows, lines)
                    rows = []
                    lines = []
                    at = file.buffer.tell()
                    advance(at - done)
                    done = at
        except csv.Error as error:
            raise DataError(
                f"{path}: broken CSV in the row that begins on line {line}: {error} (is a quote "
                "left open?)"
            ) from error
    if rows:
        yield _table(wanted, header, rows, lines)
    about["columns"] = header


def _header(path: Path, fields: list[str]) -> list[str]:
    header = [name.strip() for name in fields]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the header names {', '.join(twice)} twice")
    return header


def _table(
    wanted: Mapping[str, Declared], header: list[str], rows: list[list[str]], lines: list[int]
) -> Chunk:
    def take(name: str) -> list[str]:
        place = header.index(name)
        return [fields[place] for fields in rows]

    return _chunk(wanted, header, take, lines)
