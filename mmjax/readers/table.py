"""Rows without their images, in Arrow columns: five million in bounded memory, each read in 10 us.

* What the whole set must know at the start is kept as numbers: groups, labels, splits.
* A table is a snapshot: what happens to the data afterwards cannot turn one row into another.
"""

import bisect
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmjax.readers import rows

_TEXT = ("image", "id", "text", "texts", "problem")
_CODES = ("label", "split")  # columns of few different values


class Row(NamedTuple):
    """What a table has of a row; None: nothing. Text may hold bytes that are no UTF-8, escaped."""

    image: str | None  # path as it was written
    id: str | None
    text: str | tuple[str, ...] | None
    problem: str | None  # why the row cannot be used


class Table:
    """numbers: name -> one value per row: "group", and where the data has them "label" and "split"
    (places in about["label"], about["split"]; -1: none), "place" and those of the reader.
    about: "rows", "counts" of values by column, "several" (captions in a row), "again", "digest".
    """

    def __init__(
        self,
        batches: Sequence[pa.RecordBatch],
        numbers: dict[str, np.ndarray],
        about: dict[str, Any],
        folder: str = "",  # where it is stored; "": in memory alone
    ):
        self.numbers, self.about, self.folder = numbers, about, folder
        self._columns = [tuple(batch.columns) for batch in batches]
        sizes = (batch.num_rows for batch in batches)
        self._starts = list(itertools.accumulate(sizes, initial=0))[:-1]

    @classmethod
    def load(cls, folder: str | Path) -> "Table":
        """Maps a stored table into memory. Raises OSError or ValueError where it is damaged."""
        folder = Path(folder)
        about = json.loads((folder / "about.json").read_bytes())
        reader = pa.ipc.open_file(pa.memory_map(str(folder / "rows.arrow")))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        numbers = {
            path.stem: np.load(path, mmap_mode="r").view(np.ndarray)
            for path in sorted(folder.glob("*.npy"))
        }
        sizes = {sum(batch.num_rows for batch in batches), *map(len, numbers.values())}
        if sizes != {about["rows"]}:
            raise ValueError(f"{folder} has columns of {sizes} rows, not {about['rows']}")
        return cls(batches, numbers, about, str(folder))

    def __len__(self) -> int:
        return self.about["rows"]

    def _at(self, number: int) -> tuple[tuple[pa.Array, ...], int]:
        batch = bisect.bisect_right(self._starts, number) - 1
        return self._columns[batch], number - self._starts[batch]

    def __getitem__(self, number: int) -> Row:
        columns, place = self._at(number)
        image, id, text, texts, problem = (column[place].as_py() for column in columns[:5])
        several = None if texts is None else tuple(map(decoded, texts))
        text = several if text is None else decoded(text)
        return Row(image and decoded(image), id and decoded(id), text, problem and decoded(problem))

    def data(self, number: int) -> bytes | None:
        """The encoded image, where images were copied."""
        columns, place = self._at(number)
        return columns[5][place].as_py() if len(columns) > 5 else None

    def texts(self) -> Iterator[str | tuple[str, ...] | None]:
        """The captions of every row, in order."""
        for columns in self._columns:
            pairs = zip(columns[2].to_pylist(), columns[3].to_pylist(), strict=True)
            for text, texts in pairs:
                if texts is None:
                    yield text and decoded(text)
                else:
                    yield tuple(map(decoded, texts))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder:
            return Table.load, (self.folder,)
        batches = [
            pa.RecordBatch.from_arrays(list(columns), names=[*_TEXT, "data"][: len(columns)])
            for columns in self._columns
        ]
        return Table, (batches, self.numbers, self.about)


def decoded(data: bytes) -> str:
    """The string that was encoded, whatever it held."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogatepass")


def table_of(chunks: Iterable[rows.Chunk], *, places: bool = False) -> Table:
    """A table in memory. places: with the places that splits by hash need."""
    builder = Builder(places)
    batches = [builder.add(chunk) for chunk in chunks] or [builder.add(rows.Chunk(0, {}))]
    numbers, about = builder.finish()
    return Table(batches, numbers, about)


class Builder:
    """Takes chunks, gives record batches, and at the end the numbers of the whole set."""

    def __init__(self, places: bool):
        self.places = places
        self.rows, self.several = 0, False
        self.counts = dict.fromkeys(rows.COLUMNS, 0)
        self.codes: dict[str, dict[Any, int]] = {name: {None: -1} for name in _CODES}
        self.numbers: dict[str, list[np.ndarray]] = {}
        self.keys: dict[str, list[np.ndarray]] = {name: [] for name in ("id", "text", "group")}
        self.digest = hashlib.sha256()

    def add(self, chunk: rows.Chunk) -> pa.RecordBatch:
        """A column that the chunk lacks is None in all its rows."""
        chunk = rows.checked(chunk)
        columns, numbers = chunk.columns, dict(chunk.numbers)
        for name, values in columns.items():
            self.counts[name] += chunk.size - values.count(None)
        for name in _CODES:
            codes, values = self.codes[name], columns.get(name)
            numbers[name] = np.full(chunk.size, -1, np.int32)
            if values:
                numbers[name][:] = [codes.setdefault(value, len(codes) - 1) for value in values]
        image, ids, group = (columns.get(name) for name in ("image", "id", "group"))
        if image and ids:
            ids = [name or path for name, path in zip(ids, image, strict=True)]
        ids = ids or image
        if self.places:
            numbers["place"] = rows.places(self._split_keys(chunk, (group, image, ids)))
        for name, values in numbers.items():
            self.numbers.setdefault(name, []).append(values)
        for name, values in (("id", ids), ("group", group), ("text", columns.get("text"))):
            self.keys[name].append(self._hashes(values, chunk.size))
        self.rows += chunk.size
        return self._batch(chunk)

    def _split_keys(self, chunk: rows.Chunk, columns: Sequence[list | None]) -> list[str]:
        """The first of the names that a row has."""
        keys: list[str | None] = [None] * chunk.size
        for values in columns:
            if values and keys.count(None) == chunk.size:
                keys = values
            elif values:
                keys = [key or one for key, one in zip(keys, values, strict=True)]
        if keys.count(None):
            lines = chunk.numbers.get("line", np.arange(self.rows, self.rows + chunk.size))
            keys = [key or f"line {line}" for key, line in zip(keys, lines, strict=True)]
        return keys

    def _hashes(self, values: list | None, size: int) -> np.ndarray:
        """int64 [size]; a row without a value is like no other row."""
        alone = np.arange(self.rows, self.rows + size) * 0x1E3779B97F4A7C15  # overflows: scattered
        if not values or values.count(None) == size:
            return alone
        keys = rows.hashes(values)
        if values.count(None):
            missing = np.asarray([one is None for one in values])
            keys[missing] = alone[missing]
        return keys

    def _batch(self, chunk: rows.Chunk) -> pa.RecordBatch:
        size, texts = chunk.size, chunk.columns.get("text")
        arrays = [_binary(chunk.columns.get(name), size) for name in ("image", "id")]
        tuples = bool(texts) and tuple in set(map(type, texts))
        self.several |= tuples
        if tuples:
            arrays.append(_binary([one if type(one) is str else None for one in texts], size))
            several = [one if type(one) is tuple else None for one in texts]
            encoded = [one and [_encoded(text) for text in one] for one in several]
            arrays.append(pa.array(encoded, pa.list_(pa.binary())))
        else:
            arrays += [_binary(texts, size), pa.nulls(size, pa.list_(pa.binary()))]
        arrays.append(_binary([chunk.problems.get(row) for row in range(size)]
                              if chunk.problems else None, size))  # fmt: skip
        for array in arrays:
            self._hash(array)
        names = list(_TEXT)
        if chunk.data is not None:
            arrays.append(pa.array(chunk.data, pa.binary()))
            names.append("data")
            self.digest.update(repr([one and len(one) for one in chunk.data]).encode())
        return pa.RecordBatch.from_arrays(arrays, names=names)

    def _hash(self, array: pa.Array) -> None:
        """Offsets and content, which are the same in every version of Arrow."""
        if array.null_count == len(array):
            self.digest.update(b"none")
            return
        offsets = np.frombuffer(array.buffers()[1], np.int32)[: len(array) + 1]
        self.digest.update(offsets.tobytes())
        if pa.types.is_list(array.type):
            self._hash(array.flatten())
        else:
            self.digest.update(memoryview(array.buffers()[2])[: offsets[-1]])

    def finish(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(numbers, about)."""
        numbers = {name: np.concatenate(self.numbers.pop(name)) for name in [*self.numbers]}
        keys = {name: np.concatenate(self.keys.pop(name)) for name in [*self.keys]}
        again = rows.repeated(keys.pop("id"))
        by = next((name for name in ("group", "text") if self.counts[name]), None)
        if by is None and self.counts["label"]:
            by, label = "label", numbers["label"].astype(np.int64)
            keys[by] = np.where(label < 0, np.arange(self.rows) + len(self.codes[by]), label)
        numbers["group"] = rows.in_order(keys[by or "text"])
        for name in _CODES:
            if not self.counts[name]:
                numbers.pop(name, None)
        about: dict[str, Any] = {name: list(self.codes[name])[1:] for name in _CODES}
        for name in sorted(numbers.keys() - {"line", "place"}):
            self.digest.update(name.encode() + numbers[name].tobytes())
        self.digest.update(json.dumps(about).encode())
        about |= {
            "rows": self.rows,
            "counts": self.counts,
            "several": self.several,
            "again": {"count": len(again), "rows": again[:5].tolist()},
            "digest": self.digest.hexdigest(),
        }
        return numbers, about


def _binary(values: list | None, size: int) -> pa.Array:
    if values is None:
        return pa.nulls(size, pa.binary())
    try:
        return pa.array(values, pa.binary())
    except UnicodeEncodeError:
        return pa.array([one and _encoded(one) for one in values], pa.binary())


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
