"""The config of a run: every field that a config file may set, its meaning and its default.

* Sub-trees with a `name` (`Spec`) are read by the part that the name finds: a model, a task, a data
  set.
* Fields under `execution` change how fast and where a run goes, never its numbers, and
  `data.max_corrupt_share` only whether it stops; a work directory may be continued with others.
  Everything else is the run's identity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mmjax.config import Spec
from mmjax.layers.adapters import Rule
from mmjax.training import checkpoint, loop, optimizer, sharding


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A question that a split is asked."""

    # the data set, each row of it seen once; "@name": data.train.name with the fields given here
    source: Spec
    evaluator: Spec  # "retrieval", "zero_shot", ...
    baseline: Spec | None = (
        None  # a model without understanding, measured on the same rows: "thumbnails"
    )
    weights: str = "ema"  # "ema", or "raw" for the trained parameters themselves
    batch_size: int = 256  # rows at a time, over all devices


@dataclasses.dataclass(frozen=True)
class Data:
    train: Mapping[str, Spec]  # data sets by name; several are mixed by `weight` (1.0; 0: left out)
    processor: Spec  # "image_text": what turns raw examples into the model's fields
    batch_size: int = 256  # rows of the global batch
    max_corrupt_share: float = 0.05  # more corrupt examples than this among those seen stop the run
    cache_bytes: int = 2_000_000_000  # decoded examples kept in memory, at most


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a run goes, and where."""

    mesh: sharding.Config = sharding.Config()  # how devices are laid out
    threads: int = 2  # that read and transform examples
    workers: int = 0  # processes that do so; 0: threads of this one
    ahead: int = 2  # batches waiting on the device
    compile_cache: bool = True  # keep compiled programs on disk between runs
    tensorboard: bool = True


@dataclasses.dataclass(frozen=True)
class Options:
    data: Data  # what it learns from
    model: Spec  # a module of mmjax.models, or a full import path; `variant` picks a size
    task: Spec  # a module of mmjax.tasks
    # on the model's maps, by path; `optimizer.groups` says what else is trained
    adapters: tuple[Rule, ...] = ()
    name: str = ""  # of the run, for titles; the config file's name if empty
    seed: int = 0  # of parameters, data order and augmentation
    train: loop.Config = loop.Config()  # how long, and how often it looks up
    optimizer: optimizer.Config = optimizer.Config()  # rules by parameter path
    ema: float = 0.0  # decay per step of the averaged weights; 0: none
    checkpoint: checkpoint.Config = checkpoint.Config()  # what is kept
    # where parameters start, if they fit: a work directory, a checkpoint's folder or id; or one by
    # prefix of the model's paths, {"text": "minilm"}; "source#text" is a part of a source
    warm_start: str | Mapping[str, str] = ""
    validation: Mapping[str, Evaluation] = dataclasses.field(
        default_factory=dict
    )  # chooses and draws
    test: Mapping[str, Evaluation] = dataclasses.field(
        default_factory=dict
    )  # computed once, at the end
    execution: Execution = Execution()  # how and where it runs, never its numbers
