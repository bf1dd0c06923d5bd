"""Checkpoint files as named arrays: safetensors (one file or several with an index).

* A file is mapped, not read: an array is a view, and only what is copied out of it is loaded.
* What a hub folder may hold besides: `flax_model.msgpack`, CTranslate2's `model.bin`; each has a
  file of its own here. A pickle (`pytorch_model.bin`, `.pt`, `.ckpt`) runs code when it is opened
  and is refused.

The format: https://github.com/huggingface/safetensors (the length of a header in 8 bytes, the
header in JSON, the data).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from mmjax.errors import UserError

DTYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8,
    "BOOL": np.bool_,
}  # fmt: skip
HEADER = 100 << 20  # no header is longer, by the format's rule


class CheckpointFileError(UserError, ValueError):
    """A file that is no checkpoint, is cut off, or must not be opened."""


def fetched(folder: Path, names: Iterable[str]) -> None:
    """Raises CheckpointFileError where files are what `git clone` leaves without Git LFS."""
    there = [one for one in names if (folder / one).is_file()]
    small = [one for one in there if (folder / one).stat().st_size < 1024]
    left = [one for one in small if (folder / one).read_bytes().startswith(b"version https://git-")]
    if left:
        raise CheckpointFileError(
            f"{folder}: not downloaded, a Git LFS pointer: {', '.join(left)}. `git lfs pull` there "
            "fetches what it points to"
        )


def safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> view of the mapped file.

    Raises:
      CheckpointFileError: not of this format, or shorter than its header says.
    """
    path = Path(path)
    length = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        size = int.from_bytes(start, "little")
        if len(start) < 8 or size > min(length - 8, HEADER):
            raise CheckpointFileError(f"{path} is no safetensors file: its header cannot be right")
        try:
            header = json.loads(file.read(size))
            header.pop("__metadata__", None)
        except (ValueError, AttributeError) as error:
            raise CheckpointFileError(f"{path} is no safetensors file: {error}") from error
    held = length - 8 - size
    data = np.memmap(path, np.uint8, "r", offset=8 + size) if held else np.empty(0, np.uint8)
    out = {}
    for name, row in header.items():
        try:
            kind, shape, (begin, end) = row["dtype"], tuple(row["shape"]), row["data_offsets"]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointFileError(f"{path} is no safetensors file: {name} is {row}") from error
        if kind not in DTYPES:
            raise CheckpointFileError(f"{path}: {name} is of type {kind}, which is unknown")
        if not 0 <= begin <= end <= held:
            raise CheckpointFileError(
                f"{path} is cut off: {name} ends at byte {8 + size + end} of {length}"
            )
        kind = np.dtype(DTYPES[kind])
        if end - begin != kind.itemsize * math.prod(shape):
            raise CheckpointFileError(f"{path}: {name} has {end - begin} bytes for {list(shape)}")
        # as a plain array: a subclass of it would be carried through every operation
        out[name] = data[begin:end].view(np.ndarray).view(kind).reshape(shape)
    return out


def parsed(path: str | Path) -> dict[str, Any]:
    """What a JSON file of names and values holds.

    Raises:
      CheckpointFileError: it is not that. FileNotFoundError: it is not there.
    """
    try:
        found = json.loads(Path(path).read_bytes().decode("utf-8"))
    except ValueError as error:
        raise CheckpointFileError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointFileError(f"{path} holds {type(found).__name__}, not names and values")
    return found


def sharded(index: str | Path) -> dict[str, np.ndarray]:
    """Of all files that a `model.safetensors.index.json` names.

    Raises:
      CheckpointFileError: a file outside the folder, or a tensor that its file lacks.
      FileNotFoundError: a file that is not there.
    """
    index = Path(index)
    where = parsed(index).get("weight_map")
    if not isinstance(where, dict):
        raise CheckpointFileError(f"{index} has no weight_map: it is no index of a checkpoint")
    files = {}
    for name in dict.fromkeys(where.values()):
        if Path(name).name != name:
            raise CheckpointFileError(f"{index} names {name!r}, which is outside its folder")
        files[name] = safetensors(index.parent / name)
    lost = [name for name, file in where.items() if name not in files[file]]
    if lost:
        raise CheckpointFileError(f"{index}: not in the file it names: {', '.join(lost)}")
    return {name: files[file][name] for name, file in where.items()}


def save(path: str | Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes one safetensors file, in full or not at all."""
    path = Path(path)
    draft = path.with_name(path.name + ".part")
    save_file(tensors, draft, metadata={"format": "pt"})
    mask = os.umask(0)
    os.umask(mask)
    draft.chmod(0o666 & ~mask)  # the library leaves it for its owner alone
    draft.replace(path)
