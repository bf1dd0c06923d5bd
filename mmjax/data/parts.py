"""Several pipelines side by side: the batch is a dict of sub-batches, by the name of their part.

* Each part has its own sources, plan, transforms and batch size. A step takes one batch of each, so
  that batch N is a function of N here as well.
* What a part counts (examples, corrupt ones, cut texts) is counted part by part, and its limit of
  corrupt examples is its own.

    parts = Parts({"pairs": Pipeline(...), "captions": Pipeline(...)})
    with parts.batches(start=step) as batches:
        for arrays, corrupt in batches:
            arrays["pairs"]["image"]
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from mmjax.config import ConfigError
from mmjax.data.collation import FieldSpec
from mmjax.data.pipeline import Batch, Batches, Pipeline, Statistics


class Parts:
    """Named pipelines, read step by step together."""

    def __init__(self, pipelines: Mapping[str, Pipeline]):
        """
        Raises:
          ConfigError: no part, or a name with a slash (it separates names).
        """
        if not pipelines:
            raise ConfigError("a run needs at least one part with data")
        bad = [name for name in pipelines if "/" in name]
        if bad:
            raise ConfigError(f"the part {bad[0]!r} has a '/' in its name, which separates names")
        self.pipelines = dict(pipelines)

    @property
    def spec(self) -> dict[str, dict[str, FieldSpec]]:
        """Shapes and types of the global batch, by part."""
        return {name: pipeline.spec for name, pipeline in self.pipelines.items()}

    @property
    def pack(self) -> dict[str, int]:
        """Examples that share rows, by part."""
        return {name: pipeline.pack for name, pipeline in self.pipelines.items()}

    @property
    def fingerprint(self) -> str:
        """Identity of everything that decides what batch N holds."""
        parts = [(name, pipeline.fingerprint) for name, pipeline in self.pipelines.items()]
        return hashlib.sha256(repr(sorted(parts)).encode()).hexdigest()

    @property
    def description(self) -> dict[str, Any]:
        """What the fingerprint is of: "<part>/plan", "<part>/sources", ..."""
        return {
            f"{name}/{key}": value
            for name, pipeline in self.pipelines.items()
            for key, value in pipeline.description.items()
        }

    def batch(self, step: int, host: int = 0, hosts: int = 1) -> Batch:
        """The rows of one host in the batch of `step`, read here and now."""
        batches = {
            name: pipeline.batch(step, host, hosts) for name, pipeline in self.pipelines.items()
        }
        return _together(batches)

    def batches(
        self,
        start: int = 0,
        stop: int | None = None,
        host: int = 0,
        hosts: int = 1,
        corrupt: Mapping[str, int] | None = None,
    ) -> "PartBatches":
        """The rows of one host in the batches of start..stop (None: the end of the first plan that
        ends), read ahead.

        corrupt: how many of its rows before `start` were, by part.
        """
        before = corrupt or {}
        opened: dict[str, Batches] = {}
        with contextlib.ExitStack() as stack:
            for name, pipeline in self.pipelines.items():
                count = before.get(name, 0)
                opened[name] = pipeline.batches(start, stop, host, hosts, count)
                stack.callback(opened[name].close)
            stack.pop_all()  # all could be opened: whoever has them closes them
        return PartBatches(opened)


@dataclasses.dataclass(frozen=True)
class PartStatistics:
    """What has gone by since the iterator began, on this host."""

    parts: Mapping[str, Statistics]

    @property
    def examples(self) -> int:
        return sum(part.examples for part in self.parts.values())

    @property
    def corrupt(self) -> int:
        return sum(part.corrupt for part in self.parts.values())

    @property
    def truncated(self) -> dict[str, float]:
        """Share of a part's good examples that were cut, by "<part>/<field>"."""
        return {
            f"{name}/{field}": share
            for name, part in self.parts.items()
            for field, share in part.truncated.items()
        }


class PartBatches(Iterator[Batch]):
    """Iterator of batches; `statistics` counts what it gave out. Close it, or use `with`."""

    def __init__(self, parts: Mapping[str, Batches]):
        self._parts = parts

    def __next__(self) -> Batch:
        """Raises TooManyCorrupt; anything else that is raised is a bug, with the row in a note."""
        return _together({name: next(batches) for name, batches in self._parts.items()})

    @property
    def step(self) -> int:
        """Of the next batch."""
        return next(iter(self._parts.values())).step

    @property
    def statistics(self) -> "PartStatistics":
        return PartStatistics({name: part.statistics for name, part in self._parts.items()})

    def close(self) -> None:
        for batches in self._parts.values():
            batches.close()

    def __enter__(self) -> "PartBatches":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _together(batches: Mapping[str, Batch]) -> Batch:
    """One batch of all parts; corrupt examples say whose they are."""
    arrays = {name: batch.arrays for name, batch in batches.items()}
    corrupt = [
        example._replace(part=name) for name, batch in batches.items() for example in batch.corrupt
    ]
    return Batch(arrays, tuple(corrupt))
