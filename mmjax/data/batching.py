"""Reads a slice of a batch: one example after the other, transformed, then collated.

* Pure: what is read for (step, rows) depends on nothing else, so threads, worker processes and
  hosts divide the rows as they like. Randomness comes from (seed, source, index, visit).
* A corrupt example keeps its place: its fields are zeros, its masks False and its weight 0.
* A field with an entry in the shape of the plan is padded to it or packed (collation.py), with what
  the transforms say (`padding`, else 0); every other field has one and the same shape in all
  examples. Text and other objects are left out.
* A field that only some of the sources have is left out, and said so once; or, on request, it is
  zeros where it is not there, and "<field>_there" [B] says where it is.
* The deterministic transforms at the front (decoding a small picture) are done once per row and
  remembered, up to a number of bytes.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.collation import Arrays, FieldSpec, numbers, packed, padded, stacked
from mmjax.data.plan import BatchPlan, Shape
from mmjax.data.source import CorruptExample, DataError, Example, Source
from mmjax.data.storage import note

Transform = Callable[[Example, np.random.Generator], Example]

RESERVED = ("weight", "index", "source")  # fields that the reader adds
MOST_TRIES = 1000  # rows of a source that are tried before it is said to have no good example


class Corrupt(NamedTuple):
    """An example that could not be used."""

    step: int
    source: int  # number of the source
    index: int  # row of the source
    where: str  # "photos.jsonl, line 17 (images/a.jpg)"
    reason: str
    part: str = ""  # of a pipeline of several parts


class Reader:
    """(step, rows) -> arrays. Sent to worker processes without what it remembers."""

    def __init__(
        self,
        sources: Sequence[Source],
        plan: BatchPlan,
        transforms: Sequence[Sequence[Transform]],  # of each source
        seed: int,
        cache_bytes: int,
        fill_missing: bool | Iterable[str] = (),
    ):
        """fill_missing: fields that may be absent from some of the sources; True: any."""
        self.sources = sources
        self.plan = plan
        self.transforms = transforms
        self.seed = seed
        self.cache_bytes = cache_bytes
        self.fill_missing = fill_missing if isinstance(fill_missing, bool) else set(fill_missing)
        self.first_group = _first_groups(sources)
        self._prepare()

    def _prepare(self) -> None:
        self.rows = functools.lru_cache(maxsize=16)(self.plan)  # (step) -> Rows
        self._parts = [_deterministic(transforms) for transforms in self.transforms]
        self._fill: dict[str, int] = {}  # field -> value of padding
        for transforms in self.transforms:
            for transform in transforms:
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
            raise ConfigError(
                f"rows {start} to {stop} of the batch do not divide into packs of {pack} "
                "examples: each host needs whole packs"
            )
        examples: list[Arrays | None] = []
        corrupt = []
        columns = (column[start:stop].tolist() for column in rows[:3])
        for source, index, visit in zip(*columns, strict=True):
            example = None
            if index >= 0:
                try:
                    example = self._example(source, index, visit)
                    self._check(source, example, rows.shape)
                except CorruptExample as error:
                    example = None
                    where = self.sources[source].locate(index)
                    corrupt.append(Corrupt(step, source, index, where, str(error)))
                except Exception as error:
                    where = self.sources[source].locate(index)
                    error.add_note(f"at step {step}, source {source}, row {index}: {where}")
                    raise
            examples.append(example)
        arrays = {
            "weight": np.asarray([example is not None for example in examples], np.float32),
            "index": rows.index[start:stop].astype(np.int32),
            "source": rows.source[start:stop].astype(np.int32),
        }
        row = None if rows.row is None else rows.row[start:stop]
        arrays.update(self._collated(examples, rows.shape, row))
        return arrays, tuple(corrupt)

    def prepare(self) -> None:
        """Reads the fields of the data, before any thread asks for them.

        Raises:
          DataError: there is no good example.
        """
        _ = self.spec

    def _collated(
        self, examples: list[Arrays | None], shape: Shape, row: np.ndarray | None
    ) -> Arrays:
        """The fields of examples that were read. row: of its pack, for each example."""
        arrays: Arrays = {}
        follows = self.plan.follows
        masks = {f"{name}_mask" for name in shape}
        for name, spec in self.spec.items():
            fill = self._fill.get(name, 0)
            if name in self.plan.packed:
                if name in follows:
                    continue  # comes with the field that it follows
                together = (name, *(one for one in follows if follows[one] == name))
                size = self.plan.pack
                packs = [examples[at : at + size] for at in range(0, len(examples), size)]
                row_of = row.reshape(len(packs), size)
                arrays.update(packed(together, self.spec, shape[name], self._fill, packs, row_of))
            elif name in shape:
                values = padded(name, spec, shape[name], fill, examples)
                if name in follows:
                    del values[f"{name}_mask"]
                arrays.update(values)
            elif name not in masks:
                arrays[name] = stacked(name, spec, examples)
        for name in self._partial:
            there = [example is not None and name in example for example in examples]
            arrays[f"{name}_there"] = np.asarray(there, bool)
        return arrays

    @functools.cached_property
    def spec(self) -> dict[str, FieldSpec]:
        """The fields of examples before padding: those that all sources have, and those of some
        that are to be filled.

        Raises:
          DataError: a source has no good example among its first rows (reasons are named), or two
            sources differ in the type or the rank of a field.
        """
        fields: dict[str, FieldSpec] = {}
        owner: dict[str, int] = {}
        for number, specs in enumerate(self._specs):
            for name, one in specs.items():
                if not self._kept(name):
                    continue
                first = fields.setdefault(name, one)
                owner.setdefault(name, number)
                if one.dtype != first.dtype or len(one.shape) != len(first.shape):
                    raise DataError(
                        f"{name!r} is {one.dtype} of shape {one.shape} in "
                        f"{self.sources[number].locate(0)} and {first.dtype} of shape "
                        f"{first.shape} in {self.sources[owner[name]].locate(0)}: sources that are "
                        "mixed need the same"
                    )
        for name in {name for specs in self._specs for name in specs} - fields.keys():
            having = [n for n, specs in enumerate(self._specs) if name in specs]
            lacking = next(n for n, specs in enumerate(self._specs) if name not in specs)
            note(
                f"the field {name!r} is left out: {self.sources[having[0]].locate(0)} has it and "
                f"{self.sources[lacking].locate(0)} does not (fill_missing would keep it)"
            )
        return fields

    def _kept(self, name: str) -> bool:
        """Whether a field of some source is a field of the batch."""
        if all(name in specs for specs in self._specs) or self.fill_missing is True:
            return True
        return bool(self.fill_missing) and not self.fill_missing.isdisjoint({name, _owner(name)})

    @functools.cached_property
    def _partial(self) -> tuple[str, ...]:
        """Fields of the batch that only some of the sources have; what comes with a field of them
        (its mask) is not counted."""
        return tuple(
            name
            for name in self.spec
            if not all(name in specs for specs in self._specs)
            and (_owner(name) == name or _owner(name) not in self.spec)
        )

    @functools.cached_property
    def _specs(self) -> list[dict[str, FieldSpec]]:
        """The fields of each source, from its first good example."""
        return [self._first_spec(number) for number in range(len(self.sources))]

    def _first_spec(self, number: int) -> dict[str, FieldSpec]:
        source = self.sources[number]
        reasons = []
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
                raise DataError(f"a transform makes a field {taken[0]!r}, a reserved name")
            return {name: FieldSpec(one.shape, one.dtype) for name, one in example.items()}
        raise DataError(
            f"none of the {len(reasons)} examples that were tried could be read:\n  "
            + "\n  ".join(reasons[:5])
        )

    def batch_spec(self, rows: int, shape: Shape) -> dict[str, FieldSpec]:
        """The fields of what `read` returns, for so many rows padded to `shape`."""
        out = {name: FieldSpec((rows,), np.dtype(np.int32)) for name in ("index", "source")}
        out["weight"] = FieldSpec((rows,), np.dtype(np.float32))
        masks = {f"{name}_mask" for name in shape}
        for name, spec in self.spec.items():
            if name in masks:
                continue
            lead = shape.get(name, ())
            is_packed = name in self.plan.packed
            places = (rows // self.plan.pack, *lead) if is_packed else (rows, *lead)
            kept = spec.shape[1:] if is_packed else spec.shape[len(lead) :]
            out[name] = FieldSpec((*places, *kept), spec.dtype)
            if lead and name not in self.plan.follows:
                out[f"{name}_mask"] = FieldSpec(places, np.dtype(bool))
                for kind in ("segment", "position") if is_packed else ():
                    out[f"{name}_{kind}"] = FieldSpec(places, np.dtype(np.int32))
        for name in self._partial:
            out[f"{name}_there"] = FieldSpec((rows,), np.dtype(bool))
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
                example = numbers(example)
            if fixed:
                self._remember((source, index), example)
        if drawn:
            rng = np.random.default_rng([self.seed, source, index, visit])
            for transform in drawn:
                example = transform(example, rng)
            example = numbers(example)
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
        """
        Raises:
          DataError: an example that does not fit into the batch.
        """
        fields = self._specs[source]
        if example.keys() != fields.keys():
            raise DataError(
                f"this example has the fields {sorted(example)}, the first one of its source has "
                f"{sorted(fields)}: all rows of a source need the same"
            )
        for name, spec in self.spec.items():
            if name not in example:
                continue  # filled: another source has it
            value = example[name]
            lead = shape.get(name)
            if name in self.plan.packed:
                lead = lead[1:]  # the plan says (rows, length), and an example has but one row
            if value.dtype != spec.dtype:
                raise DataError(f"{name!r} is {value.dtype} here, {spec.dtype} at the first row")
            if lead is None:
                if value.shape != spec.shape and name.removesuffix("_mask") not in shape:
                    raise DataError(
                        f"{name!r} has shape {value.shape} here and {spec.shape} at the first row; "
                        f"resize it, or give the plan a shape that {name!r} is padded to"
                    )
            elif len(value.shape) != len(spec.shape) or len(value.shape) < len(lead):
                raise DataError(f"{name!r} has shape {value.shape}, the plan pads it to {lead}")
            elif any(have > most for have, most in zip(value.shape, lead, strict=False)):
                raise DataError(
                    f"{name!r} has shape {value.shape}, longer than {lead} of the plan: the "
                    "lengths that the plan was given are not those of these transforms"
                )
            elif value.shape[len(lead) :] != spec.shape[len(lead) :]:
                raise DataError(
                    f"{name!r} has shape {value.shape} here and {spec.shape} at the first row; the "
                    f"plan pads {len(lead)} of its axes, and the others must be the same"
                )
        for name, leader in self.plan.follows.items():
            if name in example and example[name].shape[:1] != example[leader].shape[:1]:
                raise DataError(
                    f"{name!r} has shape {example[name].shape} and {leader!r} "
                    f"{example[leader].shape}: the plan lays both out alike, so they need one "
                    "length"
                )


def _owner(name: str) -> str:
    """The field that a mask or a mark of truncation belongs to; of another field itself."""
    return name.removesuffix("_mask").removesuffix("_truncated")


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


def _bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes + 128
    if isinstance(value, (tuple, list)):
        return sum(_bytes(one) for one in value) + 64
    return len(value) + 64 if isinstance(value, (bytes, str)) else 32
