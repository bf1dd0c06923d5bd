"""Parquet manifests: the columns of one or many files, some thousand rows at a time.

* An image is a path, encoded bytes, or Hugging Face's struct of bytes and path. Bytes are copied
  into the table, because Parquet itself is read a row group at a time and not an image at a time.
* The names of classes that Hugging Face writes into the file are taken over.
* Of files whose one column is encoded records, as TFDS writes them, `record` reads any row.
* A file that is cut off or damaged is refused by name.
"""

import bisect
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from mmjax.data.source import DataError
from mmjax.data.storage import Stamp
from mmjax.readers.rows import Chunk

SUFFIX = ".parquet"
ROWS = 8192  # in a chunk
ROWS_OF_BYTES = 64  # in a chunk with encoded images
_BYTES = (types.is_binary, types.is_large_binary, types.is_binary_view)
_PATHS = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)


def chunks(
    files: Sequence[Path],
    wanted: Mapping[str, str],
    advance: Callable[[int], None],
    about: dict[str, Any],
) -> Iterator[Chunk]:
    """The rows of the files, in order.

    Args:
      wanted: our name of a column -> the files'.
      advance: is told how many bytes were read, about.
      about: gets "columns" (names), "parts" ((file, its first row) pairs), "class_names" where the
        files have them, "copies" (bytes of images).

    Raises:
      DataError: a file that is damaged, or lacks a column that another one has.
    """
    opened = {path: _metadata(path) for path in files}
    schemas = {path: metadata.schema.to_arrow_schema() for path, metadata in opened.items()}
    about["columns"] = list(dict.fromkeys(name for one in schemas.values() for name in one.names))
    about["parts"], first = [], 0
    for path, metadata in opened.items():
        about["parts"].append((path.name, first))
        first += metadata.num_rows
    _same_columns(schemas, wanted)
    names = _class_names(schemas[files[0]], wanted.get("label", ""))
    if names:
        about["class_names"] = names
    image = wanted.get("image", "")
    copied = any(_has_bytes(path, schema, image) for path, schema in schemas.items())
    if copied:
        about["copies"] = sum(_size(metadata, image) for metadata in opened.values())
    del opened
    for path, schema in schemas.items():
        names = {ours: name for ours, name in wanted.items() if name in schema.names}
        yield from _rows(path, names, copied, advance)


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
    path: Path, names: Mapping[str, str], copied: bool, advance: Callable[[int], None]
) -> Iterator[Chunk]:
    total = path.stat().st_size
    with _reading(path), pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        rows = file.metadata.num_rows
        size = ROWS_OF_BYTES if copied else ROWS
        for batch in file.iter_batches(size, columns=sorted(set(names.values()))):
            columns = {ours: _values(ours, batch.column(name)) for ours, name in names.items()}
            data = None
            if copied:
                columns["image"], data = _images(columns["image"])
            yield Chunk(batch.num_rows, columns, data=data)
            advance(total * batch.num_rows // max(1, rows))


class _reading:
    """Arrow's errors of this file as DataErrors; those of whoever takes the rows pass."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (pa.ArrowException, OSError)):
            reason = str(error).strip().split("\n")[0]
            raise DataError(
                f"{self.path} cannot be read as Parquet: {reason} It is cut off, damaged or no "
                "Parquet file; copy or download it again"
            ) from error


def _metadata(path: Path) -> pq.FileMetaData:
    with _reading(path):
        return pq.read_metadata(path)


def _same_columns(schemas: Mapping[Path, pa.Schema], wanted: Mapping[str, str]) -> None:
    for name in wanted.values():
        have = [path for path, schema in schemas.items() if name in schema.names]
        lack = [path for path, schema in schemas.items() if name not in schema.names]
        if have and lack:
            raise DataError(f"{lack[0]} has no column {name!r}, which {have[0].name} has")


def _values(ours: str, column: pa.Array) -> list:
    values = column.to_pylist()
    if ours in ("label", "group", "id") and types.is_floating(column.type):
        # pandas makes numbers with gaps floating
        values = [None if one != one else int(one) if one.is_integer() else one
                  for one in (float("nan") if one is None else one for one in values)]  # fmt: skip
    return values


def _has_bytes(path: Path, schema: pa.Schema, image: str) -> bool:
    """Whether images are in the file. Raises DataError for a type that is none of an image."""
    if image not in schema.names:
        return False
    kind = schema.field(image).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind) and {"bytes", "path"} & {field.name for field in kind}:
        return "bytes" in {field.name for field in kind}
    if any(test(kind) for test in _BYTES):
        return True
    if any(test(kind) for test in _PATHS):
        return False
    raise DataError(
        f"{path}: column {image!r} is {kind}; an image is a path, encoded bytes, or a struct of "
        "bytes and path"
    )


def _images(values: list) -> tuple[list, list]:
    """(paths, encoded bytes) of strings, bytes, or structs of both."""
    paths, data = [], []
    for value in values:
        if isinstance(value, dict):
            path, content = value.get("path"), value.get("bytes")
        elif isinstance(value, bytes):
            path, content = None, value
        else:
            path, content = value, None
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


def _size(metadata: pq.FileMetaData, image: str) -> int:
    """Bytes of the column."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    return sum(
        column.total_uncompressed_size
        for column in columns
        if column.path_in_schema.split(".")[0] == image
    )
