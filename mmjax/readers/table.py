"""Rows without their images, in Arrow columns: five million in bounded memory, each read in 10 us.

* What the whole set must know at the start is kept as numbers: groups, labels, splits, and declared
  columns of numbers.
* A table is a snapshot: what happens to the data afterwards cannot turn one row into another.
* Columns of the Arrow batches: image (path), id, text, texts, problem; data (of images, where they
  were copied); of other declared fields path.<field>, data.<field> and value.<field>.
"""

import bisect
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmjax.readers import rows
from mmjax.readers.columns import NUMBERS, Declared, extras, media
from mmjax.readers.same_picture import same_pictures, sets_of_captions
from mmjax.readers.values import is_several, unpacked

_FIXED = ("image", "id", "text", "texts", "problem")
_CODES = ("label", "split")  # columns of few different values
_CUT = {"start", "end"}  # fields that make a row a part of its file: not equal to its other parts


class Row(NamedTuple):
    """What a table has of a row; None: nothing. Text may hold bytes that are no UTF-8, escaped."""

    id: str | None
    text: str | tuple[str, ...] | None
    problem: str | None  # why the row cannot be used
    paths: dict[str, str]  # of the fields of bytes, as they were written
    values: dict[str, Any]  # of the other declared fields

    @property
    def path(self) -> str | None:
        """The first of its paths, of the image where there is one."""
        return next(iter(self.paths.values()), None)


class Table:
    """numbers: name -> one value per row: "group", and where the data has them "label" and "split"
    (places in about["label"], about["split"]; -1: none), "picture" (equal in rows of one picture,
    where some picture has several rows), "place", "value.<field>" of declared fields, and those of
    the reader.
    about: "rows", "counts" of values by column, "several" (captions in a row), "kinds" of declared
    fields, "several_in" (fields of text), "again" (rows with the id of an earlier one),
    "same_bytes" (rows with the bytes of an earlier one under another name), "digest".
    """

    def __init__(
        self,
        batches: Sequence[pa.RecordBatch],
        numbers: dict[str, np.ndarray],
        about: dict[str, Any],
        folder: str = "",  # where it is stored; "": in memory alone
    ):
        self.numbers = numbers
        self.about = about
        self.folder = folder
        self._kinds = about["kinds"]
        self._names = batches[0].schema.names
        self._columns = [tuple(batch.columns) for batch in batches]
        sizes = (batch.num_rows for batch in batches)
        self._starts = list(itertools.accumulate(sizes, initial=0))[:-1]
        self._paths = self._numbered("path.")
        self._values = self._numbered("value.")

    def _numbered(self, prefix: str) -> list[tuple[str, int]]:
        """(field, number of its Arrow column)."""
        return [
            (name.removeprefix(prefix), number)
            for number, name in enumerate(self._names)
            if name.startswith(prefix)
        ]

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
        paths = {"image": decoded(image)} if image else {}
        for field, at in self._paths:
            path = columns[at][place].as_py()
            if path:
                paths[field] = decoded(path)
        text = several if text is None else decoded(text)
        values = self._declared(columns, place, number) if self._kinds else {}
        return Row(id and decoded(id), text, problem and decoded(problem), paths, values)

    def _declared(self, columns: tuple[pa.Array, ...], place: int, number: int) -> dict[str, Any]:
        several_in = self.about["several_in"]
        values: dict[str, Any] = {}
        for field, at in self._values:
            packed = columns[at][place].as_py()
            values[field] = unpacked(packed, self._kinds[field], field in several_in)
        for field, kind in self._kinds.items():
            if kind in NUMBERS:
                values[field] = self.numbers[f"value.{field}"][number].item()
        return values

    def data(self, number: int, field: str = "image") -> bytes | None:
        """The encoded image, or bytes of another field, where they were copied."""
        name = _data(field)
        if name not in self._names:
            return None
        columns, place = self._at(number)
        return columns[self._names.index(name)][place].as_py()

    def texts(self) -> Iterator[str | tuple[str, ...] | None]:
        """The captions of every row, in order."""
        for columns in self._columns:
            pairs = zip(columns[2].to_pylist(), columns[3].to_pylist(), strict=True)
            for text, texts in pairs:
                if texts is None:
                    yield text and decoded(text)
                else:
                    yield tuple(map(decoded, texts))

    def values(self, field: str) -> Iterator[Any]:
        """A declared field of every row, in order; None where a row has a problem with it."""
        kind = self._kinds[field]
        several = field in self.about["several_in"]
        column = self._names.index(f"value.{field}")
        for columns in self._columns:
            for packed in columns[column].to_pylist():
                yield unpacked(packed, kind, several)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder:
            return Table.load, (self.folder,)
        batches = [
            pa.RecordBatch.from_arrays(list(columns), names=self._names)
            for columns in self._columns
        ]
        return Table, (batches, self.numbers, self.about)


def _data(field: str) -> str:
    """The Arrow column of bytes that were copied."""
    return "data" if field == "image" else f"data.{field}"


def decoded(data: bytes) -> str:
    """The string that was encoded, whatever it held."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogatepass")


def table_of(
    chunks: Iterable[rows.Chunk], columns: Mapping[str, Declared], *, places: bool = False
) -> Table:
    """A table in memory. places: with the places that splits by hash need."""
    builder = Builder(columns, places)
    batches = [builder.add(chunk) for chunk in chunks] or [builder.add(rows.Chunk(0, {}))]
    numbers, about = builder.finish()
    return Table(batches, numbers, about)


class Builder:
    """Takes chunks, gives record batches, and at the end the numbers of the whole set."""

    def __init__(self, columns: Mapping[str, Declared], places: bool):
        self.declared = columns
        self.media = tuple(media(columns))
        self.kinds = {field: column.kind for field, column in extras(columns).items()}
        self.places = places
        self.rows = 0
        self.several = False
        self.several_in: set[str] = set()
        self.counts = dict.fromkeys(("image", "id", "text", "label", "group", "split"), 0)
        self.codes: dict[str, dict[Any, int]] = {name: {None: -1} for name in _CODES}
        self.numbers: dict[str, list[np.ndarray]] = {}
        self.keys: dict[str, list[np.ndarray]] = {
            name: [] for name in ("id", "text", "group", "name", "picture")
        }
        self.digest = hashlib.sha256()

    def add(self, chunk: rows.Chunk) -> pa.RecordBatch:
        """A column that the chunk lacks is None in all its rows."""
        chunk = rows.checked(chunk, self.declared)
        columns = chunk.columns
        numbers = dict(chunk.numbers)
        for name, values in columns.items():
            self.counts[name] = self.counts.get(name, 0) + chunk.size - values.count(None)
        for name in _CODES:
            numbers[name] = self._coded(name, columns.get(name), chunk.size)
        path = next((columns[field] for field in self.media if columns.get(field)), None)
        group = columns.get("group")
        ids = columns.get("id")
        if path and ids:
            ids = [name or file for name, file in zip(ids, path, strict=True)]
        ids = ids or path
        if self.places:
            by = (group, path, self._first_files(columns), ids)
            numbers["place"] = rows.places(self._split_keys(chunk, by))
        for name, values in numbers.items():
            self.numbers.setdefault(name, []).append(values)
        contents = chunk.contents
        names = _filled(path, ids)
        if contents is None:  # where a row has the bytes itself, no file has to have a name
            copied = [chunk.data[field] for field in self.media if field in chunk.data]
            contents = copied[0] if copied else None
            names = _filled(path, contents)
        keys = {
            "id": ids,
            "group": group,
            "text": columns.get("text"),
            "name": names,
            "picture": _filled(contents, path),
        }
        for name, values in keys.items():
            self.keys[name].append(self._hashes(values, chunk.size))
        self.rows += chunk.size
        return self._batch(chunk)

    def _first_files(self, columns: Mapping[str, list]) -> list[str | None] | None:
        """The first path of each row that has a list of files."""
        first: list[str | None] | None = None
        for field in (field for field, kind in self.kinds.items() if kind == "files"):
            own = [(unpacked(one, "files", True) or (None,))[0] for one in columns[field]]
            first = own if first is None else [a or b for a, b in zip(first, own, strict=True)]
        return first

    def _coded(self, name: str, values: list | None, size: int) -> np.ndarray:
        """int32 [size]: the number of each value, in order of appearance; -1: none."""
        codes = self.codes[name]
        out = np.full(size, -1, np.int32)
        if values:
            out[:] = [codes.setdefault(value, len(codes) - 1) for value in values]
        return out

    def _split_keys(self, chunk: rows.Chunk, columns: Sequence[list | None]) -> list[str]:
        """The first of the names that a row has."""
        keys: list[str | None] = [None] * chunk.size
        for values in columns:
            if values and keys.count(None) == chunk.size:
                keys = values
            elif values:
                keys = [key or value for key, value in zip(keys, values, strict=True)]
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
            missing = np.asarray([value is None for value in values])
            keys[missing] = alone[missing]
        return keys

    def _batch(self, chunk: rows.Chunk) -> pa.RecordBatch:
        image = chunk.columns.get("image") if "image" in self.media else None
        arrays = [_binary(column, chunk.size) for column in (image, chunk.columns.get("id"))]
        arrays += self._captions(chunk.columns.get("text"), chunk.size)
        problems = None
        if chunk.problems:
            problems = [chunk.problems.get(row) for row in range(chunk.size)]
        arrays.append(_binary(problems, chunk.size))
        named = dict(zip(_FIXED, arrays, strict=True))
        for field in self.media:
            if field != "image":
                named[f"path.{field}"] = _binary(chunk.columns.get(field), chunk.size)
        for field, kind in self.kinds.items():
            if kind not in NUMBERS:
                named[f"value.{field}"] = self._packed(field, kind, chunk.columns[field])
        for array in named.values():
            self._hash(array)
        for field, data in chunk.data.items():
            named[_data(field)] = pa.array(data, pa.binary())
            self.digest.update(repr([content and len(content) for content in data]).encode())
        return pa.RecordBatch.from_arrays(list(named.values()), names=list(named))

    def _captions(self, texts: list | None, size: int) -> list[pa.Array]:
        """[rows with one caption, rows with several]."""
        if not texts or tuple not in set(map(type, texts)):
            return [_binary(texts, size), pa.nulls(size, pa.list_(pa.binary()))]
        self.several = True
        single = [text if type(text) is str else None for text in texts]
        several = [text if type(text) is tuple else None for text in texts]
        encoded = [row and [_encoded(text) for text in row] for row in several]
        return [_binary(single, size), pa.array(encoded, pa.list_(pa.binary()))]

    def _packed(self, field: str, kind: str, values: list[bytes | None]) -> pa.Array:
        if kind == "text" and any(value is not None and is_several(value) for value in values):
            self.several_in.add(field)
        return pa.array(values, pa.binary())

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
            by = "label"
            label = numbers["label"].astype(np.int64)
            alone = np.arange(self.rows) + len(self.codes["label"])
            keys["label"] = np.where(label < 0, alone, label)
        by = by or "text"
        same = same_pictures(keys.pop("picture"), keys.pop("name"))
        copies: list[tuple[int, int]] = []
        if same is not None:
            copies = [(int(row), int(same.first[row])) for row in same.copies]
            if by != "group" and "place" in numbers:  # one picture is on one side of a split
                numbers["place"] = numbers["place"][same.first]
            whole = _CUT.isdisjoint(self.declared)
            if by == "text" and whole:
                keys[by] = sets_of_captions(same.picture, keys[by])
        numbers["group"] = rows.in_order(keys[by])
        if same is not None and whole:
            # No picture is in two groups: where the data has groups, they go first.
            pairs = numbers["group"].astype(np.int64) << 32 | same.picture
            numbers["picture"] = rows.in_order(pairs)
        for name in _CODES:
            if not self.counts[name]:
                numbers.pop(name, None)
        about: dict[str, Any] = {name: list(self.codes[name])[1:] for name in _CODES}
        for name in sorted(numbers.keys() - {"line", "place"}):
            self.digest.update(name.encode() + numbers[name].tobytes())
        self.digest.update(json.dumps(about).encode())
        if self.kinds:
            self.digest.update(json.dumps(self.kinds).encode())
        about |= {
            "rows": self.rows,
            "counts": self.counts,
            "several": self.several,
            "kinds": self.kinds,
            "several_in": sorted(self.several_in),
            "again": {"count": len(again), "rows": again[:5].tolist()},
            "same_bytes": {"count": len(copies), "rows": copies[:5]},
            "digest": self.digest.hexdigest(),
        }
        return numbers, about


def _filled(values: list | None, others: list | None) -> list | None:
    """The values, and the others where there is none."""
    if values is None or others is None:
        return others if values is None else values
    return [other if value is None else value for value, other in zip(values, others, strict=True)]


def _binary(values: list | None, size: int) -> pa.Array:
    if values is None:
        return pa.nulls(size, pa.binary())
    try:
        return pa.array(values, pa.binary())
    except UnicodeEncodeError:
        return pa.array([value and _encoded(value) for value in values], pa.binary())


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
