"""What a user can mend: said in one message, without a traceback.

* Everything that is wrong with a config, with data, with a checkpoint or with a file is a
  `UserError`; a command line prints its message and ends with status 2.
* A path that cannot be used is what the system says of it, an OSError. `about_path` puts it into
  words, and says which flag or variable named the path.
* Every other exception is a bug, of mmjax or of a part that was plugged in, and keeps its
  traceback.
"""

import errno
import os
from collections.abc import Mapping

FULL = (
    "no room is left, or a limit is reached. Complete checkpoints are kept: make room, and the "
    "same command goes on from the last one"
)
# What the system says of a path, and the way on. Other errors of it are not a path's.
REASONS: Mapping[int, str] = {
    errno.ENOENT: "there is no such file or folder",
    errno.EROFS: "it is on a read-only file system: name another place",
    errno.EACCES: "this user has no permission: give it, or name another place",
    errno.EPERM: "this user has no permission: give it, or name another place",
    errno.ENOTDIR: "a part of this path is a file, where a folder is needed: name another place",
    errno.EEXIST: "what stands there is no folder: move it, or name another place",
    errno.EISDIR: "it is a folder, where a file is needed",
    errno.ELOOP: "its links lead in a circle: mend them, or name another place",
    errno.ENAMETOOLONG: "the name is too long for this file system: name a shorter one",
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
}


class UserError(Exception):
    """Says what was wrong, where, and what would be right."""


class NotFinite(UserError, ArithmeticError):
    """A NaN or an infinity where only numbers are of use: weights, vectors, losses."""


class PathError(UserError):
    """A file or a folder that cannot be used."""


def about_path(error: OSError, named: Mapping[str, str]) -> PathError | None:
    """The error in words; None where it is of no path, and so none that a user can mend.

    Args:
      named: what the user named, such as {"--workdir": "runs/first"}.
    """
    if error.errno not in REASONS:
        return None
    reason = REASONS[error.errno]
    if error.filename is None:
        # a write that finds the disk full does not know of which file it is
        return PathError(f"{error.strerror}: {reason}") if reason is FULL else None
    path = os.path.abspath(os.fsdecode(error.filename))
    flags = [flag for flag, value in named.items() if _related(path, _absolute(value))]
    if not flags:
        return PathError(f"{path}: {reason}")
    flag = max(flags, key=lambda flag: len(_absolute(named[flag])))
    inside = "" if path == _absolute(named[flag]) else f" ({path})"
    return PathError(f"{flag}={named[flag]}{inside}: {reason}")


def _related(path: str, named: str) -> bool:
    """Whether a path is a named one, lies in it, stands beside it under another ending, or is a
    folder above it."""
    stem = os.path.splitext(named)[0]
    rest = path.removeprefix(stem)
    beside_or_inside = rest != path and rest[:1] in ("", ".", os.sep)
    return beside_or_inside or os.path.commonpath([path, named]) == path


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
