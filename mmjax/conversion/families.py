"""A family of checkpoints: what its file in this room says, and which file reads which config.json.

Every file of this room with MODEL_TYPES is a family. What it has, in upper case for constants:

* MODEL_TYPES: the `model_type`s of config.json that it takes, or of diffusers the `_class_name`s.
* config(upstream) -> the model's config, from a parsed config.json; raises Unsupported where that
  asks for mathematics that is not here. upstream(config) is the way back.
* model(config) -> the module. inputs(config) -> what `init` is called with (arrays or shapes).
* table(config) -> one Entry for each parameter: mapping/table.py.

And, where it needs them:

* rename(name): names of a file -> those of the table. saved(name, config): the way back.
* IGNORED: a regular expression of tensors that a file may hold and that mean nothing.
* LEFT_OUT: one of tensors that mean something which is not here; they are named to the user.
* processor(folder, config): what prepares the inputs; else processors/checkpoints/checkpoint.py.
* foreign(folder): config.json and tensors of a `model.bin` of CTranslate2, or None.
* described(processor): what config.json says of the processor, where it says so.
* DTYPE: of parameters whose reader does not choose one; else as in the file.
* CONFIG: the name of its config file, where that is not config.json; the weights' follows.
* WEIGHTS: the name of the weights' file, where it does not follow.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn

from mmjax import conversion
from mmjax.conversion.formats.files import CheckpointFileError
from mmjax.conversion.formats.hub import CONFIG
from mmjax.conversion.mapping.table import Entry
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor


def _hub_processor(folder: Path, config: Any) -> checkpoint_processor.Processor | None:
    return checkpoint_processor.load(folder)


@dataclasses.dataclass(frozen=True)
class Family:
    """What a family's file says, defaults filled in; what each part does is written above."""

    name: str  # "clip": the file mmjax/conversion/clip.py
    config: Callable[[Mapping[str, Any]], Any]
    upstream: Callable[[Any], dict[str, Any]]
    model: Callable[[Any], nn.Module]
    inputs: Callable[[Any], tuple[Any, ...]]
    table: Callable[[Any], Sequence[Entry]]
    rename: Callable[[str], str] = lambda name: name
    saved: Callable[[str, Any], str] = lambda name, config: name
    ignored: str = ""
    left_out: str = ""
    processor: Callable[[Path, Any], Any] = _hub_processor
    foreign: Callable[[Path], tuple[dict, dict] | None] = lambda folder: None
    described: Callable[[Any], dict[str, Any]] = lambda processor: {}
    dtype: str | None = None
    config_file: str = CONFIG
    weights: str | None = None

    @property
    def weights_file(self) -> str:
        """The name under which weights are written."""
        if self.weights is not None:
            return self.weights
        return self.config_file.replace("config.json", "model.safetensors")


# Fields of Family -> names in a family's file that may be absent.
OPTIONAL = {
    "rename": "rename", "saved": "saved", "ignored": "IGNORED", "left_out": "LEFT_OUT",
    "processor": "processor", "foreign": "foreign", "dtype": "DTYPE", "config_file": "CONFIG",
    "weights": "WEIGHTS", "described": "described",
}  # fmt: skip


def named(name: str) -> Family:
    """The family of a file of this room."""
    return _of(importlib.import_module(f"{conversion.__name__}.{name}"))


def _of(module: ModuleType) -> Family:
    optional = {
        field: getattr(module, attribute)
        for field, attribute in OPTIONAL.items()
        if hasattr(module, attribute)
    }
    return Family(
        name=module.__name__.rpartition(".")[2],
        config=module.config,
        upstream=module.upstream,
        model=module.model,
        inputs=module.inputs,
        table=module.table,
        **optional,
    )


def every() -> dict[str, Family]:
    """model_type -> the family that takes it."""
    families = {}
    for file in pkgutil.iter_modules(conversion.__path__):
        module = importlib.import_module(f"{conversion.__name__}.{file.name}")
        for model_type in getattr(module, "MODEL_TYPES", ()):
            families[model_type] = _of(module)
    return families


def reads(config: Mapping[str, Any], where: str = CONFIG) -> Family:
    """The family that reads checkpoints with this config.json.

    Raises:
      CheckpointFileError: no file takes its model_type; lists those that are taken.
    """
    model_type = config.get("model_type") or config.get("_class_name", "")
    family = _called(model_type)
    if family is not None:
        return family
    families = every()
    if not model_type:  # the first releases wrote none, but the name of a class
        architecture = " ".join(config.get("architectures") or ()).lower()
        longest_first = sorted(families, key=len, reverse=True)
        starts = (one for one in longest_first if architecture.startswith(one))
        model_type = next(starts, "")
    if model_type not in families:
        raise CheckpointFileError(
            f"{where}: model_type = {model_type!r}, architectures = "
            f"{config.get('architectures')}: no family here takes it. Taken are: "
            f"{', '.join(sorted(families))}"
        )
    return families[model_type]


def _called(model_type: str) -> Family | None:
    """The family whose file is called as the type that it takes: the others are not imported."""
    if not re.fullmatch(r"[a-z0-9_]+", model_type):
        return None
    path = f"{conversion.__name__}.{model_type}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:  # something that the file itself imports is missing
            raise
        return None
    return _of(module) if model_type in getattr(module, "MODEL_TYPES", ()) else None
