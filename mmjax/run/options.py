"""The config of a run: every field that a config file may set, its meaning and its default.

* Sub-trees with a `name` (`Spec`) are read by the part that the name finds: a model, a task, a data
  set.
* Fields under `execution` change how fast and where a run goes, never its numbers, and
  `data.max_corrupt_share` only whether it stops; a work directory may be continued with others.
  Everything else is the run's identity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmjax import config as configs
from mmjax.config import ConfigError, Spec
from mmjax.data.orders import Stage
from mmjax.layers.adapters import Rule
from mmjax.training import checkpoint, loop, optimizer, sharding
from mmjax.typing import Natural, Positive


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One evaluator on one data set, with the baseline that its numbers are read against."""

    # the data set, each row of it seen once; "@name": data.train.name with the fields given here
    source: Spec
    evaluator: Spec  # "retrieval", "zero_shot", ...
    baseline: Spec | None = (
        None  # a model without understanding, measured on the same rows: "thumbnails"
    )
    weights: str = "ema"  # "ema", or "raw" for the trained parameters themselves
    part: str = ""  # of a run with several parts, whose processor and task are asked
    batch_size: Positive = 256  # rows at a time, over all devices


@dataclasses.dataclass(frozen=True)
class Curriculum:
    by: str  # the set's column of numbers that says how hard a row is, low is easy: "difficulty"
    stages: tuple[Stage, ...]  # shares of the rows, the easiest ones, and when the next one begins


@dataclasses.dataclass(frozen=True)
class Data:
    train: Mapping[str, Spec]  # data sets by name; several are mixed by `weight` (1.0; 0: left out)
    processor: Spec  # "image_text": what turns raw examples into the model's fields
    batch_size: Positive = 256  # rows of the global batch
    max_corrupt_share: float = 0.05  # more corrupt examples than this among those seen stop the run
    cache_bytes: int = 2_000_000_000  # decoded examples kept in memory, at most
    # fields that some sets of a mixture lack are left out of all of them; those named here are
    # filled with zeros instead, and "<field>_there" says where they are real
    fill_missing: tuple[str, ...] = ()
    # the easy rows of a set first: by its name in `train`
    curriculum: Mapping[str, Curriculum] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Execution:
    """On which devices and with how many workers a run goes; never its numbers."""

    mesh: sharding.Config = sharding.Config()  # how devices are laid out
    threads: Natural = 2  # that read and transform examples
    workers: Natural = 0  # processes that do so; 0: threads of this one
    ahead: Positive = 2  # batches waiting on the device
    compile_cache: bool = True  # keep compiled programs on disk between runs
    tensorboard: bool = True  # write curves and pictures for TensorBoard as well
    # send them to this project of Weights & Biases, "project" or "entity/project"; "": nowhere
    wandb: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
    model: Spec  # a module of mmjax.models, or a full import path; `variant` picks a size
    task: Spec  # a module of mmjax.tasks; "mixed" is a task of tasks, each with data of its own
    data: Data | None = None  # what it learns from; None: see parts
    # what the tasks of a task of tasks learn from, by their names; each brings rows of its own to
    # every batch. A `processor` of "@name" is that of the part `name`
    parts: Mapping[str, Data] = dataclasses.field(default_factory=dict)
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


def read(config: str, changes: Sequence[str] = ()) -> Options:
    """The options of a config file, "configs/x.py:variant,key=value", with more changes.

    A run that the config does not name is named after the file.

    Raises:
      ConfigError: no file is named, or it cannot be used.
    """
    if not config:
        raise ConfigError(
            "--config is missing: a config file, such as --config=configs/contrastive/clip_emoji.py"
        )
    options = configs.build(Options, configs.load(config, changes, schema=Options))
    return dataclasses.replace(options, name=options.name or stem(config))


def stem(config: str) -> str:
    """The name of a config file: "configs/x.py:smoke,data.path=a/b" -> "x"."""
    return Path(config.partition(".py:")[0]).name.removesuffix(".py")


def workdir_of(config: str, workdir: str = "") -> Path:
    """The folder of a run: `workdir`, or runs/ and the name of the config file."""
    return Path(workdir) if workdir else Path("runs") / stem(config)
