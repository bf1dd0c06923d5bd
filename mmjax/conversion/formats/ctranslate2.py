"""CTranslate2's `model.bin`: how Whisper is packed in the wheels that carry it.

* A header, then one variable after the other, each with its name, shape and type; then aliases,
  names that stand for the same data (a tied output).
* Queries, keys and values lie in one tensor, with a bias of zeros for the keys, and epsilon and
  width are nowhere: `whisper` brings the tensors to the names of the hub and reads the sizes off
  their shapes.
* Of the number types, floats are read. An int8 file lost what it was rounded from, and is refused.

The format: https://github.com/OpenNMT/CTranslate2 (src/models/model.cc), binary version 6.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from mmjax.conversion.formats.files import CheckpointFileError

VERSION = 6
DTYPES: dict[int, Any] = {
    0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16, 5: ml_dtypes.bfloat16,
}  # fmt: skip


class File(NamedTuple):
    """What a `model.bin` holds."""

    spec: str  # which architecture: "WhisperSpec"
    revision: int  # of that architecture's names
    tensors: dict[str, np.ndarray]  # views of the mapped file; aliases are there as well


class _Reader:
    """Goes through a mapped file; nothing is read beyond its end."""

    def __init__(self, path: Path):
        self.path, self.at = path, 0
        size = path.stat().st_size
        # as a plain array: a subclass of it would be carried through every operation
        self.data = np.memmap(path, np.uint8, "r").view(np.ndarray) if size else np.empty(0, "u1")

    def take(self, count: int, what: str) -> np.ndarray:
        if count > len(self.data) - self.at:
            raise CheckpointFileError(
                f"{self.path} is cut off: {what} ends at byte {self.at + count} of {len(self.data)}"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, kind: str, what: str) -> int:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(kind), what).tobytes())[0]

    def text(self, what: str) -> str:
        raw = self.take(self.number("H", what), what).tobytes()
        if raw[-1:] != b"\0":
            raise CheckpointFileError(f"{self.path}: {what} at byte {self.at} does not end in NUL")
        return raw[:-1].decode()


def read(path: str | Path) -> File:
    """All variables of a file as views of it.

    Raises:
      CheckpointFileError: another version or format, a cut-off file, bytes left over.
    """
    file = _Reader(Path(path))
    version = file.number("I", "the header")
    if version != VERSION:
        raise CheckpointFileError(
            f"{path} begins with version {version}; a CTranslate2 model.bin of version {VERSION} "
            "is read"
        )
    spec, revision = file.text("the header"), file.number("I", "the header")
    tensors = {}
    for _ in range(file.number("I", "the header")):
        name = file.text("the name of a variable")
        rank = file.number("B", name)
        shape = tuple(file.number("I", name) for _ in range(rank))
        code, size = file.number("B", name), file.number("I", name)
        if code not in DTYPES:
            raise CheckpointFileError(f"{path}: {name} is of type {code}, which is unknown")
        kind = np.dtype(DTYPES[code])
        if size != kind.itemsize * math.prod(shape):
            raise CheckpointFileError(f"{path}: {name} has {size} bytes for {list(shape)}")
        tensors[name] = file.take(size, name).view(kind).reshape(shape)
    for _ in range(file.number("I", "the count of aliases")):
        name, of = file.text("an alias"), file.text("an alias")
        if of not in tensors:
            raise CheckpointFileError(f"{path}: {name} stands for {of}, which is not there")
        tensors[name] = tensors[of]
    if file.at != len(file.data):
        raise CheckpointFileError(f"{path}: {len(file.data) - file.at} bytes follow the last name")
    return File(spec, revision, tensors)
