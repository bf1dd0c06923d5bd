"""The evaluations of a run: each an evaluator, a data set, and a baseline measured on the same
rows.

* Built once and called at every validation, so that nothing is compiled twice.
* Metric names: "<evaluation>/<metric>"; a baseline's come first by its own name,
  "chance/<evaluation>/<metric>".
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mmjax import registry
from mmjax.config import ConfigError, Spec, build, to_dict
from mmjax.data.batching import Corrupt
from mmjax.data.source import CorruptExample, Source
from mmjax.evaluation import base
from mmjax.run.assembly import Run, checked
from mmjax.run.configured import configured
from mmjax.run.options import Evaluation
from mmjax.run.part import open_source
from mmjax.training import sharding
from mmjax.training.state import State
from mmjax.transforms.decode import DecodeImage

Picture = Callable[[str, Any], None]


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """One evaluation, ready to run."""

    name: str
    run: Run | None  # None: of no run, and no "@name" then
    options: Evaluation

    @functools.cached_property
    def source(self) -> Source:
        return self._open(self.options.source, f"{self.name}.source")

    def _open(self, spec: Spec, where: str) -> Source:
        if spec.name.startswith("@"):  # a training set's other split
            spec = self._trainer(f"{where}.name={spec.name!r}").part(self.options.part).variation(
                spec.name[1:], spec.options, f"{where}.name"
            )
        return open_source(spec, where)

    def _trainer(self, where: str) -> Run:
        """The run, where its training data is asked for."""
        if self.run is None:
            raise ConfigError(f"{where}: there is no run to look it up in")
        return self.run

    @functools.cached_property
    def evaluator(self) -> Any:
        """The evaluator with what it cannot read from a config: pictures, prompts."""
        spec = self.options.evaluator
        module = registry.find("mmjax.evaluation", spec.name, where=f"{self.name}.evaluator.name")
        made = build(module.Config, to_dict(spec.options), where=f"{self.name}.evaluator")
        fields = {field.name for field in dataclasses.fields(made)}
        if "example" in fields:
            made = dataclasses.replace(made, example=self.example)
        if "encode" in fields:
            made = dataclasses.replace(made, encode=self.encode)
        if "batches" in fields and made.train is not None:
            made = dataclasses.replace(made, batches=functools.partial(self._batches, made.train))
        if "share" in fields and self.run is not None:
            made = dataclasses.replace(made, share=sharding.part_of_batch(self.run.mesh))
        return made

    def example(self, index: int) -> dict[str, Any]:
        """A row as a person sees it."""
        return DecodeImage()(self.source[index])

    def encode(self, texts: Any) -> dict[str, np.ndarray]:
        """Strings -> text [N, L] and text_mask."""
        batch = self.run.part(self.options.part).processor.tokenize({"text": tuple(texts)})
        return {"text": batch["text"], "text_mask": batch["text_mask"]}

    def put(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """A process's own rows on its devices."""
        return self.run.put(batch)

    def _batches(self, spec: Spec) -> Iterator[Mapping[str, np.ndarray]]:
        """All rows of another data set, each once: what a probe is fitted on."""
        return self.read(self.rows(self._open(spec, f"{self.name}.evaluator.train")), [])

    @functools.cached_property
    def _rows(self) -> Any:
        return self.rows(self.source)

    def rows(self, source: Source) -> Any:
        """What `read` reads."""
        return self.run.part(self.options.part).evaluation_pipeline(source, self.options.batch_size)

    def read(self, rows: Any, corrupt: list[Corrupt]) -> Iterator[Mapping[str, np.ndarray]]:
        """Each row once, in batches; what cannot be used is added to `corrupt`."""
        with self.run.batches(rows, 0, rows.plan.steps) as batches:
            for batch in batches:
                corrupt.extend(batch.corrupt)
                yield batch.arrays

    @functools.cached_property
    def columns(self) -> dict[str, np.ndarray]:
        wanted = ("group", "style", "label")
        found = {name: self.source.column(name) for name in wanted}
        return {name: column for name, column in found.items() if column is not None}

    @functools.cached_property
    def predict(self) -> Any:
        known = self.run.task.predict
        if self.evaluator.predict not in known:
            raise ValueError(
                f"{self.name}: the task predicts {', '.join(known)}, not {self.evaluator.predict!r}"
            )
        return known[self.evaluator.predict]

    def check(self, where: str) -> None:
        """Finds before any training what would stop the evaluation after it.

        Args:
          where: the config's path, for messages.

        Raises:
          ConfigError, DataError: it cannot be done.
        """
        with checked(where):
            assert self.predict
            self.evaluator.check(self.columns)
            rows = self.options.batch_size
            cut = self.run.mesh.shape["data"] * self.run.mesh.shape["fsdp"]
            if rows % cut:
                raise ConfigError(f"{where}.batch_size={rows} is not a multiple of {cut} devices")

    def __call__(self, variables: Mapping[str, Any]) -> base.Result:
        """Metrics and pictures; corrupt examples are left out, and named at the first call."""
        corrupt: list[Corrupt] = []
        result = base.run(
            self.evaluator,
            self.predict,
            variables,
            self.read(self._rows, corrupt),
            put=self.put,
            columns=self.columns,
        )
        if corrupt and not self._named:
            self._named.extend(corrupt)
            names = "\n".join(f"  {one.where}: {one.reason}" for one in corrupt[:5])
            print(
                f"note: {self.name} leaves out {len(corrupt)} corrupt of {len(self.source)} "
                f"examples, the first ones:\n{names}"
            )
        return result

    @functools.cached_property
    def _named(self) -> list[Corrupt]:
        """Corrupt examples that were reported."""
        return []

    def baseline(self) -> dict[str, float]:
        """{"<baseline>/<evaluation>/<metric>": value}; empty where none is configured."""
        spec = self.options.baseline
        if spec is None:
            return {}
        module, config = configured("mmjax.evaluation", spec, f"{self.name}.baseline")
        rows, images = _pictures(self.source, range(len(self.source)))
        groups = self.source.column("group")[rows]
        found = module.measure(config, images, groups, self._references)
        return {f"{module.NAME}/{self.name}/{metric}": value for metric, value in found.items()}

    def _references(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Training pictures of these groups, and their groups."""
        pictures, owners = [], []
        run = self._trainer(f"{self.name}.baseline")
        for source in run.part(self.options.part).of_the_same_set(self.options.source.name):
            column = source.column("group")
            mine = np.flatnonzero(np.isin(column, groups))
            if mine.size:
                rows, images = _pictures(source, mine)
                pictures.append(images)
                owners.append(column[rows])
        if not pictures:
            raise ConfigError(
                f"{self.name}: the thumbnails baseline compares with training drawings of the "
                "candidates, and there is none: leave `baseline` out"
            )
        return np.concatenate(pictures), np.concatenate(owners)


def _pictures(source: Source, rows: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """(rows that can be read, uint8 [N, H, W, 3])."""
    found = {}
    for row in rows:
        with contextlib.suppress(CorruptExample):
            found[int(row)] = DecodeImage()(source[int(row)])["image"]
    return np.asarray(list(found), int), np.stack(list(found.values()))


def evaluators(run: Run, which: Mapping[str, Evaluation]) -> dict[str, Evaluator]:
    """The evaluations of a config's `validation` or `test`."""
    return {name: Evaluator(name, run, options) for name, options in which.items()}


def evaluate(
    run: Run,
    which: Mapping[str, Evaluator],
    state: State,
    prefix: str = "",
    picture: Picture | None = None,
) -> dict[str, float]:
    """Metrics of all evaluations with the weights that each names.

    Args:
      prefix: "validation/" or "": put before every name.
      picture: takes (name, PIL image).
    """
    metrics: dict[str, float] = {}
    for name, evaluator in which.items():
        params = run.weights(state.params, state.teachers, evaluator.options.weights)
        result = evaluator({"params": params, "state": state.state, "teachers": {}})
        metrics |= {prefix + path: value for path, value in measured(name, result).items()}
        for label, image in result.pictures.items():
            if picture is not None:
                picture(f"{prefix}{name}/{label}", image)
    return metrics


def measured(name: str, result: base.Result) -> dict[str, float]:
    """Metrics of the evaluation `name`, baselines first: "<name>/<metric>" and
    "chance/<name>/<metric>"."""
    out = {}
    for metric, value in result.metrics.items():
        first, _, rest = metric.partition("/")
        out[f"{first}/{name}/{rest}" if first in base.BASELINES else f"{name}/{metric}"] = value
    return out
