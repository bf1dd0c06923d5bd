"""Sets whose examples are records of named fields: what ArrayRecord files and TFDS have in common.

* All records are read once for captions, labels and groups, which the table keeps; the image is
  decoded from its record when the row is read.
* In an Example a field is always a list: one caption is a text, several are several.
"""

import bisect
import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from mmjax.data.source import CorruptExample, DataError, Example
from mmjax.data.storage import Stamp
from mmjax.readers import wire
from mmjax.readers.columns import Declared, media, refuse_missing
from mmjax.readers.files import check_classes
from mmjax.readers.rows import Chunk
from mmjax.readers.table import Row, Table

ROWS = 1024  # in a chunk


@runtime_checkable
class Records(Protocol):
    """Random access to encoded records. Sent to worker processes, where it opens its files anew."""

    def __len__(self) -> int: ...

    def read(self, number: int) -> bytes:
        """Raises CorruptExample."""

    def where(self, number: int) -> str:
        """For messages: "train-00003.array_record, record 17"."""


@dataclasses.dataclass(frozen=True)
class Shards:
    """The records of some files, or of stretches of them, in order."""

    stamps: tuple[Stamp, ...]  # of the files, one for each stretch
    skips: tuple[int, ...]  # records of the file before the stretch
    starts: tuple[int, ...]  # number of the first record of each stretch, and of all records
    record: Callable[[Stamp, int], bytes]  # reads one of a file

    @classmethod
    def of(
        cls, stretches: Sequence[tuple[Stamp, int, int]], record: Callable[[Stamp, int], bytes]
    ) -> "Shards":
        """stretches: (file, records before it, records of it)."""
        stamps, skips, takes = zip(*stretches, strict=True) if stretches else ((), (), ())
        return cls(stamps, skips, tuple(itertools.accumulate(takes, initial=0)), record)

    def __len__(self) -> int:
        return self.starts[-1]

    def _place(self, number: int) -> tuple[Stamp, int]:
        at = bisect.bisect_right(self.starts, number) - 1
        return self.stamps[at], number - self.starts[at] + self.skips[at]

    def read(self, number: int) -> bytes:
        stamp, place = self._place(number)
        try:
            stamp.check(os.stat(stamp.path))  # the reader gives nothing for what was cut off
            return self.record(stamp, place)
        except (OSError, RuntimeError, IndexError, pa.ArrowException) as error:
            raise CorruptExample(f"cannot read record {place} of {stamp.path}: {error}") from error

    def where(self, number: int) -> str:
        stamp, place = self._place(number)
        file = f"{Path(stamp.path).name}, " if len(self.stamps) > 1 or self.skips[0] else ""
        return f"{file}record {place}"


def chunks(
    records: Records,
    wanted: Mapping[str, Declared],
    advance: Callable[[int], None],
    about: dict[str, Any],
) -> Iterator[Chunk]:
    """The rows. wanted: the columns by field. about gets "fields", name -> count."""
    fields: Counter[str] = Counter()
    encoded = media(wanted)
    light = {field: column for field, column in wanted.items() if field not in encoded}
    picture = next(iter(encoded), "")
    for start in range(0, len(records), ROWS):
        numbers = range(start, min(start + ROWS, len(records)))
        columns: dict[str, list] = {field: [] for field in light}
        sizes = np.zeros(len(numbers), np.int64)
        problems: dict[int, str] = {}
        contents: list[int | None] = [None] * len(numbers)
        for row, number in enumerate(numbers):
            found: dict[str, Any] = {}
            try:
                record = records.read(number)
                sizes[row] = len(record)
                advance(len(record))
                found = wire.decode(record)
                for field, column in encoded.items():
                    if column.needed or column.name in found:
                        data = _bytes(found, field, column.name)
                        if field == picture:
                            contents[row] = hash(data)
            except CorruptExample as error:
                problems[row] = str(error)
            fields.update(found.keys())
            for field, column in light.items():
                columns[field].append(_value(found.get(column.name)))
        yield Chunk(len(numbers), columns, {"size": sizes}, problems, contents=contents)
    about["fields"] = dict(fields)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """The rows of a set of records: row number n of the table is record n."""

    records: Records
    encoded: Mapping[str, str]  # field -> its name in the record, of those that are bytes

    def where(self, number: int) -> str:
        return self.records.where(number)

    def load(self, number: int, row: Row) -> Example:
        if not self.encoded:
            return {}
        found = wire.decode(self.records.read(number))
        return {field: _bytes(found, field, name) for field, name in self.encoded.items()}

    @classmethod
    def of(cls, records: Records, table: Table, columns: Mapping[str, Declared]) -> "Recorded":
        """With the columns of bytes that the records have."""
        have = table.about["fields"]
        encoded = {
            field: column.name for field, column in media(columns).items() if column.name in have
        }
        return cls(records, encoded)


def check(
    name: str,
    table: Table,
    columns: Mapping[str, Declared],
    class_names: tuple[str, ...],
    templates: tuple[str, ...],
) -> None:
    """Raises DataError when the records lack what an example needs."""
    if not len(table):
        raise DataError(f"{name} has no records")
    have = sorted(table.about["fields"])
    if not have:
        raise DataError(f"{name}: no record can be read; the first: {table[0].problem}")
    classes = table.about["counts"]["label"] > 0
    refuse_missing(f"{name}: no record has a field", columns, have, classes)
    if "text" not in columns and templates:
        label = columns["label"].name if "label" in columns else ""
        check_classes(name, table, label, class_names)


def _bytes(found: Mapping[str, Any], field: str, name: str) -> bytes:
    value = found.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, bytes) or not value:
        have = "nothing" if name not in found else f"{type(value).__name__}, no encoded {field}"
        raise CorruptExample(f"no {field}: {have} in {name!r}")
    return value


def _value(value: Any) -> Any:
    """Of a column: texts for bytes; alone where a list has one element."""
    if isinstance(value, list):
        values = [_value(element) for element in value]
        return values[0] if len(values) == 1 else values
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
