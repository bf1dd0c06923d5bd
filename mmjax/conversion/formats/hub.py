"""Where the files of a checkpoint lie: which of a folder are read, and how they come from the hub.

* Weights: safetensors (one file, or several with an index), else Flax's msgpack, else CTranslate2's
  model.bin. Pickles are refused: opening one runs the code that it holds.
* From the hub only what is read comes: configs, tokenizers and one form of the weights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmjax.conversion.formats.files import CheckpointFileError

CONFIG = "config.json"
OPEN_CLIP = "open_clip_config.json"
CTRANSLATE2 = "model.bin"
PIPELINE = "model_index.json"  # of diffusers: which models there are
DIFFUSERS = "diffusion_pytorch_model.safetensors"
INDICES = (
    "model.safetensors.index.json", f"{DIFFUSERS}.index.json", "flax_model.msgpack.index.json"
)  # fmt: skip
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5")
# Of a hub's repository, what may be needed beside the weights.
SMALL = ("*.json", "*.txt", "*.model", "*.jinja")


def weights(names: Iterable[str]) -> list[str]:
    """Which of a folder's files are read: the config, then the weights or their index with its
    parts; empty where there are no such files."""
    names = set(names)
    if CONFIG in names:
        for index in INDICES:
            whole = index.removesuffix(".index.json")
            if whole in names:
                return [CONFIG, whole]
            if index in names:
                stem, ending = whole.split(".")
                part = re.compile(rf"{stem}-\d+-of-\d+\.{ending}")
                return [CONFIG, index, *sorted(filter(part.fullmatch, names))]
    open_clip = re.compile(r"open_clip_.*\.safetensors")
    found = sorted(filter(open_clip.fullmatch, names))
    if OPEN_CLIP in names and found:
        return [OPEN_CLIP, found[0]]
    return []


def needed(names: Iterable[str]) -> list[str]:
    """The same with CTranslate2's weights, which no config names."""
    names = list(names)
    return weights(names) or [name for name in names if name == CTRANSLATE2]


def fetch(name: str) -> Path:
    """The folder of a repository of the hub on this machine, downloaded where it is not yet.

    Args:
      name: "owner/name"; with "@" and a branch, tag or commit behind it, of that revision.

    Raises:
      FileNotFoundError: no such folder and no such repository, or no network.
      CheckpointFileError: the repository holds no weights that are read.
    """
    import huggingface_hub

    parts = re.fullmatch(r"([\w.-]+(?:/[\w.-]+)?)(?:@([\w./-]+))?", name)
    if not parts:
        raise FileNotFoundError(f"there is no folder {name}, and no checkpoint on the hub is so")
    repository, revision = parts.groups()
    try:
        names = huggingface_hub.list_repo_files(repository, revision=revision)
        if not needed(names):
            raise refusal(Path(name), names)
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=[*SMALL, *needed(names)]
        )
        return Path(folder)
    except CheckpointFileError:
        raise
    except Exception as error:  # whatever the hub's HTTP client of the day throws
        for config in (CONFIG, OPEN_CLIP):  # what was fetched before is there without a network
            file = huggingface_hub.try_to_load_from_cache(repository, config, revision=revision)
            if isinstance(file, str) and needed(os.listdir(Path(file).parent)):
                return Path(file).parent
        first_line = str(error).partition("\n")[0]
        raise FileNotFoundError(
            f"there is no folder {name!r} here, and {name!r} cannot be fetched from the hub "
            f"({type(error).__name__}: {first_line}). "
            "Give a folder with a config.json and a model.safetensors, or a network"
        ) from error


def refusal(folder: Path, names: Sequence[str]) -> CheckpointFileError:
    """The error that says why nothing in a folder is read."""
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    if pickles and not any(name.endswith((".safetensors", ".msgpack")) for name in names):
        return CheckpointFileError(
            f"{folder} holds its weights as {', '.join(pickles)}. Such a file is a pickle (or may "
            "hold one): opening it runs whatever code is inside, so it is never opened here. Ask "
            "for safetensors: where torch is installed, "
            "`AutoModel.from_pretrained(...).save_pretrained(...)` writes them"
        )
    if (folder / "checkpoints").is_dir():
        return CheckpointFileError(
            f"{folder} is the work directory of a run: mmjax.export({str(folder)!r}, folder) "
            "writes one that is opened here"
        )
    if PIPELINE in names and folder.is_dir():
        inside = sorted(one.parent.name for one in folder.glob(f"*/{CONFIG}"))
        return CheckpointFileError(
            f"{folder} is a pipeline of diffusers. Its models lie in folders of their own, which "
            f"are opened one by one: {', '.join(inside) or 'there is none'}"
        )
    held = ", ".join(sorted(names)[:12]) or "nothing"
    return CheckpointFileError(
        f"{folder} holds no checkpoint that is read: config.json with model.safetensors, "
        f"model.safetensors.index.json, {DIFFUSERS} or flax_model.msgpack; or "
        f"open_clip_config.json with open_clip_model.safetensors. It holds {held}"
    )
