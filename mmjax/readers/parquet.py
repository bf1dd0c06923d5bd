"""Parquet manifests: the columns of one or many files, some thousand rows at a time.

* An image or a sound is a path, encoded bytes, or Hugging Face's struct of bytes and path. Bytes
  are copied into the table, because Parquet itself is read a row group at a time and not an image
  at a time.
* The names of classes that Hugging Face writes into the file are taken over.
* Of files whose one column is encoded records, as TFDS writes them, `record` reads any row.
* A file that is cut off or damaged is refused by name.
"""

import bisect
import contextlib
import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from mmjax.data.source import DataError
from mmjax.data.storage import Stamp
from mmjax.readers.columns import Declared, media
from mmjax.readers.rows import Chunk

SUFFIX = ".parquet"
ROWS = 8192  # in a chunk
ROWS_OF_BYTES = 64  # in a chunk with encoded images or sounds
_BYTES = (types.is_binary, types.is_large_binary, types.is_binary_view)
_LISTS = (types.is_list, types.is_large_list, types.is_fixed_size_list)
_TEXTS = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)


def chunks(
    files: Sequence[Path],
    wanted: Mapping[str, Declared],
    advance: Callable[[int], None],
    about: dict[str, Any],
) -> Iterator[Chunk]:
    """The rows of the files, in order.

    Args:
      wanted: the columns by field.
      advance: is told how many bytes were read, about.
      about: gets "columns" (names), "parts" ((file, its first row) pairs), "class_names" where the
        files have them, "copies" (bytes of images).

    Raises:
      DataError: a file that is damaged, or lacks a column that another one has.
    """
    opened = {path: _metadata(path) for path in files}
    schemas = {path: metadata.schema.to_arrow_schema() for path, metadata in opened.items()}
    names = [name for schema in schemas.values() for name in schema.names]
    about["columns"] = list(dict.fromkeys(names))
    about["parts"] = []
    first = 0
    for path, metadata in opened.items():
        about["parts"].append((path.name, first))
        first += metadata.num_rows
    _same_columns(schemas, wanted)
    for path, schema in schemas.items():
        _check_types(path, schema, wanted)
    class_names = _class_names(schemas[files[0]], wanted["label"].name if "label" in wanted else "")
    if class_names:
        about["class_names"] = class_names
    copied = []  # fields whose bytes are in the files
    for field, column in media(wanted).items():
        inside = [_has_bytes(path, schema, field, column.name) for path, schema in schemas.items()]
        if any(inside):
            copied.append(field)
    if copied:
        sizes = [_size(metadata, wanted[field].name) for field in copied
                 for metadata in opened.values()]  # fmt: skip
        about["copies"] = sum(sizes)
    del opened
    for path, schema in schemas.items():
        here = {field: column for field, column in wanted.items() if column.name in schema.names}
        yield from _rows(path, here, copied, advance)


def count(stamp: Stamp) -> int:
    """Rows of a file. Raises DataError for one that is damaged."""
    return _opened(stamp)[1][-1]


def record(stamp: Stamp, place: int) -> bytes:
    """The first column of a row. Raises ArrowException or OSError where the file is damaged."""
    starts = _opened(stamp)[1]
    group = bisect.bisect_right(starts, place) - 1
    return _column(stamp, group)[place - starts[group]].as_py()


@functools.lru_cache(maxsize=256)
def _opened(stamp: Stamp) -> tuple[pq.FileMetaData, list[int]]:
    """(what the file says of itself; the first row of each row group, and the number of rows)."""
    metadata = _metadata(Path(stamp.path))
    sizes = (metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))
    return metadata, list(itertools.accumulate(sizes, initial=0))


@functools.lru_cache(maxsize=8)  # for rows in order; those at random are the pipeline's to remember
def _column(stamp: Stamp, group: int) -> pa.ChunkedArray:
    with pq.ParquetFile(stamp.path, metadata=_opened(stamp)[0]) as file:
        return file.read_row_group(group).column(0)


def _rows(
    path: Path,
    wanted: Mapping[str, Declared],
    copied: Sequence[str],
    advance: Callable[[int], None],
) -> Iterator[Chunk]:
    total = path.stat().st_size
    with _reading(path), pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        rows = file.metadata.num_rows
        size = ROWS_OF_BYTES if copied else ROWS
        names = sorted({column.name for column in wanted.values()})
        for batch in file.iter_batches(size, columns=names):
            columns = {
                field: _values(column, batch.column(column.name))
                for field, column in wanted.items()
            }
            data = {}
            for field in copied:
                columns[field], data[field] = _paths_and_bytes(columns[field])
            yield Chunk(batch.num_rows, columns, data=data)
            advance(total * batch.num_rows // max(1, rows))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Arrow's errors of this file as DataErrors; those of whoever takes the rows pass."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DataError(
            f"{path} cannot be read as Parquet: {reason} It is cut off, damaged or no "
            "Parquet file; copy or download it again"
        ) from error


def _metadata(path: Path) -> pq.FileMetaData:
    with _reading(path):
        return pq.read_metadata(path)


def _same_columns(schemas: Mapping[Path, pa.Schema], wanted: Mapping[str, Declared]) -> None:
    for name in [column.name for column in wanted.values()]:
        have = [path for path, schema in schemas.items() if name in schema.names]
        lack = [path for path, schema in schemas.items() if name not in schema.names]
        if have and lack:
            raise DataError(f"{lack[0]} has no column {name!r}, which {have[0].name} has")


def _check_types(path: Path, schema: pa.Schema, wanted: Mapping[str, Declared]) -> None:
    """Raises DataError for a column of text in which no row can have any."""
    for column in wanted.values():
        if column.kind not in ("text", "texts") or column.name not in schema.names:
            continue
        kind = schema.field(column.name).type
        inside = kind.value_type if any(test(kind) for test in _LISTS) else kind
        if types.is_dictionary(inside):
            inside = inside.value_type
        if not any(test(inside) for test in _TEXTS):
            raise DataError(
                f"{path}: column {column.name!r} is {kind}; a text is a string or a list of "
                f"strings. It has: {_listed(schema)}"
            )


def _listed(schema: pa.Schema) -> str:
    """The columns with their types, for messages."""
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _values(column: Declared, array: pa.Array) -> list:
    values = array.to_pylist()
    if types.is_floating(array.type) and column.kind != "float":
        # pandas makes whole numbers with gaps floating
        return [_whole(value) for value in values]
    return values


def _whole(value: float | None) -> float | int | None:
    if value is None or math.isnan(value):
        return None
    return int(value) if value.is_integer() else value


def _has_bytes(path: Path, schema: pa.Schema, field: str, name: str) -> bool:
    """Whether the bytes are in the file. Raises DataError for a type that is none of them."""
    if name not in schema.names:
        return False
    kind = schema.field(name).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    parts = {part.name for part in kind} if types.is_struct(kind) else set()
    if not parts.isdisjoint(("bytes", "path")):
        return "bytes" in parts
    if any(test(kind) for test in _BYTES):
        return True
    if any(test(kind) for test in _TEXTS):
        return False
    raise DataError(
        f"{path}: column {name!r} is {kind}; {_article(field)} is a path, encoded bytes, or a "
        "struct of bytes and path"
    )


def _article(field: str) -> str:
    return f"an {field}" if field[0] in "aeiou" else f"a {field}"


def _paths_and_bytes(values: list) -> tuple[list, list]:
    """(paths, encoded bytes) of strings, bytes, or structs of both."""
    paths = []
    data = []
    for value in values:
        path = None
        content = None
        if isinstance(value, dict):
            path = value.get("path")
            content = value.get("bytes")
        elif isinstance(value, bytes):
            content = value
        else:
            path = value
        paths.append(path)
        data.append(content or None)
    return paths, data


def _class_names(schema: pa.Schema, label: str) -> list[str]:
    """Hugging Face's names of the classes of a column of numbers."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return list(features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return []


def _size(metadata: pq.FileMetaData, name: str) -> int:
    """Bytes of the column."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    return sum(
        column.total_uncompressed_size
        for column in columns
        if column.path_in_schema.split(".")[0] == name
    )
