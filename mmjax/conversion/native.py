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
from mmjax import models, registry, tree
from mmjax.conversion import files
from mmjax.conversion.table import Entry
from mmjax.processors import trained as trained_processor

MODEL_TYPES = ("mmjax",)
DTYPE = "float32"  # of parameters, where the reader does not say


def config(upstream: Mapping[str, Any]) -> Any:
    """The model's own config.

    Raises:
      CheckpointFileError: no name of a model here. ConfigError: fields that it does not have.
    """
    name = upstream.get("model")
    if name not in registry.names(models.__name__):
        raise files.CheckpointFileError(
            f"config.json: model = {name!r} is none of mmjax.models: "
            f"{', '.join(registry.names(models.__name__))}"
        )
    module = importlib.import_module(f"{models.__name__}.{name}")
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
    """The model's file in mmjax.models, from its config.

    Raises:
      ValueError: a model from elsewhere.
    """
    module = type(config).__module__
    room, _, name = module.rpartition(".")
    if room != models.__name__:
        raise ValueError(
            f"{module} is none of mmjax.models, which alone have this format: "
            f"{', '.join(registry.names(models.__name__))}"
        )
    return name


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


def processor(folder: Path, config: Any) -> trained_processor.Processor | None:
    """What the model was trained behind; None where the folder does not say."""
    return trained_processor.load(folder)
