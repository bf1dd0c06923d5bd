"""A file of embeddings: written chunk by chunk, so that it can be stopped and gone on with.

* `.npy`: float32 [N, E], with the names of the rows and what made them in a JSON file beside it.
* `.parquet`: columns row, name, embedding; what made them in the file's own metadata.
* Until all is done, the chunks are kept as readers/chunks.py says.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmjax.data.source import DataError
from mmjax.readers.chunks import Chunks

SUFFIXES = (".npy", ".parquet")
KEY = b"mmjax"  # of a Parquet file's metadata


class Chunk(NamedTuple):
    """Rows that were embedded together."""

    vectors: np.ndarray  # float32 [n, E]
    rows: np.ndarray  # int64 [n], their numbers in the data; corrupt ones are left out


@dataclasses.dataclass(frozen=True)
class Index:
    """An opened file."""

    vectors: np.ndarray  # float32 [N, E]
    names: tuple[str, ...]  # of the rows
    rows: np.ndarray  # int64 [N], their numbers in the data
    about: Mapping[str, Any]  # what made them: "model", "parameters", "data", "kind"


class Writer:
    """The chunks of a file that is being made."""

    def __init__(self, out: str | Path, about: Mapping[str, Any], chunks: int):
        """
        Args:
          about: what makes them, for JSON; chunks that were made by something else are deleted.

        Raises:
          DataError: a suffix that is none of SUFFIXES.
        """
        self.out = Path(out)
        self.about = dict(about)
        if self.out.suffix not in SUFFIXES:
            raise DataError(f"{out}: embeddings are kept as {' or '.join(SUFFIXES)}")
        self._chunks = Chunks(out, about, chunks)

    def missing(self) -> list[int]:
        """The numbers of the chunks that are not made yet."""
        return self._chunks.missing()

    def put(self, number: int, chunk: Chunk) -> None:
        """Keeps one chunk, in full or not at all."""
        file = io.BytesIO()
        np.savez(file, vectors=chunk.vectors.astype(np.float32), rows=chunk.rows)
        self._chunks.put(number, file.getvalue())

    def finish(self, name: Callable[[int], str]) -> None:
        """Makes the file of the chunks and removes them.

        Args:
          name: of a row of the data.

        Raises:
          DataError: not one row could be embedded.
        """
        counts = [len(rows) for _, rows in self._all()]
        if not sum(counts):
            raise DataError(f"{self.out}: not one row could be embedded")

        def readable(row: int) -> str:
            # a file's name may hold bytes that are no UTF-8, and no file of text takes them
            return name(row).encode("utf-8", "backslashreplace").decode("utf-8")

        draft = self.out.with_name(self.out.name + ".draft")
        if self.out.suffix == ".npy":
            self._npy(draft, sum(counts), readable)
        else:
            self._parquet(draft, sum(counts), readable)
        draft.replace(self.out)
        self._chunks.remove()

    def _all(self) -> Iterator[Chunk]:
        for number in range(self._chunks.count):
            with np.load(self._chunks.path(number)) as found:
                yield Chunk(found["vectors"], found["rows"])

    def _npy(self, draft: Path, count: int, name: Callable[[int], str]) -> None:
        file = None
        done = 0
        rows = []
        for chunk in self._all():
            if file is None:
                shape = (count, chunk.vectors.shape[1])
                file = np.lib.format.open_memmap(draft, "w+", np.dtype(np.float32), shape)
            file[done : done + len(chunk.rows)] = chunk.vectors
            done += len(chunk.rows)
            rows += chunk.rows.tolist()
        file.flush()
        beside = {"about": self.about, "rows": rows, "names": [name(row) for row in rows]}
        _beside(self.out).write_text(json.dumps(beside, ensure_ascii=False), encoding="utf-8")

    def _parquet(self, draft: Path, count: int, name: Callable[[int], str]) -> None:
        writer = None
        try:
            for vectors, rows in self._all():
                flat = pa.array(vectors.reshape(-1), pa.float32())
                columns = {
                    "row": pa.array(rows),
                    "name": pa.array([name(int(row)) for row in rows], pa.string()),
                    "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
                }
                table = pa.table(columns, metadata={KEY: json.dumps(self.about).encode()})
                writer = writer or pq.ParquetWriter(draft, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()


def open(path: str | Path) -> Index:
    """Reads a file that was written here.

    Raises:
      FileNotFoundError: it is not there. DataError: no embeddings of mmjax, a file that is cut off
        or damaged, or vectors that are not finite.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; --mode=embed writes one")
    index = None
    try:
        if path.is_file() and path.suffix == ".npy" and _beside(path).is_file():
            index = _opened_npy(path)
        if path.is_file() and path.suffix == ".parquet":
            index = _opened_parquet(path)
    except (
        pa.ArrowException, AttributeError, EOFError, KeyError, OSError, TypeError, ValueError
    ) as error:  # fmt: skip
        reason = str(error).strip().split("\n")[0]
        raise DataError(
            f"{path} is cut off or damaged: {reason}; make it anew with --mode=embed"
        ) from error
    if index is None:
        raise DataError(
            f"{path} holds no embeddings of mmjax: --mode=embed writes .npy (with a .json beside "
            "it) and .parquet"
        )
    _check_finite(path, index.vectors)
    return index


def _opened_npy(path: Path) -> Index:
    """Raises what the damage of a file can lead to."""
    beside = json.loads(_beside(path).read_text(encoding="utf-8"))
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    rows = np.asarray(beside["rows"], np.int64)
    names = tuple(beside["names"])
    _check(vectors, names, rows, beside["about"])
    return Index(vectors, names, rows, beside["about"])


def _opened_parquet(path: Path) -> Index | None:
    """None for one that was not written here. Raises what the damage of a file can lead to."""
    table = pq.read_table(path)
    note = (table.schema.metadata or {}).get(KEY)
    if note is None:
        return None
    about = json.loads(note)
    column = table["embedding"].combine_chunks()
    vectors = column.flatten().to_numpy().reshape(len(table), -1)
    names = tuple(table["name"].to_pylist())
    rows = table["row"].to_numpy()
    _check(vectors, names, rows, about)
    return Index(vectors, names, rows, about)


def _check(vectors: np.ndarray, names: tuple[str, ...], rows: np.ndarray, about: Any) -> None:
    """Raises ValueError for parts that do not fit together."""
    if vectors.ndim != 2 or not len(vectors) == len(names) == len(rows):
        raise ValueError(f"it has {len(rows)} rows, {len(names)} names, vectors {vectors.shape}")
    missing = {"model", "parameters", "data", "rows", "kind", "column"} - about.keys()
    if missing:
        raise ValueError(f"it does not say what made it: no {', '.join(sorted(missing))}")


def _check_finite(path: Path, vectors: np.ndarray) -> None:
    """Raises DataError where there is a NaN or an infinity: every search would find it."""
    # without memory of their size: a NaN or an infinity is in the least or the largest number
    if not vectors.size or np.isfinite(vectors.min()) and np.isfinite(vectors.max()):
        return
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    raise DataError(
        f"{path}: the vectors of {len(bad)} of {len(vectors)} rows hold a NaN or an infinity, the "
        f"first in row {bad[0]}: embed the data again"
    )


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")
