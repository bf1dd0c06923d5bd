"""What an evaluator and a baseline are.

* A number over a data set is not a mean over batches (retrieval, CIDEr, WER): an evaluator turns a
  batch into rows on the device (`records`) and all rows into numbers on the host (`finish`). The
  loop between them is in gather.py.
* An evaluator is a frozen dataclass whose fields are its part of a config. What a config cannot
  hold (the data, the processor, other processes) is in the `Context` that it is handed.
* Metric names are paths, "image_to_text/r1". What a number must be read against stands under the
  same name in `Result.baselines`, by the name of what measured it: "chance", "majority".

A baseline that is no part of an evaluator is a module of its own:

    NAME = "thumbnail_neighbour"                 which its numbers are written under
    check(config, context) -> None               raises ConfigError where it cannot be measured;
                                                 called before training
    measure(config, context) -> {metric: value}  on the rows that the evaluator sees
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Num

from mmjax.config import Spec
from mmjax.data.source import Example, Source
from mmjax.evaluation.gather import Predict, Rows, gather

# (name of a predict function of the task, row numbers of the source, further fields of their batch)
# -> what it says of these rows, beside the fields; None where the task has no such function
Ask = Callable[[str, Int[np.ndarray, " K"], Mapping[str, np.ndarray]], Rows | None]


class Ratio(NamedTuple):
    """A metric that is a ratio of sums, such as words that are wrong over words that were said."""

    numerator: Num[np.ndarray, " Q"]
    denominator: Num[np.ndarray, " Q"]

    @property
    def value(self) -> float:
        """The sum of the numerators over the sum of the denominators."""
        return float(np.sum(self.numerator) / np.sum(self.denominator))


@dataclasses.dataclass(frozen=True)
class Result:
    """What an evaluation found."""

    metrics: dict[str, float]
    # By the name of what measured them, numbers to read metrics of the same name against.
    baselines: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    # What people see, by name: a PIL image, a clip (uint8 [T, H, W, 3]), a video.Video, an
    # audio.Sound, a text. An image's info["Description"] says what is seen, in words.
    media: dict[str, Any] = dataclasses.field(default_factory=dict)
    # Per-query values behind the metrics ("image_to_text/r1": [Q], or a Ratio), which two systems
    # are compared by (evaluation/measures/bootstrap.py). "index" and "group" say what was asked.
    queries: dict[str, np.ndarray | Ratio] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Context:
    """What an evaluation runs on, made by run/evaluations.py."""

    source: Source  # the data set that is evaluated; each row once
    # () -> training data of the same set; raises ConfigError where there is no run
    training: Callable[[], Sequence[Source]]
    # (index, source=None) -> the raw row of `source`, or of another one, as a person sees it: image
    # uint8 [H, W, 3], text, ...; raises CorruptExample
    decode: Callable[..., Example]
    # raw examples with any of the fields, such as [{"text": "a cat"}] -> a batch's arrays
    encode: Callable[[Sequence[Example]], Mapping[str, np.ndarray]]
    # (arrays, row) -> what people see of a row of a batch
    show: Callable[[Mapping[str, Any], int], Mapping[str, Any]]
    # each row of another data set once, in batches: what a probe is fitted on; None: of `source`
    batches: Callable[[Spec | None], Iterator[Mapping[str, Any]]]
    share: tuple[int, int] = (0, 1)  # which part of a batch this process reads, of how many


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Defaults for everything but `records` and `finish`; subclasses are frozen dataclasses."""

    predict: str = "embed"  # which of the task's predict functions it asks
    # keyword arguments of that function (guidance=3.0, temperature=0.0): numbers, texts or tuples
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rows: int = 0  # so many rows are evaluated, always the same ones; 0: all
    keep: int = 8  # rows whose pictures, clips or sounds are kept to be shown

    @property
    def columns(self) -> tuple[str, ...]:
        """Stored columns of the data that are joined to the rows, where the data has them."""
        return ()

    def check(self, context: Context) -> None:
        """Raises ConfigError where it shows before training that `finish` cannot succeed."""

    def prepare(self, context: Context, collect: Callable[..., Rows]) -> Any:
        """What `records` needs from the weights, once per run (class embeddings); any pytree.

        `collect(records, batches) -> Rows` is `gather` with predict and variables filled in.
        """
        return None

    def records(
        self, predict: Predict, variables: Any, batch: Mapping[str, Any], prepared: Any
    ) -> dict[str, Any]:
        """One batch to arrays with a row for each example, under jit.

        `predict(variables, batch)` has its keys and `arguments`; more keyword arguments may be
        given, so that one evaluation can sweep over them. Large arrays that are only shown go into
        a dict under "media": they are kept for `keep` rows alone.
        """
        raise NotImplementedError

    def finish(self, rows: Rows, context: Context) -> Result:
        """All rows of the data set, in order, to the result.

        rows: what `records` returned, "index", "source" and the columns; "media" is a dict of its
        own with the "index" of its few rows.
        """
        raise NotImplementedError

    def illustrate(self, rows: Rows, context: Context, ask: Ask) -> dict[str, Any]:
        """Media beside those of `finish`, of few rows that another predict function is asked about.

        rows: as in `finish`.
        """
        return {}


def run(
    evaluator: Evaluator,
    predict: Predict,
    variables: Any,
    batches: Iterable[Mapping[str, Any]],
    context: Context,
    *,
    put: Callable[[Any], Any] | None = None,
    seed: int = 0,
    ask: Ask | None = None,
) -> Result:
    """Evaluates `variables` over `batches`, each example once.

    Every process returns the same result.

    Args:
      predict: `task.predict[evaluator.predict]`, always the same object, or it compiles again.
      batches: of `context.source`, with "weight" [B] and "index" [B]; see `gather`.
      put: places a process's own numpy batch on the devices; needed with several processes.
      ask: asks other predict functions of the task; None: nothing more is illustrated.
    """
    collect = functools.partial(
        gather, predict, variables, put=put, seed=seed, arguments=evaluator.arguments
    )
    prepared = evaluator.prepare(context, collect)
    kept = draw(len(context.source), evaluator.keep)
    rows = collect(evaluator.records, batches, prepared=prepared, kept=kept)
    rows = join_columns(rows, evaluator.columns, context.source)
    result = evaluator.finish(rows, context)
    if ask is None:
        return result
    more = evaluator.illustrate(rows, context, ask)
    return dataclasses.replace(result, media={**result.media, **more})


def join_columns(rows: Rows, names: Iterable[str], source: Source) -> Rows:
    """The rows with those stored columns of their source that there are, joined by index."""
    rows = dict(rows)
    for name in names:
        column = source.column(name)
        if column is None or name in rows:
            continue
        if len(np.unique(rows["source"])) > 1:
            raise ValueError(
                f"column {name!r} cannot be joined by index: the batches hold several sources"
            )
        rows[name] = np.asarray(column)[rows["index"]]
    return rows


def draw(count: int, size: int) -> Int[np.ndarray, " N"]:
    """At most `size` of `count` row numbers, always the same; more of them begin with the same."""
    return np.random.default_rng(0).permutation(count)[:size]
