"""Examples -> one batch of arrays: stacked, padded with a mask, or packed.

* A place without an example (None: corrupt, or padding of the batch) holds zeros, and False in
  every mask.
* A ragged field is padded along its leading axes and gets "<field>_mask".
* Packed fields have the leading axes [packs, rows, length], and beside the mask "<field>_segment"
  (which example of its pack a place belongs to, -1: none) and "<field>_position" (place in it).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mmjax.data.source import DataError, Example

Arrays = dict[str, np.ndarray]
_NARROW = {
    np.dtype(np.int64): np.int32,
    np.dtype(np.uint64): np.int32,
    np.dtype(np.float64): np.float32,
}


@dataclasses.dataclass(frozen=True)
class FieldSpec:
    """Shape and type of a field."""

    shape: tuple[int, ...]
    dtype: np.dtype


def collate(
    examples: Sequence[Example],
    ragged: Mapping[str, int] | None = None,
    fill: Mapping[str, int] | None = None,
) -> Arrays:
    """Transformed examples as one batch, ragged fields padded to the longest of them.

    Args:
      examples: at least one; text and other objects are left out.
      ragged: field -> how many of its leading axes differ in length. Each gets "<field>_mask".
      fill: field -> what it is padded with; 0 where nothing is said.

    Raises:
      DataError: examples of different fields, or of different shapes or types of a field.
    """
    ragged = ragged or {}
    fill = fill or {}
    rows = [numbers(example) for example in examples]
    first = rows[0]
    for place, row in enumerate(rows):
        different = sorted(row.keys() ^ first.keys())
        if different:
            raise DataError(
                f"examples of one batch need the same fields; example {place} and the first one "
                f"differ in {', '.join(different)}"
            )
    masks = {f"{name}_mask" for name in ragged}
    out: Arrays = {}
    for name, value in first.items():
        if name in masks:
            continue
        axes = min(ragged.get(name, 0), value.ndim)
        for place, row in enumerate(rows):
            if row[name].dtype != value.dtype or row[name].shape[axes:] != value.shape[axes:]:
                raise DataError(
                    f"{name!r} is {row[name].dtype} {row[name].shape} in example {place} and "
                    f"{value.dtype} {value.shape} in the first one"
                )
        spec = FieldSpec(value.shape, value.dtype)
        if axes:
            longest = np.max([row[name].shape[:axes] for row in rows], axis=0)
            lead = tuple(int(length) for length in longest)
            out.update(padded(name, spec, lead, fill.get(name, 0), rows))
        else:
            out[name] = stacked(name, spec, rows)
    return out


def numbers(example: Example) -> Arrays:
    """The numeric fields as arrays of at most 32 bits; text and other objects are left out.

    Raises:
      DataError: bytes that no transform has decoded, or a number that needs more than 32 bits.
    """
    out = {}
    for name, value in example.items():
        if isinstance(value, (str, tuple, list)) or value is None:
            continue
        if isinstance(value, (bytes, bytearray, memoryview)):
            raise DataError(
                f"the field {name!r} is still encoded ({len(value)} bytes): a transform must "
                "decode it, or the source must leave it out"
            )
        array = np.asarray(value)
        narrow = _NARROW.get(array.dtype)
        if narrow is not None:
            low = array.min(initial=0)
            high = array.max(initial=0)
            if narrow is np.int32 and (low < -(2**31) or high >= 2**31):
                raise DataError(f"{name!r} holds {high}, which needs more than 32 bits")
            array = array.astype(narrow)
        out[name] = array
    return out


def stacked(name: str, spec: FieldSpec, examples: Sequence[Arrays | None]) -> np.ndarray:
    """[examples, ...]; zeros where there is no example, or the example lacks the field."""
    out = np.zeros((len(examples), *spec.shape), spec.dtype)
    for place, example in enumerate(examples):
        if example is not None and name in example:
            out[place] = example[name]
    return out


def padded(
    name: str,
    spec: FieldSpec,
    lead: tuple[int, ...],
    fill: int,
    examples: Sequence[Arrays | None],
) -> Arrays:
    """The field [examples, *lead, ...] and its mask [examples, *lead], which an example that has a
    mask of its own decides within its own length."""
    out = np.full((len(examples), *lead, *spec.shape[len(lead) :]), fill, spec.dtype)
    mask = np.zeros((len(examples), *lead), bool)
    for place, example in enumerate(examples):
        if example is not None and name in example:
            value = example[name]
            window = (place, *(slice(length) for length in value.shape[: len(lead)]))
            out[window] = value
            mask[window] = example.get(f"{name}_mask", True)
    return {name: out, f"{name}_mask": mask}


def packed(
    names: Sequence[str],
    specs: Mapping[str, FieldSpec],
    lead: tuple[int, ...],
    fill: Mapping[str, int],
    packs: Sequence[Sequence[Arrays | None]],
    row: np.ndarray,
) -> Arrays:
    """Fields of one layout [packs, *lead, ...]; mask, segment and position are called after the
    first.

    Args:
      lead: (rows, length) of a pack.
      row: int32 [packs, examples of a pack], the row that each example is laid in.
    """
    places = (len(packs), *lead)
    out = {
        name: np.full((*places, *specs[name].shape[1:]), fill.get(name, 0), specs[name].dtype)
        for name in names
    }
    segment = np.full(places, -1, np.int32)
    position = np.zeros(places, np.int32)
    leader = names[0]
    for number, pack in enumerate(packs):
        used = np.zeros(lead[0], np.int64)
        for place, example in enumerate(pack):
            if example is None or leader not in example:
                continue
            length = len(example[leader])
            which = row[number, place]
            window = (number, which, slice(used[which], used[which] + length))
            for name in names:
                out[name][window] = example[name]
            segment[window] = place
            position[window] = np.arange(length)
            used[which] += length
    return {
        **out,
        f"{leader}_mask": segment >= 0,
        f"{leader}_segment": segment,
        f"{leader}_position": position,
    }
