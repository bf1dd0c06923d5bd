"""The folder for what is derived from a user's data, and what is said while it is made.

* $MMJAX_DATA, or mmjax/data under the user's cache directory; nothing is written beside the data.
* A set that was changed is recognised by the stamp of its files: path, size and time of change.
* Progress is shown of what takes longer than two seconds: a bar on a terminal, lines elsewhere.
"""

import contextlib
import errno
import functools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmjax.data.source import CorruptExample, DataError
from mmjax.terminal import printable

# What the system says of a path that leads to nothing that can be opened; other errors are of a
# disk or a network.
UNREACHABLE = (
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
    errno.ENODEV,
)


def folder() -> Path:
    """$MMJAX_DATA, or mmjax/data under the user's cache directory."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mmjax" / "data"
    return Path(os.environ.get("MMJAX_DATA") or default).expanduser().absolute()


class Stamp(NamedTuple):
    """A file as it was when it was looked at."""

    path: str
    size: int  # bytes
    changed: int  # ns since the epoch

    @classmethod
    def of(cls, path: str | Path) -> "Stamp":
        """Raises FileNotFoundError."""
        found = os.stat(path)
        return cls(os.path.abspath(path), found.st_size, found.st_mtime_ns)

    def check(self, found: os.stat_result) -> None:
        """Raises CorruptExample when the file is not what it was."""
        if (found.st_size, found.st_mtime_ns) != self[1:]:
            raise CorruptExample(
                f"{self.path} has changed since it was opened ({found.st_size} bytes, it had "
                f"{self.size}): start again when it is complete"
            )


@contextlib.contextmanager
def reaching(what: str) -> Iterator[None]:
    """A path that cannot be reached is a DataError that begins with `what`."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNREACHABLE or error.filename is None:
            raise
        path = os.fsdecode(error.filename)
        raise DataError(f"{what}: cannot read {path}: {error.strerror}") from error


def open_bar(
    title: str, total: int, done: int = 0, text: str = "", *, estimate: bool = True
) -> tuple[Any, Any]:
    """A bar on the terminal, with a text of its own at its end, and its job for updates.

    estimate: the time left, from all that was done so far.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
    ]
    if estimate:
        columns.append(TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True))
    bar.start()
    return bar, bar.add_task(title, total=total or None, completed=done, text=text)


class Progress:
    """Shows how much of some bytes or rows is done, of what takes longer. Use `with`."""

    def __init__(
        self, title: str, total: int = 0, *, megabytes: bool = False, seconds: float = 2.0
    ):
        """total: 0 as long as it is not known. seconds: before anything is shown."""
        self.title = title
        self.total = total
        self.megabytes = megabytes
        self.done = 0
        self.next = time.monotonic() + seconds  # when something is shown
        self.bar: Any = None

    def advance(self, count: int) -> None:
        """So much more is done."""
        self.update(self.done + count)

    def update(self, done: int, total: int | None = None) -> None:
        """So much is done in all, of `total`."""
        self.done = done
        if total is not None:
            self.total = total
        if self.bar is None:
            if time.monotonic() <= self.next:
                return
            if not sys.stderr.isatty():
                self.next = time.monotonic() + 10.0
                print(f"{self.title} {self._amount()}", file=sys.stderr, flush=True)
                return
            self.bar, self.job = open_bar(self.title, self.total)
        self.bar.update(self.job, completed=done, total=self.total or None, text=self._amount())

    def _amount(self) -> str:
        if self.megabytes:
            return f"{self.done / 1e6:,.1f}/{self.total / 1e6:,.1f} MB"
        return f"{self.done:,}/{self.total:,}"

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *unused: object) -> None:
        if self.bar is not None:
            self.bar.stop()


@functools.lru_cache(maxsize=1024)
def note(text: str) -> None:
    """Says it on stderr, once in a process: a set is opened for each of its splits."""
    print(printable(f"note: {text}", keep="\n"), file=sys.stderr, flush=True)
