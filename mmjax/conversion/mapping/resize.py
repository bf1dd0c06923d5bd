"""A checkpoint for pictures of another size than it was trained on.

* Learned positions are resized to the new grid, bicubic, as the references do
  (layers/positions.py); learned tokens before them stay as they are.
* The tensors of the file are resized before they are read, so that each device still reads its own
  part, and what is saved is a checkpoint of the new size.

Letters: L positions of the file, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.conversion.mapping.table import Entry
from mmjax.layers import positions
from mmjax.models import resnet, vit
from mmjax.typing import Float

Tower = vit.Config | resnet.Config


def config(config: Any, size: int, rows: Sequence[Entry]) -> Any:
    """The config of a model, its image towers built for pictures of `size` pixels along each edge.

    Args:
      rows: of the family's table.

    Raises:
      ConfigError: a size that is none, a model without pictures, one that takes them of any size.
    """
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f"image_size={size!r} is no number of pixels along an edge")
    paths = [path for path, _ in _towers(config) if _entry(rows, path) is not None]
    if not paths:
        raise ConfigError("image_size: the model has no positions of patches of pictures")
    for path in paths:
        config = _with(config, path, size)
    return config


def tensors(
    tensors: Mapping[str, np.ndarray], rows: Sequence[Entry], stored: Any, wanted: Any
) -> dict[str, np.ndarray]:
    """The tensors of a file with its positions resized, from one config's grid to another's."""
    out = dict(tensors)
    new = dict(_towers(wanted))
    for path, tower in _towers(stored):
        entry = _entry(rows, path)
        if entry is None or entry.name not in out:  # what is missing is said later, by its name
            continue
        table = entry.ours(out[entry.name])
        out[entry.name] = entry.theirs([_resized(table, tower, new[path])])
    return out


def _towers(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tower]]:
    """The image towers of a config, each with the names of the fields that lead to it."""
    if isinstance(config, Tower):
        yield path, config
        return
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _towers(value, (*path, field.name))


def _entry(rows: Sequence[Entry], path: tuple[str, ...]) -> Entry | None:
    """Of a tower's positions; None where the model does not have this tower."""
    wanted = "/".join((*path[-1:], "positions"))
    return next((row for row in rows if row.path == wanted), None)


def _with(config: Any, path: tuple[str, ...], size: int) -> Any:
    """The config with a tower of another size."""
    if path:
        inner = _with(getattr(config, path[0]), path[1:], size)
        return dataclasses.replace(config, **{path[0]: inner})
    if getattr(config, "native_aspect", False):
        raise ConfigError(
            "image_size: the model takes pictures of any shape as they are; how many patches it "
            "sees is the processor's affair"
        )
    wanted = dataclasses.replace(config, image_size=size)
    edge = 1 if isinstance(config, vit.Config) else 2 ** (len(config.stages) + 1)
    if wanted.grid < 1 or size % edge:
        raise ConfigError(
            f"image_size={size} is less than one patch of {config.patch_size} pixels"
            if edge == 1
            else f"image_size={size} is no multiple of {edge}"
        )
    return wanted


def _resized(table: Float[np.ndarray, "L D"], old: Tower, new: Tower) -> np.ndarray:
    """A tower's table of positions for another grid."""
    first = old.learned_tokens if isinstance(old, vit.Config) else 1  # a ResNet's mean comes first
    grid = jnp.asarray(table[first:], jnp.float32).reshape(old.grid, old.grid, -1)
    patches = np.asarray(positions.bicubic(grid, new.grid, new.grid))
    return np.concatenate([table[:first], patches.astype(table.dtype)])
