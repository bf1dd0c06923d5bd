"""A source that does not wait, and a listener that may be slower.

* The source runs in a thread of its own and fills a buffer of some seconds; the listener takes all
  that is there. More than one hop at once means that it was behind: the window is then recognised
  once for all of them, and `Behind` is told. So load is shed by larger chunks, and words come
  later.
* When the buffer is full, its oldest second is given up, and the stream has a gap, which the blocks
  see by the time stamps.
* A source that waits (a file, a pipe) needs none of this: `Listener.push`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator

from mmjax.streaming.activity import RATE
from mmjax.streaming.blocks import Block, Chunk, Lost
from mmjax.streaming.events import Behind, Event
from mmjax.streaming.listener import Listener

BUFFER = 5.0  # seconds


class Backlog:
    """What has come and was not taken yet, so many seconds at most.

    Chunks without a time stamp get one, by which what was given up is seen.
    """

    def __init__(self, seconds: float = BUFFER) -> None:
        self._limit = round(seconds * RATE)
        self._chunks: deque[Chunk] = deque()
        self._waiting = 0  # samples
        self._heard = 0  # samples up to now
        self._over = False
        self._changed = threading.Condition()

    def put(self, chunk: Chunk) -> None:
        """Never waits; gives up the oldest second where there is no room."""
        with self._changed:
            time = self._heard / RATE if chunk.time is None else chunk.time
            self._heard += len(chunk.samples)
            for one in _pieces(chunk._replace(time=time)):
                self._chunks.append(one)
                self._waiting += len(one.samples)
            if self._waiting > self._limit:
                while self._chunks and self._waiting > max(0, self._limit - RATE):
                    self._waiting -= len(self._chunks.popleft().samples)
            self._changed.notify()

    def end(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def take(self) -> list[Chunk]:
        """All that is there, after waiting for some; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._chunks or self._over)
            taken = list(self._chunks)
            self._chunks.clear()
            self._waiting = 0
            return taken


def _pieces(chunk: Chunk) -> Iterator[Chunk]:
    """Of half a second at most, so that no more than needed is given up."""
    size = RATE // 2
    for start in range(0, len(chunk.samples), size):
        yield Chunk(chunk.samples[start : start + size], chunk.time + start / RATE)


def live(source: Iterable[Chunk], listener: Listener, buffer: float = BUFFER) -> Iterator[Event]:
    """What a listener tells of a source that does not wait, to the end of it.

    Args:
      buffer: seconds that may wait.

    Raises:
      Whatever the source raises.
    """
    backlog = Backlog(buffer)
    failed: list[BaseException] = []
    stopped = threading.Event()

    def fill() -> None:
        try:
            for chunk in source:
                if stopped.is_set():
                    return
                backlog.put(chunk)
        except BaseException as error:  # it belongs to who listens
            failed.append(error)
        finally:
            backlog.end()

    thread = threading.Thread(target=fill, name="source", daemon=True)
    thread.start()
    try:
        while chunks := backlog.take():
            yield from _heard(listener, chunks)
        if failed:
            raise failed[0]
        yield from listener.close()
    finally:
        stopped.set()


def _heard(listener: Listener, chunks: list[Chunk]) -> Iterator[Event]:
    blocks: list[Block] = []
    for chunk in chunks:
        for one in listener.blocks.push(chunk):
            if isinstance(one, Lost):
                yield one
            else:
                blocks.append(one)
    if len(blocks) > 1:
        yield Behind(len(blocks), len(blocks) * listener.blocks.hop / RATE)
    most = max(1, int(listener.config.window / 2 / listener.config.hop))
    for start in range(0, len(blocks), most):
        yield from listener.hear(blocks[start : start + most])
