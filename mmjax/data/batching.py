"""Reads a slice of a batch: one example after the other, transformed, then stacked.

* Pure: what is read for (step, rows) depends on nothing else, so threads, worker processes and
  hosts divide the rows as they like. Randomness comes from (seed, source, index, visit).
* A corrupt example keeps its place: its fields are zeros, its masks False and its weight 0.
* A field with an entry in the shape of the plan is padded to it, with what the transforms say
  (`padding`, else 0), and gets "<field>_mask"; every other field has one and the same shape in all
  examples. Text and other objects are left out, and so is what only some of the sources have.
* Packed fields have the leading axes [packs, rows, length], and beside the mask "<field>_segment"
  (which example of its pack a place belongs to, -1: none) and "<field>_position" (place in it).
* The deterministic transforms at the front (decoding a small picture) are done once per row and
  remembered, up to a number of bytes.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.plan import BatchPlan, Shape
from mmjax.data.source import CorruptExample, Example, Source

Transform = Callable[[Example, np.random.Generator], Example]
Arrays = dict[str, np.ndarray]

RESERVED = ("weight", "index", "source")  # fields that the reader adds
MOST_TRIES = 1000  # rows of a source that are tried before it is said to have no good example
_NARROW = {
    np.dtype(np.int64): np.int32,
    np.dtype(np.uint64): np.int32,
    np.dtype(np.float64): np.float32,
}


class Corrupt(NamedTuple):
    """An example that could not be used."""

    step: int
    source: int  # number of the source
    index: int  # row of the source
    where: str  # "photos.jsonl, line 17 (images/a.jpg)"
    reason: str
    part: str = ""  # of a pipeline of several parts


@dataclasses.dataclass(frozen=True)
class FieldSpec:
    """Shape and type of a field."""

    shape: tuple[int, ...]
    dtype: np.dtype


class Reader:
    """(step, rows) -> arrays. Sent to worker processes without what it remembers."""

    def __init__(
        self,
        sources: Sequence[Source],
        plan: BatchPlan,
        transforms: Sequence[Sequence[Transform]],  # of each source
        seed: int,
        cache_bytes: int,
    ):
        self.sources = sources
        self.plan = plan
        self.transforms = transforms
        self.seed = seed
        self.cache_bytes = cache_bytes
        self.first_group = _first_groups(sources)
        self._prepare()

    def _prepare(self) -> None:
        self.rows = functools.lru_cache(maxsize=16)(self.plan)  # (step) -> Rows
        self._parts = [_deterministic(transforms) for transforms in self.transforms]
        self._fill: dict[str, int] = {}  # field -> value of padding
        for transform in (one for transforms in self.transforms for one in transforms):
            self._fill.update(getattr(transform, "padding", {}))
        self._memory: dict[tuple[int, int], Example] = {}
        self._free = self.cache_bytes
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        own = ("rows", "_parts", "_fill", "_memory", "_free", "_lock")
        return {key: value for key, value in self.__dict__.items() if key not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def read(self, step: int, start: int, stop: int) -> tuple[Arrays, tuple[Corrupt, ...]]:
        """Rows start..stop of the batch of `step`: fields with a leading axis of stop - start."""
        rows = self.rows(step)
        pack = self.plan.pack
        if pack and (start % pack or stop % pack):
            raise ValueError(
                f"rows {start} to {stop} of the batch do not divide into packs of {pack} "
                "examples: each host needs whole packs"
            )
        found: list[Arrays | None] = []
        corrupt = []
        columns = (column[start:stop].tolist() for column in rows[:3])
        for source, index, visit in zip(*columns, strict=True):
            example = None
            if index >= 0:
                try:
                    example = self._example(source, index, visit)
                    self._check(source, example, rows.shape)
                except CorruptExample as error:
                    example, where = None, self.sources[source].locate(index)
                    corrupt.append(Corrupt(step, source, index, where, str(error)))
                except Exception as error:
                    where = self.sources[source].locate(index)
                    error.add_note(f"at step {step}, source {source}, row {index}: {where}")
                    raise
            found.append(example)
        arrays = {
            "weight": np.asarray([example is not None for example in found], np.float32),
            "index": rows.index[start:stop].astype(np.int32),
            "source": rows.source[start:stop].astype(np.int32),
        }
        masks = {f"{name}_mask" for name in rows.shape}
        for name, spec in self.spec.items():
            if name in rows.shape and pack:
                packs = [found[at : at + pack] for at in range(0, len(found), pack)]
                row = rows.row[start:stop].reshape(len(packs), pack)
                fill = self._fill.get(name, 0)
                arrays.update(_packed(name, spec, rows.shape[name], fill, packs, row))
            elif name in rows.shape:
                fill = self._fill.get(name, 0)
                arrays.update(_padded(name, spec, rows.shape[name], fill, found))
            elif name not in masks:
                arrays[name] = _stacked(name, spec, found)
        return arrays, tuple(corrupt)

    @functools.cached_property
    def spec(self) -> dict[str, FieldSpec]:
        """The fields that the examples of all sources have, before padding.

        Raises ValueError when a source has no good example among its first rows, naming reasons,
        or when two sources differ in the type or the rank of a field.
        """
        first, *others = self._specs
        common = {name: one for name, one in first.items() if all(name in s for s in others)}
        for number, other in enumerate(others, start=1):
            for name, one in common.items():
                if other[name].dtype != one.dtype or len(other[name].shape) != len(one.shape):
                    raise ValueError(
                        f"{name!r} is {other[name].dtype} of shape {other[name].shape} in "
                        f"{self.sources[number].locate(0)} and {one.dtype} of shape {one.shape} in "
                        f"{self.sources[0].locate(0)}: sources that are mixed need the same"
                    )
        return common

    @functools.cached_property
    def _specs(self) -> list[dict[str, FieldSpec]]:
        """The fields of each source, from its first good example."""
        return [self._first_spec(number) for number in range(len(self.sources))]

    def _first_spec(self, number: int) -> dict[str, FieldSpec]:
        source, reasons = self.sources[number], []
        for index in range(min(len(source), MOST_TRIES)):
            try:
                example = self._example(number, index, 0)
            except CorruptExample as error:
                reasons.append(f"{source.locate(index)}: {error}")
                continue
            except Exception as error:
                error.add_note(f"at source {number}, row {index}: {source.locate(index)}")
                raise
            taken = [name for name in RESERVED if name in example]
            if taken:
                raise ValueError(f"a transform makes a field {taken[0]!r}, a reserved name")
            return {name: FieldSpec(one.shape, one.dtype) for name, one in example.items()}
        raise ValueError(
            f"none of the {len(reasons)} examples that were tried could be read:\n  "
            + "\n  ".join(reasons[:5])
        )

    def batch_spec(self, rows: int, shape: Shape) -> dict[str, FieldSpec]:
        """The fields of what `read` returns, for so many rows padded to `shape`."""
        out = {name: FieldSpec((rows,), np.dtype(np.int32)) for name in ("index", "source")}
        out["weight"] = FieldSpec((rows,), np.dtype(np.float32))
        pack = self.plan.pack
        for name, spec in self.spec.items():
            lead = shape.get(name, ())
            places = (rows // pack, *lead) if lead and pack else (rows, *lead)
            kept = spec.shape[1:] if lead and pack else spec.shape[len(lead) :]
            out[name] = FieldSpec((*places, *kept), spec.dtype)
            if lead:
                out[f"{name}_mask"] = FieldSpec(places, np.dtype(bool))
            if lead and pack:
                for kind in ("segment", "position"):
                    out[f"{name}_{kind}"] = FieldSpec(places, np.dtype(np.int32))
        return out

    def _example(self, source: int, index: int, visit: int) -> Arrays:
        """One transformed example, numbers only. Raises CorruptExample."""
        example = self._memory.get((source, index))
        fixed, drawn = self._parts[source]
        if example is None:
            example = self.sources[source][index]
            for transform in fixed:
                example = transform(example, None)
            if not drawn:
                example = _numbers(example)
            if fixed:
                self._remember((source, index), example)
        if drawn:
            rng = np.random.default_rng([self.seed, source, index, visit])
            for transform in drawn:
                example = transform(example, rng)
            example = _numbers(example)
        group = int(example.get("group", index)) + self.first_group[source]
        return {**example, "group": np.asarray(group, np.int32)}

    def _remember(self, key: tuple[int, int], example: Example) -> None:
        size = sum(_bytes(value) for value in example.values())
        with self._lock:
            if size > self._free or key in self._memory:
                return  # what is in stays in: an epoch asks for every row once, so no row is hotter
            self._free -= size
        for value in example.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self._memory[key] = example

    def _check(self, source: int, example: Arrays, shape: Shape) -> None:
        if self.plan.pack:  # the plan says (rows, length), and an example has but one row
            shape = {name: lead[1:] for name, lead in shape.items()}
        fields = self._specs[source]
        if example.keys() != fields.keys():
            raise ValueError(
                f"this example has the fields {sorted(example)}, the first one of its source has "
                f"{sorted(fields)}: all rows of a source need the same"
            )
        for name, spec in self.spec.items():
            value, lead = example[name], shape.get(name)
            if value.dtype != spec.dtype:
                raise ValueError(f"{name!r} is {value.dtype} here, {spec.dtype} at the first row")
            if lead is None:
                if value.shape != spec.shape and name.removesuffix("_mask") not in shape:
                    raise ValueError(
                        f"{name!r} has shape {value.shape} here and {spec.shape} at the first row; "
                        f"resize it, or give the plan a shape that {name!r} is padded to"
                    )
            elif len(value.shape) != len(spec.shape) or len(value.shape) < len(lead):
                raise ValueError(f"{name!r} has shape {value.shape}, the plan pads it to {lead}")
            elif any(have > most for have, most in zip(value.shape, lead, strict=False)):
                raise ValueError(
                    f"{name!r} has shape {value.shape}, longer than {lead} of the plan: the "
                    "lengths that the plan was given are not those of these transforms"
                )


def _stacked(name: str, spec: FieldSpec, found: list[Arrays | None]) -> np.ndarray:
    out = np.zeros((len(found), *spec.shape), spec.dtype)
    for place, example in enumerate(found):
        if example is not None:
            out[place] = example[name]
    return out


def _padded(
    name: str, spec: FieldSpec, lead: tuple[int, ...], fill: int, found: list[Arrays | None]
) -> Arrays:
    out = np.full((len(found), *lead, *spec.shape[len(lead) :]), fill, spec.dtype)
    mask = np.zeros((len(found), *lead), bool)
    for place, example in enumerate(found):
        if example is not None:
            value = example[name]
            window = (place, *(slice(length) for length in value.shape[: len(lead)]))
            out[window] = value
            mask[window] = example.get(f"{name}_mask", True)
    return {name: out, f"{name}_mask": mask}


def _packed(
    name: str,
    spec: FieldSpec,
    lead: tuple[int, ...],
    fill: int,
    packs: list[list[Arrays | None]],
    row: np.ndarray,
) -> Arrays:
    """row: int32 [packs, examples of a pack]."""
    places = (len(packs), *lead)
    out = np.full((*places, *spec.shape[1:]), fill, spec.dtype)
    segment, position = np.full(places, -1, np.int32), np.zeros(places, np.int32)
    for number, pack in enumerate(packs):
        used = np.zeros(lead[0], np.int64)
        for place, example in enumerate(pack):
            if example is None:
                continue
            value, which = example[name], row[number, place]
            window = (number, which, slice(used[which], used[which] + len(value)))
            out[window], segment[window] = value, place
            position[window] = np.arange(len(value))
            used[which] += len(value)
    return {
        name: out,
        f"{name}_mask": segment >= 0,
        f"{name}_segment": segment,
        f"{name}_position": position,
    }


def _deterministic(
    transforms: Sequence[Transform],
) -> tuple[Sequence[Transform], Sequence[Transform]]:
    """(those before the first that draws, the rest)."""
    fixed = [bool(getattr(transform, "deterministic", False)) for transform in transforms]
    count = fixed.index(False) if False in fixed else len(fixed)
    return transforms[:count], transforms[count:]


def _first_groups(sources: Sequence[Source]) -> list[int]:
    """What is added to the groups of each source, so that groups of two sources never meet."""
    groups = [source.column("group") for source in sources]
    counts = [len(source) if column is None else int(np.max(column, initial=0)) + 1
              for source, column in zip(sources, groups, strict=True)]  # fmt: skip
    return np.cumsum([0, *counts])[:-1].tolist()


def _numbers(example: Example) -> Arrays:
    """The numeric fields as arrays of at most 32 bits."""
    out = {}
    for name, value in example.items():
        if isinstance(value, (str, tuple, list)) or value is None:
            continue
        if isinstance(value, bytes):
            if name == "image":
                raise ValueError("the image is still encoded: a transform must decode it")
            continue
        array = np.asarray(value)
        narrow = _NARROW.get(array.dtype)
        if narrow is not None:
            low, high = array.min(initial=0), array.max(initial=0)
            if narrow is np.int32 and (low < -(2**31) or high >= 2**31):
                raise ValueError(f"{name!r} holds {high}, which needs more than 32 bits")
            array = array.astype(narrow)
        out[name] = array
    return out


def _bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes + 128
    if isinstance(value, (tuple, list)):
        return sum(_bytes(one) for one in value) + 64
    return len(value) + 64 if isinstance(value, (bytes, str)) else 32


def collate(
    examples: Sequence[Example], ragged: Mapping[str, int], fill: Mapping[str, int]
) -> Arrays:
    """Transformed examples -> one batch: ragged fields padded to the longest, with their masks.

    Args:
      ragged: field -> how many of its leading axes are padded.
      fill: field -> what it is padded with; 0 where nothing is said.

    Raises:
      ValueError: examples that do not have the same fields.
    """
    rows = [_numbers(example) for example in examples]
    fields = rows[0].keys()
    for row in rows:
        if row.keys() != fields:
            other = sorted(row.keys() ^ fields)
            raise ValueError(f"examples of one batch need the same fields: {', '.join(other)}")
    out: Arrays = {}
    masks = {f"{name}_mask" for name in ragged}
    for name in fields:
        values = [row[name] for row in rows]
        spec = FieldSpec(values[0].shape, values[0].dtype)
        axes = min(ragged.get(name, 0), values[0].ndim)
        if axes:
            lead = np.max([value.shape[:axes] for value in values], axis=0)
            lead = tuple(int(length) for length in lead)
            out.update(_padded(name, spec, lead, fill.get(name, 0), rows))
        elif name not in masks:
            out[name] = _stacked(name, spec, rows)
    return out
