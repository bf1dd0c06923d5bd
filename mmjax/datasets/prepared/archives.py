"""What an archive holds, read in memory: wheels, npm's tarballs, Debian packages without dpkg.

* Nothing is unpacked onto the disk. A member whose name leads out of the archive ("../x", "/x")
  is refused all the same: such an archive is not what it says it is.
* Links are left out: they are copies of other members.
"""

import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mmjax.data.source import DataError

Wanted = Callable[[str], bool]
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
)


class ArchiveError(DataError):
    """An archive is damaged, of another kind, or unsafe."""


def members(path: Path, wanted: Wanted = lambda name: True) -> Iterator[tuple[str, bytes]]:
    """(name, contents) of the wanted files, in the archive's order. A "./" in front is dropped.

    Raises ArchiveError.
    """
    try:
        if path.suffix in (".whl", ".zip"):
            yield from _zip(path, wanted)
        elif path.suffix == ".deb":
            with path.open("rb") as file, _debian_data(file, path) as data:
                yield from _tar(data, path, wanted)
        else:
            with tarfile.open(path) as opened:
                yield from _tar(opened, path, wanted)
    except DAMAGED as error:
        raise ArchiveError(f"{path} is damaged: {error}") from error


def checked_name(name: str, path: Path) -> str:
    """The member's name without "./". Raises ArchiveError if it leads out of the archive."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in (parts or ("",))[0]:
        raise ArchiveError(f"{path} holds {name!r}, which leads out of its folder: refused")
    return "/".join(parts)


def _zip(path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as opened:
        for member in opened.infolist():
            name = checked_name(member.filename, path)
            if not member.is_dir() and wanted(name):
                yield name, opened.read(member)


def _tar(opened: tarfile.TarFile, path: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    for member in opened:
        name = checked_name(member.name, path)
        if member.isfile() and wanted(name):
            yield name, opened.extractfile(member).read()


@contextlib.contextmanager
def _debian_data(file: BinaryIO, path: Path) -> Iterator[tarfile.TarFile]:
    """The data.tar.* in a .deb, which is an `ar` archive: headers of 60 bytes, then contents."""
    if file.read(8) != b"!<arch>\n":
        raise ArchiveError(f"{path} is not a Debian package")
    while header := file.read(60):
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        if header[58:] != b"`\n":
            raise ArchiveError(f"{path} is damaged: {header!r} is no header of a member")
        start = file.tell()
        length = int(header[48:58])
        if name.startswith("data.tar"):
            kind = name.rpartition(".")[2]
            part = io.BufferedReader(_Part(file, start, length))
            with contextlib.ExitStack() as stack:
                if kind == "zst":
                    part = stack.enter_context(_zstd(part))
                    kind = "tar"
                mode = f"r|{'' if kind == 'tar' else kind}"
                yield stack.enter_context(tarfile.open(fileobj=part, mode=mode))
            return
        file.seek(start + length + length % 2)
    raise ArchiveError(f"{path} holds no data.tar")


def _zstd(file: io.BufferedReader) -> Any:
    """Decompressed; Python's own tarfile learns this in 3.14."""
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")


class _Part(io.RawIOBase):
    """Bytes start .. start + length of a file, as a file."""

    def __init__(self, file: BinaryIO, start: int, length: int):
        self._file = file
        self._left = length
        file.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)
