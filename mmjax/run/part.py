"""The data of a run, or of one of its parts: sources, processor and batches.

* Building is lazy: showing a parameter table opens no picture.
* A run has one part called "", or several with names, each with its own data and task.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax import registry
from mmjax.config import ConfigError, Spec
from mmjax.data.batching import Transform
from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import BatchPlan, Mixture, Sequential
from mmjax.data.plan import curriculum as order_by_difficulty
from mmjax.data.source import Example, Source
from mmjax.data.storage import reaching
from mmjax.processors.base import Processor
from mmjax.run.configured import configured
from mmjax.run.options import Curriculum, Data, Options


def open_source(spec: Spec, where: str) -> Source:
    """The data set that a sub-tree names."""
    module, config = configured(registry.SOURCES, spec, where)
    with reaching(where):
        return module.open(config)


class OnPaper:
    """A source of so many equal examples, for data that is not here."""

    fingerprint = "on paper"

    def __init__(self, example: Example, rows: int):
        self.example = example
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> Example:
        return dict(self.example)

    def column(self, name: str) -> np.ndarray | None:
        value = self.example.get(name)
        if isinstance(value, bool | int | float | np.number):
            return np.full(self.rows, value)
        if not isinstance(value, str | tuple):
            return None
        column = np.empty(self.rows, object)
        column[:] = [value] * self.rows
        return column

    def locate(self, index: int) -> str:
        return f"on paper, row {index}"


@dataclasses.dataclass(frozen=True)
class Part:
    """One data set, or mixture, with what turns its examples into batches."""

    name: str  # "" where a run has one part alone
    data: Data
    options: Options  # of the run
    folder: Path | None = None  # where its tokenizer is kept; None: nowhere
    owner: Part | None = None  # whose processor this one shares
    paper: bool = False  # every data set is one made-up example over and over

    @property
    def where(self) -> str:
        """The dotted path of its data in the config, for messages."""
        return f"parts.{self.name}.data" if self.name else "data"

    @functools.cached_property
    def mixture(self) -> dict[str, tuple[Spec, float | None]]:
        """Training sets by name, with their weights; those of weight 0 left out."""
        sets = {}
        for name, spec in self.data.train.items():
            options = dict(spec.options)
            weight = options.pop("weight", None)
            if weight != 0:
                sets[name] = (Spec(spec.name, options), weight)
        if not sets:
            raise ConfigError(f"{self.where}.train is empty: name at least one data set")
        return sets

    @functools.cached_property
    def sources(self) -> dict[str, Source]:
        """The opened training sets by name."""
        if self.paper:
            module, config = (self.owner or self)._processor_config
            example = module.paper(config)
            return {name: OnPaper(example, self.data.batch_size) for name in self.mixture}
        return {
            name: open_source(spec, f"{self.where}.train.{name}")
            for name, (spec, _) in self.mixture.items()
        }

    def variation(self, name: str, options: Mapping[str, Any], where: str) -> Spec:
        """The training set `name` with other options: its validation split, say."""
        if name not in self.mixture:
            raise ConfigError(
                f"{where}: '@{name}' is none of {self.where}.train: {', '.join(self.mixture)}"
            )
        spec, _ = self.mixture[name]
        return Spec(spec.name, {**spec.options, **options})

    def of_the_same_set(self, name: str) -> list[Source]:
        """Training data of the set that an evaluation's source names; groups of two different sets
        have nothing to do with each other."""
        return [
            self.sources[key]
            for key, (spec, _) in self.mixture.items()
            if name in (f"@{key}", spec.name)
        ]

    @functools.cached_property
    def _processor_config(self) -> tuple[Any, Any]:
        return configured("mmjax.processors", self.data.processor, f"{self.where}.processor")

    @functools.cached_property
    def processor(self) -> Processor:
        """The processor. What it has learned is saved in the folder of the run."""
        if self.owner is not None:
            return self.owner.processor
        module, config = self._processor_config
        if self.paper:
            return module.build(config, None, None)
        processor = module.build(config, lambda: list(self.sources.values()), self.folder)
        if self.folder is not None and jax.process_index() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            processor.save(self.folder)
        return processor

    @functools.cached_property
    def pipeline(self) -> Pipeline:
        """Reads the training batches, as the mixture, curriculum and processor plan them."""
        sources = list(self.sources.values())
        weights = [weight for _, weight in self.mixture.values()]
        if all(weight is None for weight in weights):
            weights = []
        plan = Mixture(
            tuple(len(source) for source in sources),
            self.data.batch_size,
            weights=tuple(1.0 if weight is None else float(weight) for weight in weights),
            seed=self.options.seed,
            steps=self.options.train.steps,
        )
        for name, curriculum in self.data.curriculum.items():
            plan = self._in_order(plan, name, curriculum)
        plan = self.processor.plan(plan, sources)
        return self._pipeline(sources, plan, self.processor.train)

    def _in_order(self, plan: Mixture, name: str, curriculum: Curriculum) -> Mixture:
        """The plan with the easy rows of a set first.

        Raises:
          ConfigError: no such set, or no such column.
        """
        where = f"{self.where}.curriculum.{name}"
        if name not in self.sources:
            raise ConfigError(f"{where}: the training sets are {', '.join(self.sources)}")
        difficulty = self.sources[name].column(curriculum.by)
        if difficulty is None:
            raise ConfigError(f"{where}.by: the set has no column {curriculum.by!r}")
        number = list(self.sources).index(name)
        return order_by_difficulty(plan, number, difficulty, curriculum.stages)

    def evaluation_pipeline(self, source: Source, batch_size: int) -> Pipeline:
        """Reads a source for an evaluation: each row once, in order."""
        plan = Sequential(len(source), batch_size, shape=self.processor.shape(source))
        return self._pipeline([source], plan, self.processor.evaluate)

    def _pipeline(
        self, sources: Sequence[Source], plan: BatchPlan, transforms: tuple[Transform, ...]
    ) -> Pipeline:
        execution = self.options.execution
        return Pipeline(
            sources,
            plan,
            transforms,
            seed=self.options.seed,
            max_corrupt_share=self.data.max_corrupt_share,
            cache_bytes=self.data.cache_bytes,
            threads=execution.threads,
            workers=execution.workers,
            fill_missing=self.data.fill_missing,
        )
