"""The work directory: what it says about its run, and whether it belongs to this one.

config.json  command.txt  environment.json    what ran, how, on what
metrics.jsonl  timing.jsonl  tensorboard/     curves (wandb.txt: the id of their page elsewhere)
checkpoints/  tokenizer.json                  what it takes to go on, or to use the model
pictures/<step>/  corrupt.jsonl               what it saw
result.json  intervals.json  report.html      what came out (result-<steps>.json: of a shorter run)
lock                                          who trains in it now
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mmjax.config import ConfigError, build, difference, to_dict
from mmjax.run.data_paths import reachable
from mmjax.run.options import Options, read

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
# what a process of mmjax is called, and how a shell starts it
PROGRAMS = {"main.py": ("python", "-m", "mmjax.main"), "mmjax": ("mmjax",)}


def identity(options: Options) -> dict[str, Any]:
    """The part of the config that decides a run's numbers."""
    config = to_dict(options)
    config.pop("execution")
    config.pop("name")
    config["train"].pop("profile")
    for data in (config["data"], *config["parts"].values()):
        if data is not None:
            data.pop("max_corrupt_share")
    return config


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder, and keeps every other run out. A killed process leaves no lock behind.

    Raises:
      ConfigError: another run trains in it; it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"the work directory {folder} is a file")
    path, refused = folder / "lock", False
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path, "a", encoding="utf-8"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                refused = True
            except OSError:  # a file system without locks
                pass
        if jax.process_count() > 1:  # none waits for a process 0 that was refused
            refused = bool(multihost_utils.broadcast_one_to_all(np.int32(refused)))
        if refused:
            holder = path.read_text(encoding="utf-8") or "another process"
            raise ConfigError(f"{holder} trains in {folder}: stop it, or give another --workdir")
        if jax.process_index() == 0:
            since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}, since {since},")
            file.flush()
            stack.callback(file.truncate, 0)
        yield


def claim(folder: Path, options: Options, command: str) -> int:
    """Makes the folder, locked, this run's, or checks that it already is.

    A run may be made longer: of what came out of the shorter one, result.json is kept as
    result-<steps>.json.

    Returns:
      How many steps the run had before it was made longer; 0 where it was not.

    Raises:
      ConfigError: it holds a run with another config, or files that are no run's.
    """
    shorter = 0
    path = folder / "config.json"
    trained = any((folder / "checkpoints").glob("*")) or (folder / "metrics.jsonl").exists()
    if trained and not path.exists():
        raise ConfigError(f"{folder} holds a run but no config.json: give another --workdir")
    if trained:
        before = load_options(folder)
        changes = difference(identity(before), identity(options))
        if changes and _longer(before, options):
            shorter = before.train.steps
        elif changes:
            raise ConfigError(
                f"the work directory {folder} holds a run with another config:\n  "
                + "\n  ".join(changes)
                + "\nContinue it with its own config (train.steps may be raised), or give another "
                "--workdir."
            )
    if jax.process_index() == 0:
        if not trained:  # an attempt that ended before its first step leaves nothing to respect
            (folder / "tokenizer.json").unlink(missing_ok=True)
        if shorter and (folder / "result.json").exists():
            os.replace(folder / "result.json", folder / f"result-{shorter:08d}.json")
        write_json(path, to_dict(options))
        write_json(folder / "environment.json", environment())
        # bytes of a file's name that are no UTF-8 are written as they came
        line = (command + "\n").encode("utf-8", "surrogateescape")
        (folder / "command.txt").write_bytes(line)
    if jax.process_count() > 1:  # the others find what process 0 left, and wrote
        multihost_utils.sync_global_devices("claimed")
    return shorter


def _longer(before: Options, now: Options) -> bool:
    """Whether more steps are all that changed."""
    train = dataclasses.replace(before.train, steps=now.train.steps)
    same = identity(dataclasses.replace(before, train=train)) == identity(now)
    return same and now.train.steps > before.train.steps


def holds_run(folder: Path | str) -> bool:
    """Whether it is a work directory with checkpoints, complete ones or not."""
    return (Path(folder).expanduser() / "checkpoints").is_dir()


def load_options(folder: Path | str) -> Options:
    """The options of the run in a work directory.

    Raises:
      ConfigError: there is no run, or its config.json is damaged.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        raise ConfigError(f"{folder} is no work directory: it has no config.json")
    try:
        written = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is damaged, and says no longer which run this is: {error}. Restore it, or "
            "give another --workdir; the checkpoints serve a new run as its warm_start"
        ) from error
    return build(Options, written, where=str(path))


def options_of(folder: Path | str) -> Options:
    """The options of the run in a work directory, to open it with from any folder: relative paths
    of its data lead where they led when it was started.

    Raises:
      ConfigError: there is no run.
    """
    options = load_options(folder)
    try:
        environment = json.loads((Path(folder) / "environment.json").read_bytes())
        started_in = environment["folder"]
    except (OSError, ValueError, KeyError, TypeError):  # of an older run, or lost: as they are
        return options
    return build(Options, reachable(to_dict(options), started_in))


def asked(config: str, folder: str, changes: Sequence[str] = ()) -> Options:
    """The options of a config file; where none is named, of the run in a work directory.

    Raises:
      ConfigError: neither is named, or it cannot be used.
    """
    if not config and folder and not changes:
        return options_of(Path(folder).expanduser())
    return read(config, changes)


def environment() -> dict[str, Any]:
    """Versions, devices, the state of the code, and the folder that paths are relative to."""
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
        "folder": os.getcwd(),
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
    """The command as it was typed, as far as a program can know, to be pasted into a shell."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    if program in PROGRAMS:
        return shlex.join([*PROGRAMS[program], *sys.argv[1:]])
    return "mmjax.train(config, workdir), from Python"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file so that a crash leaves the old one or the new one, never a half."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
