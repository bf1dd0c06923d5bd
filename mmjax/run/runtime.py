"""How JAX is set up for a command: compile cache, processes, virtual devices.

* Compiled programs are kept in $MMJAX_CACHE (by default the user's cache directory), so that the
  second start of a run begins within seconds.
* Several processes: JAX's own runtime, found by itself on TPU pods, Slurm and GKE, or by an address
  given by hand.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import jax

from mmjax.config import ConfigError
from mmjax.data.storage import note
from mmjax.errors import about_path
from mmjax.run.options import Execution

_started: list[float] = []  # time.monotonic() when the program began


def started_at(seconds: float) -> None:
    """Remembers when the program began, before anything was imported."""
    _started[:] = [seconds] if seconds else []


def started() -> float:
    """time.monotonic() when the program began; now, where nobody said."""
    return _started[0] if _started else time.monotonic()


def cache_folder() -> Path:
    """$MMJAX_CACHE, or mmjax under the user's cache directory."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mmjax"
    return Path(os.environ.get("MMJAX_CACHE", default))


def keep_memory(arenas: int = 0) -> None:
    """Lets glibc keep freed memory, on Linux CPUs: no page of a step's buffers is faulted in twice.

    XLA's CPU client allocates the temporary memory of every call anew. By default glibc maps and
    unmaps blocks of that size, and the page faults take a third of a step. Only the first
    thread's arena can keep them; `arenas=1` gives every thread that one, and makes those that
    compile wait for each other.
    """
    # M_MMAP_MAX, M_TRIM_THRESHOLD (-1: never), M_TOP_PAD, M_ARENA_MAX of malloc.h
    settings = [(-4, 0), (-1, -1), (-2, 256 << 20), *([(-8, arenas)] if arenas else [])]
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    for parameter, value in settings:
        mallopt(parameter, value)


def prepare(execution: Execution) -> None:
    """Memory, and the compile cache if it is wanted and nobody else turned it on."""
    keep_memory()
    # a step then allocates in the thread that asks for it, whose memory is kept
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    wanted = execution.compile_cache and not jax.config.jax_compilation_cache_dir
    folder = cache_folder() / "compiled"
    if wanted and _writable(folder):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _writable(folder: Path) -> bool:
    """Whether the cache can be kept there; says why not, where JAX would warn at every program."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        reason = about_path(error, {"$MMJAX_CACHE": str(cache_folder())}) or error
        note(f"compiled programs are not kept for the next start. {reason}")
        return False


def imagine(devices: int) -> None:
    """So many virtual CPU devices, to compile for and not to compute on; before JAX has any.

    Raises:
      ConfigError: not a positive number.
    """
    if devices < 1:
        raise ConfigError(f"--devices={devices}: a number of devices, 1 or more")
    os.environ["XLA_FLAGS"] = re.sub(
        r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", "")
    )
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)


def join(processes: str) -> None:
    """Makes this process one of several.

    Args:
      processes: "auto" on TPU pods, Slurm and GKE, else "host:port,number of processes,this one's
        number".

    Raises:
      ConfigError: neither of these.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if processes == "auto":
        jax.distributed.initialize()
        return
    parts = processes.split(",")
    if len(parts) != 3 or not all(part.isdigit() for part in parts[1:]):
        raise ConfigError(
            f"--processes={processes!r}: write 'auto', or 'host:port,count,number' such as "
            "'10.0.0.1:1234,2,0'"
        )
    jax.distributed.initialize(parts[0], num_processes=int(parts[1]), process_id=int(parts[2]))
