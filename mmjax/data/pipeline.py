"""Batches of numpy arrays, read ahead by threads or worker processes through Grain.

* Batch N is a function of N: `batches(start)` begins at any step at once, and any number of hosts,
  threads and workers gives the same batches, bit for bit.
* Grain reads ahead chunk by chunk (a slice of a step's rows), so that one batch uses all threads.
* Corrupt examples travel beside the arrays, in `Batch.corrupt`, and are counted; more than a share
  of them stops the run with the names of some.

    pipeline = Pipeline([source], plan, transforms, seed=0)
    with pipeline.batches(start=step) as batches:
        for arrays, corrupt in batches:
            ...
        batches.statistics.truncated     # {"text": 0.02}

A batch has the fields of the examples (leading axis B, this host's rows), "<field>_mask" of padded
ones, and always: weight float32 (0: corrupt or padding), index int32 (row of the source, -1:
padding), source int32, group int32 (by default one per row; never shared between sources). Several
pipelines side by side, each with its own sources, plan and batch size: parts.py.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np
from absl import flags

from mmjax.config import ConfigError
from mmjax.data.batching import Corrupt, Reader, Transform
from mmjax.data.collation import Arrays, FieldSpec
from mmjax.data.plan import BatchPlan
from mmjax.data.source import Source
from mmjax.errors import UserError

CHUNK = 64  # rows that a thread reads at a time
AHEAD = 2  # batches that are read before they are asked for
_ENDLESS = 1 << 40  # steps
LENGTH = re.compile(r", steps=\d+")  # of a plan, as it is described


class TooManyCorrupt(UserError, RuntimeError):
    """The share of corrupt examples is above the limit."""


class Batch(NamedTuple):
    arrays: Arrays  # leading axis: this host's rows
    corrupt: tuple[Corrupt, ...]  # examples of this host's rows that could not be used


@dataclasses.dataclass
class Statistics:
    """What has gone by since the iterator began, on this host."""

    examples: int = 0  # padding not counted
    corrupt: int = 0
    cut: dict[str, int] = dataclasses.field(default_factory=dict)  # field -> truncated examples

    @property
    def truncated(self) -> dict[str, float]:
        """Field -> share of the good examples that were cut to the maximal length."""
        good = max(1, self.examples - self.corrupt)
        return {name: count / good for name, count in self.cut.items()}

    def add(self, batch: Batch) -> None:
        self.examples += int((batch.arrays["index"] >= 0).sum())
        self.corrupt += len(batch.corrupt)
        for name, values in batch.arrays.items():
            if name.endswith("_truncated"):
                field = name.removesuffix("_truncated")
                self.cut[field] = self.cut.get(field, 0) + int(values.sum())


class Pipeline:
    """Sources, plan and transforms, put together."""

    def __init__(
        self,
        sources: Sequence[Source],
        plan: BatchPlan,
        transforms: Sequence[Transform] | Sequence[Sequence[Transform]],
        *,
        seed: int = 0,
        cache_bytes: int = 512 << 20,
        max_corrupt_share: float = 0.05,
        max_corrupt_free: int = 10,
        threads: int | None = None,
        workers: int = 0,
        fill_missing: bool | Sequence[str] = (),
    ):
        """transforms: of all sources, or one list for each of them.

        cache_bytes: what each process may remember of examples behind the deterministic transforms.
        max_corrupt_share: of the examples seen; more stops the run, but never so few as
        max_corrupt_free.
        threads: that read ahead. None: one per core, 16 at most; 0: none, read when asked for.
        workers: processes, each with so many threads; started by spawn, so a script needs an
        `if __name__ == "__main__"`. Each takes a second and 200 MB: for many cores only.
        fill_missing: fields that only some sources have and that are kept (True: any): zeros where
        they are not there, with "<field>_there" [B]. Others of that kind are left out.
        """
        if not sources:
            raise ValueError("a pipeline needs at least one source")
        transforms = tuple(transforms)
        each = bool(transforms) and all(isinstance(one, (list, tuple)) for one in transforms)
        lists = tuple(tuple(one) for one in transforms) if each else (transforms,) * len(sources)
        if len(lists) != len(sources):
            raise ValueError(f"{len(lists)} lists of transforms for {len(sources)} sources")
        self.sources = tuple(sources)
        self.plan = plan
        self.seed = seed
        self.max_corrupt_share = max_corrupt_share
        self.max_corrupt_free = max_corrupt_free
        self.threads = min(16, os.cpu_count() or 1) if threads is None else threads
        self.workers = workers
        self.fill_missing = fill_missing
        self.reader = Reader(self.sources, plan, lists, seed, cache_bytes, fill_missing)

    @property
    def spec(self) -> dict[str, FieldSpec]:
        """Shapes and types of the global batch, at the longest that the plan asks for.

        Reads one good example of each source; DataError when there is none.
        """
        return self.reader.batch_spec(self.plan.batch, self.plan.largest_shape)

    @property
    def pack(self) -> int:
        """Examples that share rows; 0: one example a row."""
        return self.plan.pack

    @property
    def fingerprint(self) -> str:
        """Identity of everything that decides what batch N holds; a resumed run compares it."""
        parts: tuple[Any, ...] = tuple(self.description.values())
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def description(self) -> dict[str, Any]:
        """What the fingerprint is of, by name, as JSON holds it: `changes` names what differs."""
        transforms = [[_name(one) for one in each] for each in self.reader.transforms]
        description = {
            "sources": [source.fingerprint for source in self.sources],
            "plan": repr(self.plan),
            "transforms": transforms,
            "seed": self.seed,
        }
        if self.fill_missing:
            filled = self.fill_missing
            description["fill_missing"] = filled if filled is True else sorted(filled)
        return description

    def batch(self, step: int, host: int = 0, hosts: int = 1) -> Batch:
        """The rows of one host in the batch of `step`, read here and now."""
        return Batch(*self.reader.read(step, *self._rows(host, hosts)))

    def batches(
        self,
        start: int = 0,
        stop: int | None = None,
        host: int = 0,
        hosts: int = 1,
        corrupt: int = 0,
    ) -> "Batches":
        """The rows of one host in the batches of start..stop (None: the plan's end), read ahead.

        corrupt: how many of its rows before `start` were; max_corrupt_share is of all from 0 on.

        Raises DataError when the data has no good example.
        """
        self.reader.prepare()
        stop = self.plan.steps if stop is None else stop
        stop = start + _ENDLESS if stop is None else max(start, stop)
        first, last = self._rows(host, hosts)
        pack = max(1, self.plan.pack)  # a thread reads whole packs
        edges = [*range(first, last, pack * -(-CHUNK // pack)), last]
        chunks = tuple(zip(edges, edges[1:], strict=False))
        ahead = max(AHEAD * len(chunks), self.threads) if self.threads else 0
        data = grain.MapDataset.source(_Elements(self.reader, start, stop, chunks))
        data = data.to_iter_dataset(grain.ReadOptions(self.threads, ahead))
        if self.workers:
            if not flags.FLAGS.is_parsed():  # Grain sends the values of its flags to its workers
                flags.FLAGS.mark_as_parsed()
            each = max(1, AHEAD * len(chunks) // self.workers)
            options = grain.multiprocessing.MultiprocessingOptions(self.workers, each)
            data = data.mp_prefetch(options)
        before = Statistics(start * (last - first), corrupt)
        return Batches(self, iter(data), start, len(chunks), before)

    def _rows(self, host: int, hosts: int) -> tuple[int, int]:
        if self.plan.batch % hosts or not 0 <= host < hosts:
            raise ConfigError(
                f"host {host} of {hosts}: the batch of {self.plan.batch} rows must divide evenly "
                "among the hosts"
            )
        size = self.plan.batch // hosts
        return host * size, (host + 1) * size


class Batches(Iterator[Batch]):
    """Iterator of batches; `statistics` counts what it gave out. Close it, or use `with`."""

    def __init__(
        self, pipeline: Pipeline, chunks: Any, step: int, per_batch: int, before: Statistics
    ):
        self.step = step  # of the next batch
        self.statistics = Statistics()
        self._pipeline = pipeline
        self._chunks = chunks
        self._per_batch = per_batch
        self._before = before
        self._named: list[Corrupt] = []

    def __next__(self) -> Batch:
        """Raises TooManyCorrupt; anything else that is raised is a bug, with the row in a note."""
        parts = [next(self._chunks) for _ in range(self._per_batch)]
        arrays = parts[0][0]
        if len(parts) > 1:
            arrays = {name: np.concatenate([part[0][name] for part in parts]) for name in arrays}
        batch = Batch(arrays, tuple(one for part in parts for one in part[1]))
        self.step += 1
        self.statistics.add(batch)
        self._watch(batch.corrupt)
        return batch

    def _watch(self, corrupt: Sequence[Corrupt]) -> None:
        self._named.extend(corrupt[: 5 - len(self._named)])
        share = self._pipeline.max_corrupt_share
        free = self._pipeline.max_corrupt_free
        count = self._before.corrupt + self.statistics.corrupt
        seen = self._before.examples + self.statistics.examples
        if corrupt and count > max(free, share * seen):
            names = "\n  ".join(f"{one.where}: {one.reason}" for one in self._named)
            raise TooManyCorrupt(
                f"{count} of {seen} examples are corrupt, more than max_corrupt_share={share}: "
                f"mend them, or raise it. The first ones:\n  {names}"
            )

    def close(self) -> None:
        self._chunks.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


@dataclasses.dataclass(frozen=True)
class _Elements:
    """What Grain reads: element (step, chunk), counted from `start`."""

    reader: Reader
    start: int
    stop: int
    chunks: tuple[tuple[int, int], ...]  # rows of the batch

    def __len__(self) -> int:
        return (self.stop - self.start) * len(self.chunks)

    def __getitem__(self, number: int) -> tuple[Arrays, tuple[Corrupt, ...]]:
        step, chunk = divmod(int(number), len(self.chunks))
        return self.reader.read(self.start + step, *self.chunks[chunk])


def same_batches(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether batch N of two descriptions is the same: only the number of steps may differ."""

    def endless(description: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: LENGTH.sub("", value) if isinstance(value, str) else value
            for name, value in description.items()
        }

    return bool(before) and endless(before) == endless(now)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The parts of two descriptions that differ: "plan: Mixture(...), was Mixture(...)"."""
    return [
        f"{name}: {now.get(name)}, was {before.get(name)}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def _name(transform: Transform) -> str:
    if dataclasses.is_dataclass(transform):
        return repr(transform)
    kind = transform if hasattr(transform, "__qualname__") else type(transform)
    return f"{kind.__module__}.{kind.__qualname__}"
