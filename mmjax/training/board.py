"""TensorBoard's event file, whose end is not the end of the run.

* tensorboardX writes in a thread. An error there would print a traceback and end the thread, and
  the run would wait for ever once the thread's queue is full. So the file that tensorboardX is
  given takes note of a full disk once, and lets go what follows.
* metrics.jsonl has the same numbers, and its errors are the run's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.record_writer import register_writer_factory

from mmjax.data.storage import note

PREFIX = "mmjax"  # of the paths that tensorboardX writes through `EventFile`
QUEUE = 1000  # events that wait for the thread at most


class EventFile:
    """A file whose writes never fail; after the first that did, they do nothing."""

    def __init__(self, path: str):
        self.path = path
        self.file = open(path, "wb")
        self.lost = False

    def write(self, data: bytes) -> None:
        self._try(lambda: self.file.write(data))

    def flush(self) -> None:
        self._try(self._to_disk)

    def close(self) -> None:
        self._try(self.file.close)

    def _to_disk(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())

    def _try(self, action: Callable[[], object]) -> None:
        if self.lost:
            return
        try:
            action()
        except OSError as error:
            self.lost = True
            note(f"no more is written for TensorBoard: {error.strerror} ({self.path})")


class _Files:
    """The kind of files that tensorboardX finds behind the prefix."""

    def open(self, path: str) -> EventFile:
        return EventFile(_without_prefix(path))

    def directory_check(self, path: str) -> None:
        Path(_without_prefix(path)).mkdir(parents=True, exist_ok=True)


def _without_prefix(path: str) -> str:
    return path.removeprefix(f"{PREFIX}:")


def open_board(folder: Path, step: int) -> SummaryWriter:
    """A writer of an event file in `folder`; what earlier files say after `step` is dropped."""
    register_writer_factory(PREFIX, _Files())
    return SummaryWriter(f"{PREFIX}:{folder}", purge_step=step + 1, max_queue=QUEUE)
