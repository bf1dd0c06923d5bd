"""Where the time of a compiled program goes on a CPU, by kind of work, from JAX's own profiler.

Each operation of the program that XLA runs has a name; the program's text says which line of which
module it came from. Seconds are those of the thread that runs the operations one after the other
(the threads of a matmul work for it meanwhile).
"""

import collections
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

# (what, operation's own name, its origin): the first that fits; both as patterns
KINDS = (
    ("matmuls with weights", r"ynn_fusion|dot", r"/(query|key|value|out|up|down|patches|\w*head)/"),
    ("products of attention", r"ynn_fusion|dot", r"attention"),
    ("other matmuls", r"ynn_fusion|dot", r""),
    ("softmax", r"", r"softmax|reduce_max|attention/(exp|sub|div|reduce)"),
    ("LayerNorm", r"", r"_norm/"),
    ("activation of the MLP", r"", r"mlp/"),
    ("optimizer and clipping", r"", r"optimizer|clip|adam"),
)


def seconds(compiled: Any, call: Callable[[], Any]) -> tuple[dict[str, float], float]:
    """Seconds of one call by kind of work, largest first, and those of the call.

    Args:
      compiled: the program (`jax.stages.Compiled`).
      call: runs it once and waits.
    """
    origins = dict(re.findall(r'%?([\w.-]+) = .*?op_name="([^"]*)"', compiled.as_text()))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            call()
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = jax.profiler.ProfileData.from_file(str(path)).planes
        found: collections.Counter = collections.Counter()
        for event in (e for plane in planes for line in plane.lines for e in line.events):
            if any(name == "hlo_op" for name, _ in event.stats):
                found[event.name] += event.duration_ns / 1e9
    return found, origins
