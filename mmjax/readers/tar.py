"""Where the members of a tar are, with Python's tarfile: nothing is extracted.

* Every dialect that tarfile reads, and links to earlier members. Sparse members are not stored in
  one piece: they are read by tarfile when they are asked for.
* A tar that ends too early is told from a whole one: by its last member, or its missing end mark.
"""

import functools
import io
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mmjax.data.source import CorruptExample, DataError
from mmjax.data.storage import Stamp

BLOCK = 512  # bytes; headers and contents begin at multiples of it
_COMPRESSED = {
    b"\x1f\x8b": "gzip -d",
    b"BZh": "bzip2 -d",
    b"\xfd7zXZ": "xz -d",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}
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
        return _sparse(stamp.path, member.offset)
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
    if head.strip(b"\0") and not _is_header(head):
        raise DataError(f"{path} is no tar: it begins {head[:16]!r}")


def _is_header(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


class _Header(tarfile.TarInfo):
    """Of a plain file without its owner, times and rights: reading them takes most of the time."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        checksum = 256 + sum(buf) - sum(buf[148:156])
        plain = len(buf) == BLOCK and buf[156:157] == tarfile.REGTYPE
        if not plain or tarfile.nti(buf[148:156]) != checksum:
            return super().frombuf(buf, encoding, errors)
        info = cls(tarfile.nts(buf[:100], encoding, errors))
        info.size = tarfile.nti(buf[124:136])
        prefix = tarfile.nts(buf[345:500], encoding, errors)
        if prefix:
            info.name = f"{prefix}/{info.name}"
        return info


def _walk(file: BinaryIO, total: int, advance: Callable[[int], None]) -> Iterator[Member]:
    """The members of an opened tar of so many bytes."""
    told = 0
    earlier: dict[str, Member] = {}  # what a link may lead to
    for info in _headers(file, total):
        member = _member(info, earlier)
        if member is not None:
            if member.offset + member.size > total:
                reason = f"it is cut off at byte {total}, within {member.name}"
                raise Cut(reason, member.name)
            earlier[member.name] = member
            yield member
        if info.offset - told > _STEP:
            advance(info.offset - told)
            told = info.offset
    advance(total - told)


def _headers(file: BinaryIO, total: int) -> Iterator[tarfile.TarInfo]:
    """Raises Cut behind the last one that is whole, unless the mark of the end follows."""
    end = 0  # of the members so far
    try:
        with tarfile.TarFile(
            fileobj=file, tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
        ) as tar:
            while True:
                info = tar.next()
                if info is None:
                    break
                yield info
                if tar.offset <= end:  # a negative size would lead around for ever
                    raise Cut(f"it is damaged at byte {end}: a member of {info.size} bytes")
                end = tar.offset
                tar.members.clear()  # tarfile would keep them all
    except tarfile.ReadError as error:
        if end < total:
            raise Cut(f"it is cut off at byte {total}, within a header ({error})") from error
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise Cut(f"it is damaged at byte {end}: {error}") from error
    _check_end(file, end, total)


def _check_end(file: BinaryIO, at: int, total: int) -> None:
    """tarfile ends in silence where no header follows: only a block of zeros is the end."""
    head = os.pread(file.fileno(), BLOCK, at)
    if head == bytes(BLOCK):
        return
    if len(head) < BLOCK:
        raise Cut(f"it is cut off at byte {total}: the mark of its end is missing")
    raise Cut(f"it is damaged at byte {at}: no header of a member is there")


def _member(info: tarfile.TarInfo, earlier: Mapping[str, Member]) -> Member | None:
    """None for folders and devices."""
    name = info.name.removeprefix("./")
    if info.sparse is not None:
        return Member(name, info.offset, -1)
    if info.type == tarfile.REGTYPE:
        return Member(name, info.offset_data, info.size)
    if info.islnk() or info.issym():
        target = info.linkname
        if info.issym():
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        # A link to nothing is an empty file: whoever reads it says so.
        nothing = Member("", info.offset_data, 0)
        return earlier.get(target.removeprefix("./"), nothing)._replace(name=name)
    return Member(name, info.offset_data, info.size) if info.isreg() else None


def _sparse(path: str, start: int) -> bytes:
    """The content of a sparse member, whose header is at `start`."""
    with open(path, "rb") as file:
        file.seek(start)
        with tarfile.TarFile(fileobj=file) as tar:
            return tar.extractfile(tar.firstmember).read()
