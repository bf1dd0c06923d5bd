"""Where the members of a tar are: read by their headers alone, in any dialect, nothing extracted.

* Old, ustar, GNU and PAX headers, long names, links to earlier members. Sparse members, which are
  not stored in one piece, go through Python's tarfile.
* A tar that ends too early is told from a whole one: by its last member, or its missing end mark.
"""

import functools
import io
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mmjax.data.source import CorruptExample, DataError
from mmjax.data.storage import Stamp

BLOCK = 512  # bytes; headers and contents begin at multiples of it
_COMPRESSED = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d",
               b"\x28\xb5\x2f\xfd": "zstd -d"}  # fmt: skip
_STEP = 16 << 20  # bytes between two reports of progress


class Member(NamedTuple):
    """A file in a tar. A sparse one has size -1, and offset is that of its header."""

    name: str
    offset: int  # bytes from the start of the tar
    size: int  # bytes


class Cut(Exception):
    """The tar ends before it should, or what follows is no header. name: of the member cut off."""

    def __init__(self, reason: str, name: str = ""):
        super().__init__(reason)
        self.name = name


@functools.lru_cache(maxsize=128)
def _opened(stamp: Stamp) -> io.FileIO:
    """Stays open while it is among the last used, or in use."""
    return io.FileIO(stamp.path)


def content(stamp: Stamp, member: Member) -> bytes:
    """The bytes of a member. Raises CorruptExample when the tar is gone or not what it was."""
    try:
        file = _opened(stamp)
    except OSError as error:
        raise CorruptExample(f"cannot read {stamp.path}: {error.strerror}") from error
    stamp.check(os.fstat(file.fileno()))
    if member.size < 0:
        return _sparse(stamp.path, member.offset)[1]
    data = os.pread(file.fileno(), member.size, member.offset)
    if len(data) < member.size:
        raise CorruptExample(f"{stamp.path} ends within {member.name}")
    return data


def members(path: Path, advance: Callable[[int], None]) -> Iterator[Member]:
    """The files of a tar, in order; folders and devices are left out.

    Raises:
      DataError: it is compressed or no tar.
      Cut: behind the last whole member, where the tar is cut off or damaged.
    """
    with open(path, "rb", buffering=0) as file:
        _check_start(path, os.pread(file.fileno(), BLOCK, 0))
        yield from _walk(file, os.fstat(file.fileno()).st_size, advance)


def _check_start(path: Path, head: bytes) -> None:
    for magic, command in _COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(
                f"{path} is compressed, and a compressed tar cannot be read from the middle; "
                f"unpack the compression alone: {command} {path.name}"
            )
    if not head:
        raise DataError(f"{path} is empty: it is no tar; copy or download it again")
    if head.strip(b"\0") and not _valid(head):
        raise DataError(f"{path} is no tar: it begins {head[:16]!r}")


def _walk(file: io.FileIO, total: int, advance: Callable[[int], None]) -> Iterator[Member]:
    at = told = 0
    found: dict[str, Member] = {}  # what a link may lead to
    while True:
        start, extra = at, {}  # of the member with its extensions
        while True:
            head = os.pread(file.fileno(), BLOCK, at)
            if head == bytes(BLOCK):
                advance(total - told)
                return
            if len(head) < BLOCK:
                advance(total - told)
                raise Cut(f"it is cut off at byte {total}: the mark of its end is missing")
            if not _valid(head):
                raise Cut(f"it is damaged at byte {at}: no header of a member is there")
            kind, size = head[156:157], _number(head[124:136])
            if kind not in b"xgLK":
                break
            data = os.pread(file.fileno(), size, at + BLOCK)
            if len(data) < size:
                raise Cut(f"it is cut off at byte {total}, within a header")
            extra |= _extensions(kind, data)
            at += BLOCK + _padded(size)
        size = int(extra.get("size", size))
        name = extra.get("path") or _name(head)
        name = name.removeprefix("./")
        if kind == b"S" or any(key.startswith("GNU.sparse.") for key in extra):
            member, at = _sparse_member(file, start)
        elif kind in (b"1", b"2"):
            target = extra.get("linkpath") or _text(head[157:257])
            if kind == b"2":
                target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            at += BLOCK  # a link to nothing is an empty file: whoever reads it says so
            member = found.get(target.removeprefix("./"), Member("", at, 0))._replace(name=name)
        else:
            member = Member(name, at + BLOCK, size) if kind in (b"0", b"\0", b"7") else None
            at += BLOCK + _padded(size)
            if at - (_padded(size) - size) > total:
                raise Cut(f"it is cut off at byte {total}, within {name}", name)
        if member is not None:
            found[member.name] = member
            yield member
        if at - told > _STEP:
            advance(at - told)
            told = at


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _valid(head: bytes) -> bool:
    """Whether the sum in a header is that of its bytes."""
    try:
        return _number(head[148:156]) == sum(head[:148]) + 256 + sum(head[156:])
    except ValueError:
        return False


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: binary, for numbers that octal digits cannot hold
        return int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    return int(field.strip(b" \0") or b"0", 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _name(head: bytes) -> str:
    prefix = _text(head[345:500]) if head[257:263] == b"ustar\0" else ""
    return (f"{prefix}/" if prefix else "") + _text(head[:100])


def _extensions(kind: bytes, data: bytes) -> dict[str, str]:
    """What a header in front of a member's says of it."""
    if kind in (b"L", b"K"):
        return {"path" if kind == b"L" else "linkpath": _text(data)}
    found = {}
    while kind == b"x" and data.strip(b"\0"):
        length, _, _ = data.partition(b" ")
        record, data = data[: int(length)], data[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
    return found


def _sparse_member(file: io.FileIO, start: int) -> tuple[Member, int]:
    """(the member, where the next header is)."""
    try:
        info, _, behind = _sparse(str(file.name), start, read=False)
    except tarfile.TarError as error:
        raise Cut(f"it is damaged at byte {start}: {error}") from error
    return Member(info.name.removeprefix("./"), start, -1), behind


def _sparse(path: str, start: int, *, read: bool = True) -> tuple[tarfile.TarInfo, bytes, int]:
    """(what a header says, the content, where the next header is)."""
    with open(path, "rb") as file:
        file.seek(start)
        with tarfile.TarFile(fileobj=file) as tar:
            info = tar.firstmember
            data = tar.extractfile(info).read() if read else b""
            return info, data, tar.offset
