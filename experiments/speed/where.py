"""Where the time of a compiled program goes on a CPU, by kind of work, from JAX's own profiler.

XLA's operations have names, and the program's text says which line of which module each came from.
Their seconds are those of the thread that runs them one after the other, while the threads of a
matmul work for it.
"""

import collections
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

# kind, pattern of the operation's name, pattern of its origin: the first that fits
KINDS = (
    ("matmuls with weights", "ynn|dot", r"/(query|key|value|out|up|down|\w*embedding)/dot_general"),
    ("attention's products", "ynn|dot", r"vmap\(B"),
    ("activation of the MLP", "", r"/mlp/(?!up|down)|checkpoint/"),
    ("attention's softmax", "", r"attention/|vmap\("),
    ("LayerNorm", "", r"norm\w*/"),
    ("biases and casts", "", r"/(query|key|value|out|up|down)/"),
    ("AdamW", "", r"jit\(_where\)/select_n"),
    ("layers out of the stack and into it", "", r"_scan/(slice|concatenate)"),
)


def seconds(compiled: Any, call: Callable[[], Any]) -> Mapping[str, float]:
    """Seconds of one call by kind of work, the largest first.

    Args:
      compiled: the program (`jax.stages.Compiled`).
      call: runs it once, and waits for it.
    """
    origins = dict(re.findall(r'%?([\w.-]+) = .*?op_name="([^"]*)"', compiled.as_text()))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            call()
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = jax.profiler.ProfileData.from_file(str(path)).planes
        lines = [line for plane in planes for line in plane.lines]
        events = [one for line in lines for one in line.events]
    found: collections.Counter[str] = collections.Counter()
    for one in events:
        if any(name == "hlo_op" for name, _ in one.stats):
            found[_kind(one.name, origins.get(one.name, ""))] += one.duration_ns / 1e9
    return dict(found.most_common())


def _kind(name: str, origin: str) -> str:
    for kind, names, origins in KINDS:
        if re.search(names, name) and re.search(origins, origin):
            return kind
    return "everything else"
