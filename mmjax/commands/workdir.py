"""The work directory: what it says about its run, and whether it belongs to this one.

config.json  command.txt  environment.json    what ran, how, on what
metrics.jsonl  timing.jsonl  tensorboard/     curves
checkpoints/  tokenizer.json                  what it takes to go on, or to use the model
pictures/<step>/  corrupt.jsonl               what it saw
result.json  report.html                      what came out
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from mmjax.commands.options import Options
from mmjax.config import ConfigError, build, difference, to_dict

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "numpy",
    "pillow",
    "tokenizers",
)


def identity(options: Options) -> dict[str, Any]:
    """The part of the config that decides a run's numbers."""
    config = to_dict(options)
    config.pop("execution"), config.pop("name")
    config["train"].pop("profile")
    return config


def claim(folder: Path, options: Options, command: str) -> None:
    """Makes the folder this run's, or checks that it already is.

    Raises:
      ConfigError: it holds a run with another config, or files that are no run's.
    """
    path = folder / "config.json"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"the work directory {folder} is a file")
    trained = any((folder / "checkpoints").glob("*")) or (folder / "metrics.jsonl").exists()
    if trained and not path.exists():
        raise ConfigError(f"{folder} holds a run but no config.json: give another --workdir")
    if trained:
        changes = difference(identity(load_options(folder)), identity(options))
        if changes:
            raise ConfigError(
                f"the work directory {folder} holds a run with another config:\n  "
                + "\n  ".join(changes)
                + "\nContinue it with its own config, or give another --workdir."
            )
    if jax.process_index() == 0:
        if not trained:  # an attempt that ended before its first step leaves nothing to respect
            (folder / "tokenizer.json").unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, to_dict(options))
        write_json(folder / "environment.json", environment())
        (folder / "command.txt").write_text(command + "\n", encoding="utf-8")
    if jax.process_count() > 1:  # the others find what process 0 left, and wrote
        multihost_utils.sync_global_devices("claimed")


def load_options(folder: Path | str) -> Options:
    """The options of the run in a work directory.

    Raises:
      ConfigError: there is no run.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        raise ConfigError(f"{folder} is no work directory: it has no config.json")
    return build(Options, json.loads(path.read_text(encoding="utf-8")))


def environment() -> dict[str, Any]:
    """Versions, devices and the state of the code."""
    device = jax.devices()[0]
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "devices": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "processes": jax.process_count(),
        "versions": versions,
        "git": git_state(),
    }


def git_state() -> str:
    """Commit of the code, and whether it was changed since; "unknown" for an installed package."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
        return run.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + (" with uncommitted changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def command_line() -> str:
    """The command as it was typed, as far as a program can know."""
    if sys.argv and Path(sys.argv[0]).name == "main.py":
        return " ".join(["python -m mmjax.main", *sys.argv[1:]])
    return "mmjax.train(config, workdir), from Python"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
