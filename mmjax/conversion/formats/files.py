"""Checkpoint files as named arrays: safetensors (one file or several with an index).

* A file is mapped, not read: an array is a view, and only what is copied out of it is loaded.
* What a hub folder may hold besides: `flax_model.msgpack`, CTranslate2's `model.bin`; each has a
  file of its own here. A pickle (`pytorch_model.bin`, `.pt`, `.ckpt`) runs code when it is opened
  and is refused.
* A file that was written here holds a CRC-32 of each tensor in its header's metadata, and is read
  once as a whole to compare them (4 GB a second); files of others are as trustworthy as they are.

The format: https://github.com/huggingface/safetensors (the length of a header in 8 bytes, the
header in JSON, the data).
"""

from __future__ import annotations

import collections
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
CRC = "mmjax_crc32"  # metadata: name -> of the tensor's bytes, in JSON


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
      CheckpointFileError: not of this format, shorter than its header says, tensors that overlap or
        leave bytes between them, or others than were written; names the tensor.
    """
    path = Path(path)
    length = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        size = int.from_bytes(start, "little")
        if len(start) < 8 or size > min(length - 8, HEADER):
            raise CheckpointFileError(f"{path} is no safetensors file: its header cannot be right")
        header = _header(path, file.read(size))
    held = length - 8 - size
    data = np.memmap(path, np.uint8, "r", offset=8 + size) if held else np.empty(0, np.uint8)
    metadata = header.pop("__metadata__", None)
    out = {}
    at = 0  # where the tensor before ended: all of the file is used, and no byte twice
    rows = _rows(path, header, held)
    for name, row in sorted(rows, key=lambda named: (named[1].begin, named[1].end)):
        if row.begin != at:
            wrong = "overlaps the one before it" if row.begin < at else "leaves bytes before it"
            raise CheckpointFileError(f"{path}: {name} {wrong} ({row.begin}, not {at})")
        at = row.end
        # as a plain array: a subclass of it would be carried through every operation
        piece = data[row.begin : row.end].view(np.ndarray)
        out[name] = piece.view(row.dtype).reshape(row.shape)
    if at != held:
        raise CheckpointFileError(f"{path}: {held - at} bytes belong to no tensor")
    _compare(path, out, metadata)
    return {name: out[name] for name in header}


class _Row(NamedTuple):
    """What a header says of a tensor."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int  # of its bytes, counted from the end of the header
    end: int


def _header(path: Path, text: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = collections.Counter(name for name, _ in pairs)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"there twice: {', '.join(twice)}")
        return dict(pairs)

    try:
        header = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise CheckpointFileError(f"{path} is no safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointFileError(f"{path} is no safetensors file: its header names no tensors")
    return header


def _rows(path: Path, header: dict[str, Any], held: int) -> Iterator[tuple[str, _Row]]:
    """The rows of a header with so many bytes behind it, each consistent in itself."""
    for name, row in header.items():
        try:
            kind, shape, (begin, end) = row["dtype"], row["shape"], row["data_offsets"]
            numbers = [*shape, begin, end]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointFileError(f"{path} is no safetensors file: {name} is {row}") from error
        if not isinstance(kind, str) or kind not in DTYPES:
            raise CheckpointFileError(f"{path}: {name} is of type {kind}, which is unknown")
        if any(type(number) is not int or number < 0 for number in numbers) or begin > end:
            raise CheckpointFileError(
                f"{path}: {name} has the shape {shape} and lies in bytes {begin} to {end}, and no "
                "tensor does: these are whole numbers, not negative"
            )
        if end > held:
            raise CheckpointFileError(
                f"{path} is cut off: {name} ends at byte {end} of {held} behind the header"
            )
        dtype = np.dtype(DTYPES[kind])
        if end - begin != dtype.itemsize * math.prod(shape):
            raise CheckpointFileError(f"{path}: {name} has {end - begin} bytes for {shape}")
        yield name, _Row(dtype, tuple(shape), begin, end)


def _compare(path: Path, tensors: dict[str, np.ndarray], metadata: Any) -> None:
    """Raises CheckpointFileError where tensors are not those that were written."""
    keys = metadata if isinstance(metadata, dict) else {}
    # part of the name, so that a change of one of its letters does not turn the comparison off
    if not any(key.startswith(CRC[:5]) or key.endswith(CRC[-5:]) for key in keys):
        return  # a file of others, or from before there were any
    try:
        written = json.loads(metadata[CRC])
        damaged = [name for name, tensor in tensors.items() if written[name] != crc(tensor)]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointFileError(f"{path} is damaged: its checksums cannot be read") from error
    if damaged:
        raise CheckpointFileError(
            f"{path} is damaged: {len(damaged)} of {len(tensors)} tensors are not what was "
            f"written: {', '.join(damaged)}. Copy or export it again"
        )


def crc(tensor: np.ndarray) -> int:
    """CRC-32 of a tensor's bytes."""
    return zlib.crc32(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8))


def parsed(path: str | Path) -> dict[str, Any]:
    """What a JSON file of names and values holds.

    Raises:
      CheckpointFileError: it is not that. FileNotFoundError: it is not there.
    """
    try:
        found = json.loads(Path(path).read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
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
    written = json.dumps({name: crc(tensor) for name, tensor in tensors.items()})
    save_file(tensors, draft, metadata={"format": "pt", CRC: written})
    _in_order(draft)
    mask = os.umask(0)
    os.umask(mask)
    draft.chmod(0o666 & ~mask)  # the library leaves it for its owner alone
    draft.replace(path)


def _in_order(path: Path) -> None:
    """Puts the notes of a header in the order of their names: the library's differs from run to
    run, and equal tensors are to make equal files."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        notes = header.pop("__metadata__")
        header = {"__metadata__": dict(sorted(notes.items())), **header}
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= size:  # what is left is filled with spaces, as the format asks
            file.seek(8)
            file.write(text.ljust(size))
