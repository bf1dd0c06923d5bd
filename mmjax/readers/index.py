"""Reads a set of files once, and finds what it read again at the next start.

* A small set stays in memory. Of a larger one the table is written to the data folder (`storage`)
  and is found while path, size and time of every file are the same; what an earlier state of the
  same files left is removed.
* Interrupted, it starts anew: a table has its name only when it is whole.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmjax.data import storage
from mmjax.data.source import DataError
from mmjax.readers import rows
from mmjax.readers.columns import Declared
from mmjax.readers.table import Builder, Table, table_of

FORMAT = 3  # of what is written; another number is not read
IN_MEMORY = 16 << 20  # bytes of files, at most, of a set that is not written to the data folder
Scan = Callable[[Callable[[int], None], dict[str, Any]], Iterator[rows.Chunk]]


def indexed(
    title: str,
    files: Sequence[Path],
    columns: Mapping[str, Declared],
    scan: Scan,
    *,
    places: bool,
    identity: str = "",
) -> Table:
    """The table of a set of files, read now or found from an earlier start.

    Args:
      title: of the set, for messages.
      columns: the fields that are read, and what the files call them.
      scan: (advance, about) -> chunks. It calls advance(bytes) as it goes, and may add to about;
        "copies" in it is about how many bytes of images the table will hold.
      places: with the places that splits by hash need.
      identity: what else decides how the rows are read.

    Raises:
      DataError: the files changed while they were read, or the data folder cannot be written.
    """
    stamps = [storage.Stamp.of(path) for path in files]
    total = sum(stamp.size for stamp in stamps)
    entry = None
    identity = f"{identity} {sorted((field, *column) for field, column in columns.items())}"
    if total > IN_MEMORY:
        for more in dict.fromkeys((True, places)):  # one with more does as well; the last is made
            entry = _entry(title, stamps, f"{FORMAT} {identity} {more}")
            found = _found(entry)
            if found is not None:
                return found
    extra: dict[str, Any] = {}
    with storage.Progress(f"reading {title}", total, megabytes=True) as progress:
        chunks = _read(title, scan, progress, extra)
        if entry is None:
            table = table_of(chunks, columns, places=places)
            table.about.update(extra)
        else:
            table = _written(entry, chunks, extra, Builder(columns, places))
    for stamp in stamps:
        if storage.Stamp.of(stamp.path) != stamp:
            raise DataError(f"{stamp.path} changed while it was read; start again when it is done")
    return table


def _entry(title: str, stamps: list[storage.Stamp], identity: str) -> Path:
    """Its name begins with what the set is and ends with the state that it is in."""
    name = re.sub(r"[^\w.-]+", "_", title)[-40:]
    paths = repr((identity, [stamp.path for stamp in stamps]))
    states = repr([stamp[1:] for stamp in stamps])
    return storage.folder() / "index" / f"{name}-{_digest(paths)}-{_digest(states)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _read(
    title: str, scan: Scan, progress: storage.Progress, extra: dict[str, Any]
) -> Iterator[rows.Chunk]:
    """A disk's faults in reading, told from those in writing."""
    try:
        yield from scan(progress.advance, extra)
    except OSError as error:
        raise DataError(f"{title} cannot be read: {error}") from error


def _found(entry: Path) -> Table | None:
    if not entry.is_dir():
        return None
    try:
        return Table.load(entry)
    except (OSError, ValueError, KeyError, EOFError):  # damaged: it is made again
        shutil.rmtree(entry, ignore_errors=True)
        return None


def _written(
    entry: Path, chunks: Iterator[rows.Chunk], extra: dict[str, Any], builder: Builder
) -> Table:
    """Written under another name first: what an interrupted start leaves is never read."""
    chunk = next(chunks, rows.Chunk(0, {}))
    with _writing(entry.parent):
        entry.parent.mkdir(parents=True, exist_ok=True)
        copies = extra.get("copies", 0)
        free = shutil.disk_usage(entry.parent).free
        if copies > 0.9 * free:
            raise DataError(
                f"the images of this set are copied once, about {copies / 1e9:.1f} GB, and "
                f"{entry.parent} has {free / 1e9:.1f} GB free; set MMJAX_DATA to a folder on a "
                "larger disk"
            )
        _tidy(entry.parent)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=entry.parent))
    try:
        first = builder.add(chunk)
        with _writing(entry.parent):
            with pa.OSFile(str(part / "rows.arrow"), "wb") as file:
                with pa.ipc.new_file(file, first.schema) as writer:
                    for batch in itertools.chain([first], map(builder.add, chunks)):
                        writer.write_batch(batch)
            numbers, about = builder.finish()
            for name, values in numbers.items():
                np.save(part / f"{name}.npy", values)
            (part / "about.json").write_text(json.dumps({**about, **extra}))
        with contextlib.suppress(OSError):  # another process was faster
            part.rename(entry)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in entry.parent.glob(f"{entry.name.rpartition('-')[0]}-*"):
        if old != entry:
            shutil.rmtree(old, ignore_errors=True)
    return Table.load(entry)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the index of the data cannot be written to {folder}: {error}; set MMJAX_DATA to a "
            "folder that has room"
        ) from error


def _tidy(folder: Path, age: float = 7 * 86400.0) -> None:
    """Removes what starts that were killed left behind."""
    for part in folder.glob(".part-*"):
        with contextlib.suppress(OSError):
            if time.time() - os.stat(part).st_mtime > age:
                shutil.rmtree(part, ignore_errors=True)
