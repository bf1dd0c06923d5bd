"""The files of a set that has several: one file, a folder, a glob or a pattern with braces.

cc3m                     all files with the right ending in the folder and below, sorted
cc3m/*.tar
cc3m/{00000..00331}.tar  every one of them must be there; also {train,validation}
"""

import difflib
import fnmatch
import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmjax.data.source import DataError
from mmjax.readers.files import some


def find(path: str, patterns: Sequence[str], what: str) -> list[Path]:
    """The files that a path means, in the order of its braces, else sorted by name.

    Args:
      patterns: of the files to take from a folder, "*.tar".
      what: they are, for messages: "tar".

    Raises:
      DataError: there is none, or one of those in braces is missing; says what is there.
    """
    if "://" in path or path.startswith("pipe:"):
        raise DataError(
            f"{path} is an address; sets are read at random from files: download it, or mount it, "
            "and give its path"
        )
    if Path(path).is_file():
        return [Path(path)]
    if Path(path).is_dir():
        found = sorted(file for file in Path(path).rglob("*") if _fits(file, patterns))
        if not found:
            inside = sorted(file.name for file in Path(path).iterdir())
            raise DataError(f"no {what} in {path}; it has: {some(inside) or 'nothing'}")
        return found
    names = expanded(path)
    found = []
    missing = []
    for name in names:
        matches = [name] if Path(name).is_file() else sorted(glob.glob(name, recursive=True))
        found += [Path(match) for match in matches if Path(match).is_file()]
        if not matches:
            missing.append(name)
    if not found or (missing and len(names) > 1):
        raise DataError(_absent(path, names, missing, what))
    return found


def expanded(pattern: str) -> list[str]:
    """Braces written out: {08..10} counts with its zeros, {a,b} chooses."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    inside = match[1]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if span:
        width = len(span[1]) if span[1].startswith("0") else 0
        choices = [str(at).zfill(width) for at in range(int(span[1]), int(span[2]) + 1)]
    else:
        choices = inside.split(",")
    before = pattern[: match.start()]
    after = pattern[match.end() :]
    return [before + choice + rest for choice in choices for rest in expanded(after)]


def absent(path: Path, patterns: Sequence[str], what: str) -> str:
    """The message that a file is not there, with near names beside it or what there is."""
    if path.is_symlink():
        return f"{path} is a link that leads to no {what}: to {os.readlink(path)}"
    if path.exists():
        return f"{path} is no plain file: a {what} is read from a file, and read twice"
    folder = next(parent for parent in path.parents if parent.is_dir())
    inside = sorted(
        file.name for file in folder.iterdir() if _fits(file, patterns) or file.is_dir()
    )
    wanted = path.name if folder == path.parent else path.relative_to(folder).parts[0]
    near = difflib.get_close_matches(wanted, inside, n=3, cutoff=0.5)
    return f"no {what} {path}; in {folder.resolve()} there is: {some(near or inside) or 'nothing'}"


def _absent(path: str, names: list[str], missing: list[str], what: str) -> str:
    if len(names) > 1:
        return f"{len(missing)} of {len(names)} files of {path} do not exist: {some(missing)}"
    if glob.has_magic(path):
        return f"no {what} matches {path}"
    return absent(Path(path), ("*",), what)


def _fits(path: Path, patterns: Sequence[str]) -> bool:
    fits = any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
    return fits and not path.name.startswith(".") and path.is_file()
