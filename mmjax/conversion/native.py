"""mmjax's own format, for every model of it, also for those that were trained here.

* config.json: model_type "mmjax", the name of the model's file, its config; the processor adds its
  own part and a tokenizer.json. model.safetensors: parameters under their paths.
* Half-precision files are only smaller: parameters are float32 in memory unless asked otherwise.
* A file names a model of mmjax.models and nothing else: opening it imports no other code.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from mmjax import config as configs
from mmjax import models, processors, registry, tree
from mmjax.conversion.formats import files
from mmjax.conversion.mapping.table import Entry
from mmjax.processors.base import Processor

MODEL_TYPES = ("mmjax",)
DTYPE = "float32"  # of parameters, where the reader does not say


def config(upstream: Mapping[str, Any]) -> Any:
    """The model's own config.

    Raises:
      CheckpointFileError: no name of a model here. ConfigError: fields that it does not have.
    """
    name = str(upstream.get("model"))
    try:
        module = registry.imported(models.__name__, name, ("Config", "Model"), "config.json: model")
    except configs.ConfigError as error:
        raise files.CheckpointFileError(str(error)) from error
    return configs.build(module.Config, upstream.get("config", {}), where="config.json: config")


def upstream(config: Any) -> dict[str, Any]:
    """The config.json of a model."""
    return {
        "model_type": MODEL_TYPES[0],
        "architectures": None,
        "model": name(config),
        "config": configs.to_dict(config),
    }


def name(config: Any) -> str:
    """The model's file in mmjax.models, or the full path of one from elsewhere."""
    return registry.called(models.__name__, type(config).__module__)


def model(config: Any) -> nn.Module:
    """The model of a config."""
    return importlib.import_module(type(config).__module__).Model(config)


def inputs(config: Any) -> tuple[Any, ...]:
    """What the model is initialised with, as its file says."""
    return importlib.import_module(type(config).__module__).inputs(config)


@functools.lru_cache(maxsize=4)
def table(config: Any) -> list[Entry]:
    """Every parameter, under its own path."""
    made = jax.eval_shape(model(config).init, jax.random.key(0), *inputs(config))["params"]
    return [Entry(path, path) for path in tree.flatten(nn.unbox(made))]


def described(processor: Processor | None) -> dict[str, Any]:
    """What config.json says of the processor that the model was trained behind.

    Raises:
      ConfigError: one that was made of a checkpoint's own files.
    """
    if processor is None:
        return {}
    if not hasattr(processor, "config"):
        raise configs.ConfigError(
            f"{type(processor).__module__} prepares inputs by a checkpoint's own files, which "
            "mmjax's format does not hold: save it in the family that it came in"
        )
    name = registry.called(processors.__name__, type(processor).__module__)
    return {"processor": {"name": name, **configs.to_dict(processor.config)}}


def processor(folder: Path, config: Any) -> Processor | None:
    """What the model was trained behind; None where the folder does not say.

    Raises:
      ConfigError: a kind that is not here, or fields that it does not have.
    """
    fields = files.parsed(folder / "config.json").get("processor")
    if fields is None:
        return None
    where = f"{folder / 'config.json'}: processor"
    name = str(fields.pop("name", ""))
    needs = ("Config", "build")
    module = registry.imported(processors.__name__, name, needs, f"{where}.name")
    return module.build(configs.build(module.Config, fields, where=where), None, folder)
