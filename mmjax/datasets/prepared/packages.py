"""Pinned archives of public package registries, fetched once and checked.

* An archive is used only if its sha256 is the pinned one, whoever delivered it: a file that is
  already in the folder, the registry's client, or an address from the client's configuration.
* A download over HTTP goes on where it was stopped; a client's file appears whole or not at all.
"""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from mmjax.data.source import DataError
from mmjax.datasets.prepared import registries

STALLED = 180.0  # seconds without a new byte after which a client is given up
ATTEMPTS = 3  # connections to one address
PAUSE = 1.0  # seconds before the second one

Progress = Callable[[int], None]  # bytes that are there


class PackageError(DataError):
    """A package cannot be had, or is not the pinned one. The message says what to do."""


@dataclasses.dataclass(frozen=True)
class Package:
    """One pinned archive of a public package registry."""

    registry: str  # npm, pypi or debian
    name: str
    version: str
    sha256: str  # of the archive as the registry delivers it
    licence: str  # SPDX expression, as the package or the drawings' authors state it
    used_for: str  # what the set takes from it
    size: int = 0  # bytes of the archive; 0: not stated
    pool: str = ""  # folder in a Debian archive

    @property
    def file(self) -> str:
        """Name of the archive: for pypi of a pure wheel, for Debian of a package for all."""
        if self.registry == "npm":
            return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"
        if self.registry == "pypi":
            return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"
        return f"{self.name}_{self.version.rpartition(':')[2]}_all.deb"

    def __str__(self) -> str:
        return f"{self.registry} package {self.name} {self.version}"


def archive(
    package: Package, folder: Path, *, mirror: str = "", progress: Progress = lambda done: None
) -> Path:
    """The package's archive in `folder`, fetched if it is not there.

    Raises PackageError that tells what each way of fetching came to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / package.file
    for path in [target, *_other_names(package, folder)]:
        if path.is_file() and digest(path) == package.sha256:
            return path
    if package.registry not in registries.HOW_TO:
        raise PackageError(f"{package}: the registry is none of {', '.join(registries.HOW_TO)}")
    tried = []
    for way in (_by_client, _by_address):
        try:
            for path in way(package, folder, mirror, progress):
                found = digest(path)
                if found == package.sha256:
                    path.replace(target)
                    return target
                path.unlink()
                tried.append(f"got a file with sha256 {found}, expected {package.sha256}")
        except (OSError, PackageError, ValueError, KeyError) as error:
            tried.append(f"{type(error).__name__}: {error}")
    raise PackageError(
        f"{package} could not be had:\n    " + "\n    ".join(tried) + "\n  What to do: "
        f"{registries.HOW_TO[package.registry]}; or put the file {package.file} with sha256 "
        f"{package.sha256} into {folder}, from anywhere; then run the same command again"
    )


def digest(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _other_names(package: Package, folder: Path) -> list[Path]:
    """Files that a client may have left under another spelling ("%3a" for ":", "_" for "-")."""
    stem = package.name.lstrip("@").replace("/", "-")
    names = {stem, stem.replace("-", "_")}
    return sorted(path for name in names for path in folder.glob(f"{name}[-_]*"))


def _by_client(package: Package, folder: Path, mirror: str, progress: Progress) -> Iterator[Path]:
    command = registries.command(package.registry, package.name, package.version)
    if command is None:
        raise PackageError(f"there is no client of {package.registry} here")
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as place:
        errors = Path(place) / "errors"
        environment = {**os.environ, "TMPDIR": place}  # pip downloads there: progress can be seen
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                command, cwd=place, stdout=subprocess.DEVNULL, stderr=stderr, env=environment
            )
            try:
                _watch(process, Path(place), progress)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        errors = errors.rename(Path(place) / ".errors")
        files = [path for path in Path(place).iterdir() if path.suffix in (".tgz", ".whl", ".deb")]
        yield from files
        if not files:
            said = errors.read_text(encoding="utf-8", errors="replace").strip()
            raise PackageError(f"`{' '.join(command)}` got no file. {said[-600:]}")


def _watch(process: subprocess.Popen, place: Path, progress: Progress) -> None:
    """Until the client ends; raises PackageError when nothing comes any more."""
    most = 0
    since = time.monotonic()
    while process.poll() is None:
        there = _bytes_below(place)
        if there > most:
            most = there
            since = time.monotonic()
            progress(there)
        if time.monotonic() - since > STALLED:
            raise PackageError(f"`{process.args[0]}` got nothing for {STALLED:.0f} seconds")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # gone between the listing and the look
                total += os.path.getsize(os.path.join(root, name))
    return total


def _by_address(package: Package, folder: Path, mirror: str, progress: Progress) -> Iterator[Path]:
    found = False
    for address in registries.addresses(
        package.registry, package.name, package.version, package.file, package.pool, mirror
    ):
        found = True
        yield _download(address, folder / f"{package.file}.part", package.size, progress)
    if not found:
        raise PackageError(f"the configuration names no {package.registry} registry that has it")


def _download(address: str, part: Path, size: int, progress: Progress) -> Path:
    """The file at the address; what `part` already holds is not fetched again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _continue(address, part, size, progress)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file
                part.unlink()
            elif error.code < 500 or attempt == ATTEMPTS:
                raise PackageError(f"{address}: {error}") from error
        except OSError as error:
            if attempt == ATTEMPTS:
                raise PackageError(f"{address}: {error}") from error
        time.sleep(PAUSE * attempt)
    raise PackageError(f"{address}: no file")


def _continue(address: str, part: Path, size: int, progress: Progress) -> Path:
    start = part.stat().st_size if part.exists() else 0
    if size and start == size:
        return part
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=registries.TIMEOUT) as answer:
        if answer.status != 206:
            start = 0  # the server sends all of it again
        total = start + int(answer.headers.get("Content-Length") or 0)
        with part.open("ab" if start else "wb") as file:
            while data := answer.read(1 << 18):
                file.write(data)
                progress(file.tell())
        there = part.stat().st_size
    if total > start and there < total:
        raise ConnectionError(f"{total - there} of {total} bytes are missing")
    return part


def remove_leftovers(folder: Path) -> None:
    """What killed clients left; called when no other process fetches."""
    for path in folder.glob(".fetching-*"):
        shutil.rmtree(path, ignore_errors=True)
