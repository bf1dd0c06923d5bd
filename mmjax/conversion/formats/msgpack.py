"""`flax_model.msgpack`: what the Flax models of `transformers` saved, under the names of torch.

* Flax's own serialisation: nested names, arrays as msgpack extensions. It holds arrays and numbers
  only, nothing that runs.
* The Flax models were ports, so one rule brings their names and layouts to those of the
  safetensors file of the same model: a kernel [in, out] is a weight [out, in], a convolution's
  [*k, in, out] a weight [out, in, *k], a norm's scale and an embedding are weights.
* Large ones come in several files with an index.

The format: https://flax.readthedocs.io/en/latest/api_reference/flax.serialization.html
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import einops
import numpy as np
from flax import serialization

from mmjax import tree
from mmjax.conversion.formats import files

LAYOUTS = {1: "D -> D", 2: "I O -> O I", 3: "K I O -> O I K", 4: "H W I O -> O I H W"}


def tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Torch's names -> arrays in torch's layout, of a file or of all that an index names.

    Raises:
      CheckpointFileError: a file that is cut off or is not Flax's; an index that points elsewhere.
    """
    path = Path(path)
    if path.suffix != ".json":
        flat = _flat(path)
    else:
        where = files.parsed(path).get("weight_map")
        if not isinstance(where, dict):
            raise files.CheckpointFileError(f"{path} has no weight_map: it is no index")
        flat = {}
        for name in dict.fromkeys(where.values()):
            if Path(name).name != name:
                raise files.CheckpointFileError(f"{path} names {name!r}, outside its folder")
            flat.update(_flat(path.parent / name))
        lost = sorted(set(where) - set(flat))
        if lost:
            raise files.CheckpointFileError(f"{path}: in no file: {', '.join(lost)}")
    return {torch_name(name): torch_layout(name, array) for name, array in flat.items()}


def torch_name(name: str) -> str:
    """ "encoder/layers/0/fc1/kernel" -> "encoder.layers.0.fc1.weight"."""
    *parents, last = name.split("/")
    if last in ("kernel", "scale", "embedding"):
        last = "weight"
    elif last in ("mean", "var"):  # batch statistics
        last = f"running_{last}"
    return ".".join([*parents, last])


def torch_layout(name: str, array: np.ndarray) -> np.ndarray:
    """A view of the array with the axes in torch's order."""
    return einops.rearrange(array, LAYOUTS[array.ndim]) if name.endswith("/kernel") else array


def _flat(path: Path) -> dict[str, np.ndarray]:
    try:
        found = serialization.msgpack_restore(path.read_bytes())
    except FileNotFoundError:
        raise
    except Exception as error:  # msgpack raises ValueErrors and its own kinds for a broken file
        raise files.CheckpointFileError(
            f"{path} is cut off or no Flax file: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Mapping):
        raise files.CheckpointFileError(f"{path} holds {type(found).__name__}, not parameters")
    if set(found) == {"params", "batch_stats"}:  # of models with batch norm
        found = _merged(found["params"], found["batch_stats"])
    flat = tree.flatten(found)
    # some heads were wrapped twice: "params/params/..."
    return {_unwrapped(name): np.asarray(array) for name, array in flat.items()}


def _unwrapped(name: str) -> str:
    while name.startswith("params/"):
        name = name.removeprefix("params/")
    return name


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return tree.unflatten({**tree.flatten(first), **tree.flatten(second)})
