"""Files with the same bytes, under whatever names: copies of one picture, one recording.

* Photographs of one size in bytes are rare, so most files are told apart without being opened. Of
  those that are left the ends are compared, and of those with equal ends all of it.
* In one pass: a row is given the name of the first file with its bytes, which is never revised.
* What is no plain file, or cannot be read, is like no other: whoever reads the row says why.
"""

import dataclasses
import os
import stat
from collections.abc import Callable, Hashable, Iterable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

from mmjax.data.storage import note
from mmjax.readers.rows import Chunk

MOST = 100_000  # files that are compared, at most; what comes behind them is not looked at
END = 4096  # bytes at either end of a file that are compared before all of it
BLOCK = 1 << 20  # bytes that are read at a time


class Span(NamedTuple):
    """Where the bytes of a row are: a file, or a part of a tar."""

    path: str
    offset: int  # bytes
    size: int  # bytes


def span_of(path: str) -> Span | None:
    """A whole file; None for what is not there, or no plain file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return Span(path, 0, found.st_size) if stat.S_ISREG(found.st_mode) else None


class EqualFiles:
    """Takes files one after the other, and says which earlier one has the same bytes."""

    def __init__(self, most: int = MOST):
        """most: files that are compared; all others are told apart by their names alone."""
        self.most = most
        self._firsts: dict[Hashable, Hashable] = {}  # name -> the first name with these bytes
        self._spans: dict[Hashable, Span] = {}
        self._told = False  # that there are more
        # of each level: what is equal -> the only name so far, or None where there are several
        self._seen: list[dict[Any, Hashable | None]] = [{} for _ in _LEVELS]

    def first(self, name: Hashable, span: Callable[[], Span | None]) -> Hashable:
        """The first name with the bytes of this one.

        Args:
          span: says where they are; called once for a name.
        """
        if name in self._firsts:
            return self._firsts[name]
        if len(self._firsts) >= self.most:
            self._tell()
            return name
        self._firsts[name] = name
        found = span()
        if found is not None and found.size > 0:
            self._spans[name] = found
            try:
                self._firsts[name] = self._placed(name, 0)
            except OSError:
                pass  # whoever reads the row says why
        return self._firsts[name]

    def _tell(self) -> None:
        """Says once that the others are not compared, unless nobody asked for it."""
        if self.most and not self._told:
            note(
                f"copies under other names are looked for among the first {self.most} files alone "
                "(compare_files)"
            )
        self._told = True

    def _placed(self, name: Hashable, level: int) -> Hashable:
        key = _LEVELS[level](self._spans[name])
        seen = self._seen[level]
        if key not in seen:
            seen[key] = name
            return name
        other = seen[key]
        if level == len(_LEVELS) - 1:
            return other
        if other is not None:  # it was the only one here: it goes one level deeper, too
            seen[key] = None
            self._placed(other, level + 1)
        return self._placed(name, level + 1)


def compared(
    chunks: Iterable[Chunk], field: str, resolve: Callable[[str], str], most: int
) -> Iterator[Chunk]:
    """The same chunks, with `contents`: for each row the first path with the same bytes.

    Args:
      field: whose values are paths.
      resolve: from a path as it is written to one that can be opened; may raise ValueError.
      most: files that are compared.
    """
    files = EqualFiles(most)

    def span(written: str) -> Span | None:
        try:
            return span_of(resolve(written))
        except ValueError:  # CorruptExample is one: whoever reads the row says why
            return None

    for chunk in chunks:
        paths = chunk.columns.get(field)
        if paths is None or field in chunk.data:
            yield chunk
            continue
        contents = [
            files.first(path, lambda path=path: span(path))
            if isinstance(path, str) and path
            else None
            for path in paths
        ]
        yield dataclasses.replace(chunk, contents=contents)


def _size(span: Span) -> int:
    return span.size


def _ends(span: Span) -> tuple[int, bytes]:
    with open(span.path, "rb") as file:
        file.seek(span.offset)
        head = file.read(min(END, span.size))
        file.seek(span.offset + max(0, span.size - END))
        tail = file.read(min(END, span.size))
    return span.size, blake2b(head + tail, digest_size=16).digest()


def _whole(span: Span) -> tuple[int, bytes]:
    digest = blake2b(digest_size=16)
    left = span.size
    with open(span.path, "rb") as file:
        file.seek(span.offset)
        while left > 0:
            block = file.read(min(BLOCK, left))
            if not block:
                break
            digest.update(block)
            left -= len(block)
    return span.size, digest.digest()


_LEVELS: tuple[Callable[[Span], Any], ...] = (_size, _ends, _whole)
