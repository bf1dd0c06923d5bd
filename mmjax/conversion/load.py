"""A folder of the hub -> model, parameters and processor; and back.

* The family is the file of this room that takes the `model_type` of config.json: families.py, which
  also says what such a file has. Which files of a folder are read: formats/hub.py.
* Everything is compared by name and shape before a byte of it is read; then each device reads its
  own slices of the mapped file.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax import config as configs
from mmjax import tree
from mmjax.conversion import families
from mmjax.conversion.families import Family
from mmjax.conversion.formats import files, hub, msgpack
from mmjax.conversion.formats.files import CheckpointFileError
from mmjax.conversion.formats.hub import CONFIG, CTRANSLATE2, OPEN_CLIP
from mmjax.conversion.mapping import resize, table
from mmjax.errors import UserError
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor
from mmjax.processors.inference import Inference

GENERATION = "generation_config.json"  # how the reference decodes; kept for every family


@dataclasses.dataclass(frozen=True, repr=False)
class Loaded(Inference):
    """A checkpoint in memory; what it can be asked: processors/inference.py."""

    family: str  # "clip": the file of mmjax.conversion that reads and writes it
    model: nn.Module
    params: Mapping[str, Any]  # nested dicts of jax arrays
    processor: Any  # prepares its inputs; None where the folder has no file for one
    config: Any  # of the model, a frozen dataclass
    generation: bytes | None = None  # generation_config.json as it was read; None: there was none

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params}


def load(
    path: str | Path,
    dtype: Any = None,
    shardings: Callable[[Any], Mapping[str, Any]] | None = None,
    image_size: int | None = None,
) -> Loaded:
    """A checkpoint from a folder, or by its id from the hub.

    Args:
      path: a folder; a .safetensors file with its config.json beside it; or "owner/name", or
        "owner/name@revision".
      dtype: of the parameters; None: as in the file, float32 in mmjax's own format. "float32" and
        "bfloat16" are then what matmuls are computed in, too: the `dtype` of the config.
      shardings: from the tree of parameter shapes, boxed with the names of their axes, where each
        lies; None: on the default device.
      image_size: pixels along each edge of the pictures that the model is to see, its positions
        resized; None: as it was trained.

    Raises:
      ConfigError: an image_size that the model cannot have.
      FileNotFoundError: neither a folder nor on the hub.
      CheckpointFileError: no weights, a pickle, a broken file, a family that is not here, tensors
        that are not finite.
      CheckpointMismatch: every missing, extra and misshapen tensor.
      Unsupported: a config.json that asks for mathematics that is not here.
    """
    path = Path(path).expanduser()
    if path.suffix in hub.PICKLES:
        raise hub.refusal(path.parent, [path.name])
    if not path.exists():
        path = hub.fetch(str(path))
    folder = path if path.is_dir() else path.parent
    names = [path.name] if path.is_file() else [file.name for file in folder.iterdir()]

    family, upstream, tensors = _opened(folder, names)
    config = _config(family, upstream, folder)
    if dtype is not None:
        config = computed_in(config, jnp.dtype(dtype).name)
    stored = config
    rows = family.table(config)
    if image_size is not None:
        config = resize.config(stored, image_size, rows)
    model = family.model(config)
    boxed = jax.eval_shape(model.init, jax.random.key(0), *family.inputs(config))["params"]
    shapes = tree.flatten(nn.unbox(boxed))
    tensors = _renamed(tensors, family.rename)
    if image_size is not None:
        tensors = resize.tensors(tensors, rows, stored, config)

    _name_what_is_left_out(family, rows, tensors, folder)
    unused = re.compile(f"{family.ignored}|{family.left_out}")
    try:
        table.check(rows, tensors, shapes, lambda name: bool(unused.fullmatch(name)))
    except table.CheckpointMismatch as error:
        raise table.CheckpointMismatch(
            f"{folder} is no {family.name} checkpoint of the sizes in its config: model_type = "
            f"{upstream.get('model_type')!r}, architectures = {upstream.get('architectures')}, so "
            f"it was read as mmjax.conversion.{family.name}\n{error}"
        ) from error

    placements = tree.flatten(shardings(boxed)) if shardings else None
    dtype = family.dtype if dtype is None else dtype
    try:
        params = table.read(rows, tensors, shapes, placements, dtype)
    except CheckpointFileError as error:
        raise CheckpointFileError(f"{folder}: {error}") from error
    processor = family.processor(folder, config)
    if image_size is not None and processor is not None:
        processor = processor.resized(image_size)
    generation = folder / GENERATION
    kept = generation.read_bytes() if generation.is_file() else None
    return Loaded(family.name, model, params, processor, config, kept)


def computed_in(config: Any, dtype: str) -> Any:
    """A config whose matmuls are computed in `dtype`, in all of its parts; unchanged where that is
    a type that files alone have ("float16")."""
    if dtype not in ("float32", "bfloat16"):
        return config
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = computed_in(value, dtype)
        elif field.name == "dtype":
            changes[field.name] = dtype
    return dataclasses.replace(config, **changes)


def save(loaded: Loaded, folder: str | Path) -> None:
    """Writes config, weights and processor as the reference keeps them; it opens what is written.

    Parameters keep their type: a checkpoint that was read in bfloat16 is written in bfloat16.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    family = families.named(loaded.family)
    config = {**family.upstream(loaded.config), **family.described(loaded.processor)}
    tensors = {
        family.saved(name, loaded.config): tensor
        for name, tensor in table.write(family.table(loaded.config), loaded.params).items()
    }
    if family.config_file == CONFIG and family.weights is None:  # of transformers
        dtypes = {str(tensor.dtype) for tensor in tensors.values()}
        config = {**config, "dtype": dtypes.pop() if len(dtypes) == 1 else "float32"}
    text = json.dumps(config, indent=2) + "\n"
    (folder / family.config_file).write_text(text, encoding="utf-8")
    files.save(folder / family.weights_file, tensors)
    if loaded.generation is not None:
        (folder / GENERATION).write_bytes(loaded.generation)
    # after it: a processor that decodes by these settings writes its own
    if hasattr(loaded.processor, "save"):
        loaded.processor.save(folder)


def _config(family: Family, upstream: dict, folder: Path) -> Any:
    """The model's config, every field of it of its type and in its range.

    Raises:
      CheckpointFileError: what config.json says cannot be a model's.
    """
    try:
        config = family.config(upstream)
        return configs.build(type(config), configs.to_dict(config), where="the model's config")
    except UserError as error:
        raise type(error)(f"{folder / family.config_file}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # whatever a value of the wrong kind or size does where it is first computed with
        raise CheckpointFileError(
            f"{folder / family.config_file} says nothing that a {family.name} can be made of: "
            f"{type(error).__name__}: {error}"
        ) from error


def _opened(folder: Path, names: list[str]) -> tuple[Family, dict, dict]:
    """The family, the parsed config and the named tensors of a folder."""
    if len(names) == 1 and names[0].endswith(".safetensors"):
        read = [CONFIG if (folder / CONFIG).exists() else OPEN_CLIP, names[0]]
    else:
        read = hub.weights(names)
    files.fetched(
        folder, [*(read or hub.needed(names)), *checkpoint_processor.KEPT, GENERATION]
    )
    if not read:
        return _foreign(folder, names)

    config_file, weights_file, *_ = read
    config = files.parsed(folder / config_file)
    if config_file == OPEN_CLIP:
        family = families.named("open_clip")
    else:
        family = families.reads(config, str(folder / CONFIG))
    if ".msgpack" in weights_file:
        tensors = msgpack.tensors(folder / weights_file)
    elif weights_file.endswith(".json"):
        tensors = files.sharded(folder / weights_file)
    else:
        tensors = files.safetensors(folder / weights_file)
    return family, config, tensors


def _foreign(folder: Path, names: list[str]) -> tuple[Family, dict, dict]:
    """Of CTranslate2's file, by the family that knows it."""
    if CTRANSLATE2 in names:
        for family in {one.name: one for one in families.every().values()}.values():
            opened = family.foreign(folder)
            if opened is not None:
                return family, *opened
    raise hub.refusal(folder, names)


def _renamed(tensors: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """By the names of the table; a second tensor of one name keeps its own, and is then extra."""
    renamed: dict[str, Any] = {}
    for name, tensor in tensors.items():
        new = rename(name)
        renamed[name if new in renamed else new] = tensor
    return renamed


def _name_what_is_left_out(
    family: Family, rows: Any, tensors: Mapping[str, Any], folder: Path
) -> None:
    """Prints the tensors of heads that the model has not."""
    used = {name for row in rows for name in row.names}
    heads = [
        name
        for name in tensors
        if re.fullmatch(family.left_out, name)
        and name not in used
        and not re.fullmatch(family.ignored, name)
    ]
    if heads:
        print(f"note: {folder}: left out, heads that are not here: {', '.join(heads)}", flush=True)
