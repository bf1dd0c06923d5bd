"""A folder of the hub -> model, parameters and processor; and back.

* The family is the file of this room that takes the `model_type` of config.json. Which file of
  weights is read: safetensors (one, or several with an index), else Flax's msgpack, else a format
  of one family (CTranslate2). Pickles are refused: opening one runs the code it holds.
* Everything is compared by name and shape before a byte of it is read; then each device reads its
  own slices of the mapped file.
* What an `mmjax` family file has: MODEL_TYPES, config, upstream, model, inputs, table; and, where
  needed, rename (names of a file -> the table's), saved (the way back), IGNORED (tensors that mean
  nothing), LEFT_OUT (heads of a task that is not here; they are named), processor,
  foreign, DTYPE (of parameters that nobody chose).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax

from mmjax import conversion, tree
from mmjax.conversion import files, msgpack, table
from mmjax.processors import checkpoint as checkpoint_processor

CONFIG = "config.json"
OPEN_CLIP = "open_clip_config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5")
# Of a hub's repository, what may be needed beside the weights.
SMALL = ("*.json", "*.txt", "*.model", "*.jinja")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory."""

    family: str  # "clip": the file of mmjax.conversion that reads and writes it
    model: nn.Module
    params: Mapping[str, Any]  # nested dicts of jax arrays
    processor: Any  # prepares its inputs; None where the folder has no file for one
    config: Any  # of the model, a frozen dataclass

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params}


def families() -> dict[str, ModuleType]:
    """model_type -> the file that takes it."""
    found = {}
    for one in pkgutil.iter_modules(conversion.__path__):
        module = importlib.import_module(f"{conversion.__name__}.{one.name}")
        for kind in getattr(module, "MODEL_TYPES", ()):
            found[kind] = module
    return found


def family(config: Mapping[str, Any], where: str = CONFIG) -> ModuleType:
    """The file that reads checkpoints with this config.json.

    Raises:
      CheckpointFileError: no file takes its model_type; lists those that are taken.
    """
    kind = config.get("model_type", "")
    if re.fullmatch(r"[a-z0-9_]+", kind):  # most files are called as the type they take
        try:
            module = importlib.import_module(f"{conversion.__name__}.{kind}")
        except ModuleNotFoundError as error:
            if error.name != f"{conversion.__name__}.{kind}":
                raise
        else:
            if kind in getattr(module, "MODEL_TYPES", ()):
                return module
    known = families()
    if not kind:  # the first releases wrote none
        names = " ".join(config.get("architectures") or ()).lower()
        kind = next((one for one in sorted(known, key=len)[::-1] if names.startswith(one)), "")
    if kind not in known:
        raise files.CheckpointFileError(
            f"{where}: model_type = {config.get('model_type')!r}, architectures = "
            f"{config.get('architectures')}: no family here takes it. Taken are: "
            f"{', '.join(sorted(known))}"
        )
    return known[kind]


def load(
    path: str | Path,
    dtype: Any = None,
    shardings: Callable[[Any], Mapping[str, Any]] | None = None,
) -> Loaded:
    """A checkpoint from a folder, or by its id from the hub.

    Args:
      path: a folder; a .safetensors file with its config.json beside it; or "owner/name", or
        "owner/name@revision".
      dtype: of the parameters; None: as in the file, float32 in mmjax's own format. What is
        computed in is the config's `dtype`.
      shardings: from the tree of parameter shapes, boxed with the names of their axes, where each
        lies; None: on the default device.

    Raises:
      FileNotFoundError: neither a folder nor on the hub.
      CheckpointFileError: no weights, a pickle, a broken file, a family that is not here.
      CheckpointMismatch: every missing, extra and misshapen tensor.
      Unsupported: a config.json that asks for mathematics that is not here.
    """
    path = Path(path).expanduser()
    if path.suffix in PICKLES:
        raise _refused(path.parent, [path.name])
    if not path.exists():
        path = fetch(str(path))
    folder = path if path.is_dir() else path.parent
    names = [path.name] if path.is_file() else [one.name for one in folder.iterdir()]
    module, upstream, tensors = _opened(folder, names)
    config = module.config(upstream)
    model = module.model(config)
    boxed = jax.eval_shape(model.init, jax.random.key(0), *module.inputs(config))["params"]
    shapes = tree.flatten(nn.unbox(boxed))
    rows = module.table(config)
    ignored, left = getattr(module, "IGNORED", ""), getattr(module, "LEFT_OUT", "")
    tensors = _renamed(tensors, getattr(module, "rename", str))
    if heads := [one for one in tensors if re.fullmatch(left, one)]:
        print(f"note: {folder}: left out, heads that are not here: {', '.join(heads)}", flush=True)
    name = module.__name__.rpartition(".")[2]
    try:
        table.check(rows, tensors, shapes, lambda one: bool(re.fullmatch(f"{ignored}|{left}", one)))
    except table.CheckpointMismatch as error:
        raise table.CheckpointMismatch(
            f"{folder} is no {name} checkpoint of the sizes in its config: model_type = "
            f"{upstream.get('model_type')!r}, architectures = {upstream.get('architectures')}, so "
            f"it was read as {module.__name__}\n{error}"
        ) from error
    places = tree.flatten(shardings(boxed)) if shardings else None
    dtype = getattr(module, "DTYPE", None) if dtype is None else dtype
    params = table.read(rows, tensors, shapes, places, dtype)
    make = getattr(module, "processor", lambda folder, config: checkpoint_processor.load(folder))
    return Loaded(name, model, params, make(folder, config), config)


def save(loaded: Loaded, folder: str | Path) -> None:
    """Writes config, weights and processor as the reference keeps them; it opens what is written.

    Parameters keep their type: a checkpoint that was read in bfloat16 is written in bfloat16.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"{conversion.__name__}.{loaded.family}")
    config = module.upstream(loaded.config)
    tensors = table.write(module.table(loaded.config), loaded.params)
    if hasattr(module, "saved"):
        tensors = {module.saved(name, loaded.config): one for name, one in tensors.items()}
    if loaded.family == "open_clip":
        names = OPEN_CLIP, "open_clip_model.safetensors"
    else:
        kinds = {str(one.dtype) for one in tensors.values()}
        config = {**config, "dtype": kinds.pop() if len(kinds) == 1 else "float32"}
        if hasattr(module, "described"):  # mmjax's own format keeps the processor there
            config |= module.described(loaded.processor)
        names = CONFIG, "model.safetensors"
    text = json.dumps(config, indent=2) + "\n"
    (folder / names[0]).write_text(text, encoding="utf-8")
    files.save(folder / names[1], tensors)
    if hasattr(loaded.processor, "save"):
        loaded.processor.save(folder)


def weights(names: Iterable[str]) -> list[str]:
    """Which of a folder's files hold the weights that are read, and the config that they go by;
    none where there are no such files."""
    names = set(names)
    if CONFIG in names:
        for index in ("model.safetensors.index.json", "flax_model.msgpack.index.json"):
            one = index.removesuffix(".index.json")
            if index in names and one not in names:
                first, last = one.split(".")
                parts = rf"{first}-\d+-of-\d+\.{last}"
                return [CONFIG, index, *sorted(n for n in names if re.fullmatch(parts, n))]
            if one in names:
                return [CONFIG, one]
    open_clip = [one for one in sorted(names) if re.fullmatch(r"open_clip_.*\.safetensors", one)]
    if OPEN_CLIP in names and open_clip:
        return [OPEN_CLIP, open_clip[0]]
    return []


def _kept(names: Iterable[str]) -> list[str]:
    """The same with CTranslate2's, which no config names."""
    names = list(names)
    return weights(names) or [one for one in names if one == "model.bin"]


def fetch(name: str) -> Path:
    """The folder of a repository of the hub on this machine, downloaded where it is not yet.

    Args:
      name: "owner/name"; with "@" and a branch, tag or commit behind it, of that revision.

    Raises:
      FileNotFoundError: no such folder and no such repository, or no network.
    """
    import huggingface_hub

    found = re.fullmatch(r"([\w.-]+(?:/[\w.-]+)?)(?:@([\w./-]+))?", name)
    if not found:
        raise FileNotFoundError(f"there is no folder {name}, and no checkpoint on the hub is so")
    repository, at = found[1], {"revision": found[2]}
    try:
        names = huggingface_hub.list_repo_files(repository, **at)
        if not _kept(names):
            raise _refused(Path(name), names)
        patterns = [*SMALL, *_kept(names)]
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns, **at))
    except files.CheckpointFileError:
        raise
    except Exception as error:  # whatever the hub's HTTP client of the day throws
        for config in (CONFIG, OPEN_CLIP):  # what was fetched before is there without a network
            file = huggingface_hub.try_to_load_from_cache(repository, config, **at)
            if isinstance(file, str) and _kept(os.listdir(Path(file).parent)):
                return Path(file).parent
        raise FileNotFoundError(
            f"there is no folder {name!r} here, and {name!r} cannot be fetched from the hub "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}). "
            "Give a folder with a config.json and a model.safetensors, or a network"
        ) from error


def _opened(folder: Path, names: list[str]) -> tuple[ModuleType, dict, dict]:
    """The family, the parsed config and the named tensors of a folder."""
    if len(names) == 1 and names[0].endswith(".safetensors"):
        kept = [CONFIG if (folder / CONFIG).exists() else OPEN_CLIP, names[0]]
    else:
        kept = weights(names)
    files.fetched(folder, [*(kept or _kept(names)), *checkpoint_processor.KEPT])
    if not kept:
        return _foreign(folder, names)
    config = files.parsed(folder / kept[0])
    if kept[0] == OPEN_CLIP:
        module = importlib.import_module(f"{conversion.__name__}.open_clip")
    else:
        module = family(config, str(folder / CONFIG))
    if kept[1].endswith(".msgpack") or kept[1].endswith(".msgpack.index.json"):
        return module, config, msgpack.tensors(folder / kept[1])
    read = files.sharded if kept[1].endswith(".json") else files.safetensors
    return module, config, read(folder / kept[1])


def _foreign(folder: Path, names: list[str]) -> tuple[ModuleType, dict, dict]:
    if "model.bin" in names:  # CTranslate2's name for its weights
        for module in dict.fromkeys(families().values()):
            found = module.foreign(folder) if hasattr(module, "foreign") else None
            if found is not None:
                return module, *found
    raise _refused(folder, names)


def _refused(folder: Path, names: list[str]) -> files.CheckpointFileError:
    pickles = sorted(one for one in names if one.endswith(PICKLES))
    if pickles and not any(one.endswith((".safetensors", ".msgpack")) for one in names):
        return files.CheckpointFileError(
            f"{folder} holds its weights as {', '.join(pickles)}. Such a file is a pickle (or may "
            "hold one): opening it runs whatever code is inside, so it is never opened here. Ask "
            "for safetensors: where torch is installed, "
            "`AutoModel.from_pretrained(...).save_pretrained(...)` writes them"
        )
    if (folder / "checkpoints").is_dir():
        return files.CheckpointFileError(
            f"{folder} is the work directory of a run: mmjax.export({str(folder)!r}, folder) "
            "writes one that is opened here"
        )
    return files.CheckpointFileError(
        f"{folder} holds no checkpoint that is read: config.json with model.safetensors, "
        "model.safetensors.index.json or flax_model.msgpack; or open_clip_config.json with "
        f"open_clip_model.safetensors. It holds {', '.join(sorted(names)[:12]) or 'nothing'}"
    )


def _renamed(tensors: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """By the names of the table; a second tensor of one name keeps its own, and is then extra."""
    out: dict[str, Any] = {}
    for name, tensor in tensors.items():
        new = rename(name)
        out[name if new in out else new] = tensor
    return out
