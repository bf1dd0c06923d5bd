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
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mmjax.config import ConfigError, Spec
from mmjax.data.batching import Corrupt
from mmjax.data.source import Example, Source, Subset
from mmjax.evaluation import base
from mmjax.evaluation.gather import Rows, gather
from mmjax.evaluation.measures import bootstrap
from mmjax.run.assembly import Run
from mmjax.run.configured import configured
from mmjax.run.intervals import differences
from mmjax.run.options import Evaluation
from mmjax.run.part import Part, open_source
from mmjax.terminal import printable
from mmjax.training import sharding
from mmjax.training.state import State
from mmjax.transforms.decode import DecodeImage

DECODE = DecodeImage()
SHOWN_CORRUPT = 5  # corrupt examples that are named


@dataclasses.dataclass(frozen=True)
class EvaluationRun:
    """One evaluation of a config, ready to be called with weights."""

    name: str
    run: Run | None  # None: of no run, and no "@name" then
    options: Evaluation

    @property
    def part(self) -> Part:
        """The part of the run whose data and processor the evaluation uses."""
        return self.run.part(self.options.part, f"{self.name}.part")

    @functools.cached_property
    def source(self) -> Source:
        """The data set that is evaluated, cut to the evaluator's `rows` where it limits them."""
        source = self._open(self.options.source, f"{self.name}.source")
        count = self.evaluator.rows
        if 0 < count < len(source):
            source = Subset(source, base.draw(len(source), count))
        return source

    def _open(self, spec: Spec, where: str) -> Source:
        if spec.name.startswith("@"):  # a training set's other split
            if self.run is None:
                raise ConfigError(f"{where}.name={spec.name!r}: there is no run to look it up in")
            spec = self.part.variation(spec.name[1:], spec.options, f"{where}.name")
        return open_source(spec, where)

    @functools.cached_property
    def evaluator(self) -> base.Evaluator:
        spec = self.options.evaluator
        _, config = configured("mmjax.evaluation", spec, f"{self.name}.evaluator")
        if not isinstance(config, base.Evaluator):
            raise ConfigError(f"{self.name}.evaluator.name: {spec.name!r} is no evaluator")
        return config

    @functools.cached_property
    def context(self) -> base.Context:
        """What the evaluator and the baseline need and no config can hold."""
        return base.Context(
            source=self.source,
            training=self.training,
            decode=self.decode,
            encode=self.encode,
            show=self.show,
            batches=self._batches,
            share=self.share,
        )

    def training(self) -> list[Source]:
        """The training data of the set that is evaluated. Raises ConfigError without a run."""
        if self.run is None:
            raise ConfigError("there is no run whose training data could be looked up")
        return self.part.of_the_same_set(self.options.source.name)

    def decode(self, index: int, source: Source | None = None) -> Example:
        """A raw row whose image is decoded, or all of several, so that it can be drawn."""
        example = (self.source if source is None else source)[index]
        pictures = example.get("image")
        if isinstance(pictures, list | tuple):
            decoded = tuple(DECODE({"image": picture})["image"] for picture in pictures)
            return {**example, "image": decoded}
        return DECODE(example) if "image" in example else example

    def encode(self, examples: Sequence[Example]) -> Mapping[str, np.ndarray]:
        """Raw examples, with any of the fields, as the model sees them."""
        return self.part.processor.encode(examples)

    def show(self, arrays: Mapping[str, Any], row: int) -> Mapping[str, Any]:
        """What people see of a row of a batch."""
        return self.part.processor.show(arrays, row)

    @functools.cached_property
    def share(self) -> tuple[int, int]:
        """Which part of a batch this process reads, of how many."""
        return sharding.part_of_batch(self.run.mesh)

    def put(self, batch: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        """A process's own rows on its devices."""
        return self.run.put(batch)

    def _batches(self, spec: Spec | None) -> Iterator[Mapping[str, np.ndarray]]:
        """All rows of another data set, each once: what a probe is fitted on; None: of this one."""
        if spec is None:
            return self.read(self._pipeline, [])
        return self.read(self.pipeline(self._open(spec, f"{self.name}.evaluator")), [])

    @functools.cached_property
    def _pipeline(self) -> Any:
        return self.pipeline(self.source)

    def pipeline(self, source: Source) -> Any:
        """Batches of each row of `source`, once, by the evaluation transforms of the processor."""
        return self.part.evaluation_pipeline(source, self.options.batch_size)

    def read(self, pipeline: Any, corrupt: list[Corrupt]) -> Iterator[Mapping[str, np.ndarray]]:
        """Batches that hold each row of a pipeline once; those that are bad go to `corrupt`."""
        with self.run.batches(pipeline, 0, pipeline.plan.steps) as batches:
            for batch in batches:
                corrupt.extend(batch.corrupt)
                yield batch.arrays

    @functools.cached_property
    def predict(self) -> Callable[..., Any]:
        """The task's function that the evaluator asks."""
        known = self.run.task.predict
        wanted = self.evaluator.predict
        if wanted not in known:
            raise ConfigError(
                f"{self.name}: the task predicts {', '.join(known) or 'nothing'}, not {wanted!r}"
            )
        return known[wanted]

    @functools.cached_property
    def _baseline(self) -> tuple[Any, Any] | None:
        """The baseline's module and its config."""
        spec = self.options.baseline
        if spec is None:
            return None
        module, config = configured("mmjax.evaluation", spec, f"{self.name}.baseline")
        if not hasattr(module, "measure"):
            raise ConfigError(f"{self.name}.baseline.name: {spec.name!r} measures no baseline")
        return module, config

    def check(self, where: str) -> None:
        """Finds before any training what would stop the evaluation after it.

        Args:
          where: the config's path, for messages.

        Raises:
          ConfigError, DataError: it cannot be done.
        """
        with located(where):
            _check_arguments(self.predict, self.evaluator)
        self.check_data(where)
        rows = self.options.batch_size
        cut = self.run.mesh.shape["data"] * self.run.mesh.shape["fsdp"]
        if rows % cut:
            raise ConfigError(f"{where}.batch_size={rows} is not a multiple of {cut} devices")

    def check_data(self, where: str) -> None:
        """The part of `check` that asks the data alone."""
        context = self.context
        with located(where):
            self.evaluator.check(context)
        if self._baseline is not None:
            module, config = self._baseline
            with located(f"{where}.baseline"):
                module.check(config, context)

    def __call__(self, variables: Mapping[str, Any]) -> base.Result:
        """Metrics and media; corrupt examples are left out, and named at the first call."""
        corrupt: list[Corrupt] = []
        result = base.run(
            self.evaluator,
            self.predict,
            variables,
            self.read(self._pipeline, corrupt),
            self.context,
            put=self.put,
            ask=functools.partial(self.ask, variables),
        )
        if corrupt and not self._named:
            self._named.extend(corrupt)
            first = [printable(f"{row.where}: {row.reason}") for row in corrupt[:SHOWN_CORRUPT]]
            names = "\n".join(f"  {row}" for row in first)
            print(
                f"note: {self.name} leaves out {len(corrupt)} corrupt of {len(self.source)} "
                f"examples, the first ones:\n{names}"
            )
        return result

    def ask(
        self,
        variables: Mapping[str, Any],
        name: str,
        numbers: Int[np.ndarray, " K"],
        fields: Mapping[str, np.ndarray],
    ) -> Rows | None:
        """What another predict function of the task says of some rows, beside their fields.

        Args:
          numbers: of the rows in `source`; those that cannot be used are left out.
          fields: of these rows, beside those that the processor makes.
        """
        known = {} if self.run is None else self.run.task.predict
        if name not in known or not len(numbers):
            return None
        cut = self.run.mesh.shape["data"] * self.run.mesh.shape["fsdp"]
        size = -(-len(numbers) // cut) * cut
        pipeline = self.part.evaluation_pipeline(Subset(self.source, numbers), size)
        batches = (
            {**batch, **{field: values[batch["index"]] for field, values in fields.items()}}
            for batch in self.read(pipeline, [])
        )
        rows = gather(known[name], variables, _whole, batches, put=self.put)
        return {**rows, "index": numbers[rows["index"]]}

    @functools.cached_property
    def _named(self) -> list[Corrupt]:
        """Corrupt examples that were reported."""
        return []

    def baseline(self) -> dict[str, float]:
        """{"<baseline>/<evaluation>/<metric>": value}; empty where none is configured."""
        if self._baseline is None:
            return {}
        measured = self._measured
        name = self._baseline[0].NAME
        return {f"{name}/{self.name}/{metric}": value for metric, value in measured.metrics.items()}

    @functools.cached_property
    def _measured(self) -> base.Result:
        """What the baseline answered, with the values of every query where it says them."""
        module, config = self._baseline
        with located(f"{self.name}.baseline"):
            measured = module.measure(config, self.context)
        return measured if isinstance(measured, base.Result) else base.Result(dict(measured))

    def above_baseline(self, result: base.Result) -> dict[str, bootstrap.Interval]:
        """By how much a result is above the baseline, paired by query, with its 95% interval:
        {"<evaluation>/<metric>": interval}; empty where the baseline does not say its queries."""
        if self._baseline is None:
            return {}
        return {
            f"{self.name}/{metric}": interval
            for metric, interval in differences(self.source, result, self._measured).items()
        }


def build_evaluations(run: Run, which: Mapping[str, Evaluation]) -> dict[str, EvaluationRun]:
    """The evaluations of a config's `validation` or `test`."""
    return {name: EvaluationRun(name, run, options) for name, options in which.items()}


def evaluate(
    run: Run,
    which: Mapping[str, EvaluationRun],
    state: State,
    prefix: str = "",
    show: Callable[[str, Any], None] | None = None,
    examine: Callable[[str, base.Result], None] | None = None,
) -> dict[str, float]:
    """Metrics of all evaluations with the weights that each names.

    Args:
      prefix: "validation/" or "": put before every name.
      show: takes (name, a picture, clip or sound).
      examine: takes (name of an evaluation, its whole result with the values of every query).
    """
    metrics: dict[str, float] = {}
    for name, evaluation in which.items():
        params = run.weights(state.params, state.teachers, evaluation.options.weights)
        result = evaluation({**state.variables, "params": params})
        metrics |= {prefix + path: value for path, value in named(name, result).items()}
        if examine is not None:
            examine(name, result)
        for label, medium in result.media.items():
            if show is not None:
                show(f"{prefix}{name}/{label}", medium)
    return metrics


def named(name: str, result: base.Result) -> dict[str, float]:
    """The numbers of the evaluation `name`: "<name>/<metric>" and "<baseline>/<name>/<metric>".

    Chance stands beside its number, other baselines behind all of them.
    """
    numbers: dict[str, float] = {}
    chance = result.baselines.get("chance", {})
    for metric, value in result.metrics.items():
        numbers[f"{name}/{metric}"] = value
        if metric in chance:
            numbers[f"chance/{name}/{metric}"] = chance[metric]
    for baseline, values in result.baselines.items():
        for metric, value in values.items():
            numbers[f"{baseline}/{name}/{metric}"] = value
    return numbers


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Puts the config's path before the message of an error in an evaluator or a baseline."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _whole(predict: Callable, variables: Any, batch: Mapping[str, Any], prepared: Any) -> dict:
    """A batch's fields, and what predict says of its rows in the place of those of its names."""
    return {**batch, **predict(variables, batch)}


def _check_arguments(predict: Callable[..., Any], evaluator: base.Evaluator) -> None:
    """Raises ConfigError where predict does not take the evaluator's arguments."""
    parameters = inspect.signature(predict).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    known = list(parameters)[3:]  # after variables, batch and keys
    for name in evaluator.arguments:
        if name not in known:
            raise ConfigError(
                f"evaluator.arguments.{name}: predict {evaluator.predict!r} takes "
                f"{', '.join(known) or 'none'}"
            )
