"""Show: the parameters of a run, before anything is allocated: shapes, axes, shards, counts, and
who trains them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from mmjax import tree
from mmjax.config import build
from mmjax.report.table import aligned
from mmjax.run import options as run_options
from mmjax.run import workdir
from mmjax.run.assembly import Run


@dataclasses.dataclass(frozen=True)
class Options:
    config: str = ""  # config file, with :variant,key=value after it
    workdir: str = ""  # or the folder of a run
    changes: tuple[str, ...] = ()  # of the config, "train.steps=20": --config.train.steps=20


def run(options: Options) -> None:
    """Prints the table of a config file's run."""
    show(workdir.asked(options.config, options.workdir, options.changes))


def show(config: Any) -> str:
    """Prints, and returns, one line per tensor and the totals.

    Args:
      config: Options, or the ConfigDict of a config file.
    """
    run = Run(build(run_options.Options, config))
    with jax.set_mesh(run.mesh):
        text = parameters(run)
    if jax.process_index() == 0:
        print(text)
    return text


def parameters(run: Run) -> str:
    """The table of a run, under its mesh."""
    spec = run.spec
    shapes = tree.flatten(spec.shapes.params)
    places = tree.flatten(spec.shardings.params)
    rows = []
    for path, leaf in shapes.items():
        group = spec.optimizer.groups[spec.optimizer.owner[path]]
        axes = " ".join(name or "-" for name in spec.axes[path]) or "(scalar)"
        shard = places[path].shard_shape(leaf.shape)
        count = math.prod(leaf.shape)
        rows.append((path, _size(leaf.shape), axes, _size(shard), f"{count:,}", group.optimizer))
    total = tree.count(spec.shapes.params)
    per_device = sum(
        math.prod(places[path].shard_shape(leaf.shape)) for path, leaf in shapes.items()
    )
    trained = sum(
        math.prod(leaf.shape) for path, leaf in shapes.items() if spec.optimizer.trained(path)
    )
    state = sum(
        math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(spec.shapes)
    )
    fields = [f"{name} {_size(leaf.shape)}" for name, leaf in tree.flatten(run.shapes).items()]
    mesh = ", ".join(f"{name} {size}" for name, size in run.mesh.shape.items())
    return "\n".join(
        [
            aligned(
                ("parameter", "shape", "axes", "on one device", "count", "optimizer"),
                rows,
                right=(4,),
            ),
            "",
            f"{total:,} parameters, {trained:,} trained, {per_device:,} on each device",
            f"mesh: {mesh}",
            f"state with optimizer and averages: {state / 2**20:,.1f} MiB over all devices",
            f"batch: {', '.join(fields)}",
        ]
    )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"
