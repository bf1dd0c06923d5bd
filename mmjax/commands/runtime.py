"""How JAX is set up for a command: compile cache, processes, virtual devices.

* Compiled programs are kept in $MMJAX_CACHE (by default the user's cache directory), so that the second start of a
  run begins within seconds.
* Several processes: JAX's own runtime, found by itself on TPU pods, Slurm and GKE, or by an address given by hand.
"""

from __future__ import annotations

import os
from pathlib import Path

import jax

from mmjax.commands.options import Execution


def cache_folder() -> Path:
    """$MMJAX_CACHE, or mmjax under the user's cache directory."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mmjax"
    return Path(os.environ.get("MMJAX_CACHE", default))


def prepare(execution: Execution) -> None:
    """Turns on the compile cache, if it is wanted and nobody else did."""
    if execution.compile_cache and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def join(processes: str) -> None:
    """Makes this process one of several.

    Args:
      processes: "auto" on TPU pods, Slurm and GKE, else "host:port,number of processes,this one's number".

    Raises:
      ValueError: neither of these.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if processes == "auto":
        jax.distributed.initialize()
        return
    parts = processes.split(",")
    if len(parts) != 3 or not all(part.isdigit() for part in parts[1:]):
        raise ValueError(f"--processes={processes!r}: write 'auto', or 'host:port,count,number' such as '10.0.0.1:1234,2,0'")
    jax.distributed.initialize(parts[0], num_processes=int(parts[1]), process_id=int(parts[2]))
