"""One mesh, one table: which logical axis of a parameter lies on which mesh axis.

* Mesh axes: `data` (batch), `fsdp` (batch, and parameters cut along `embed`), `tensor` (heads, MLP
  width, vocabulary).
* Models name the axes of their parameters and know no mesh. The table is checked: a name that no
  parameter has, a parameter axis without a row, and a size that does not divide are errors that say
  so. A vocabulary's size is the tokenizer's affair: one that does not divide is not cut.
* Parameters are born sharded: shapes by `eval_shape`, values by a jit with `out_shardings`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.layers.placement import BATCH_AXES
from mmjax.typing import Positive

AXES = (*BATCH_AXES, "tensor")
RULES: dict[str, str | None] = {
    "layers": None,
    "embed": "fsdp",
    "mlp": "tensor",
    "heads": "tensor",
    "head": None,
    "vocab": "tensor",
    "position": None,
    "patch": None,
    "joint": None,
    "constant": None,  # of a table that no gradient reaches
}
WHOLE_IF_UNEVEN = ("vocab",)  # not cut over devices that do not divide them: 50,257 words over 2


@dataclasses.dataclass(frozen=True)
class Config:
    data: int = -1  # devices along the batch; -1: all that remain
    fsdp: Positive = 1  # devices along the batch and along the parameters
    tensor: Positive = 1  # devices along heads, MLP width and vocabulary
    # logical axis -> mesh axis, "" = not cut
    rules: Mapping[str, str] = dataclasses.field(default_factory=dict)


def make_mesh(config: Config) -> Mesh:
    """The mesh over all devices of all processes.

    Raises:
      ConfigError: sizes whose product is not the number of devices.
    """
    devices = jax.device_count()
    sizes = [config.data, config.fsdp, config.tensor]
    fixed = math.prod(size for size in sizes if size != -1)
    if (
        sizes.count(-1) > 1
        or any(size < 1 for size in sizes if size != -1)
        or devices % fixed
        or (-1 not in sizes and fixed != devices)
    ):
        raise ConfigError(
            f"mesh data={config.data}, fsdp={config.fsdp}, tensor={config.tensor} does not fit "
            f"{devices} device(s): their product must be {devices}; one of them may be -1 (all "
            "that remain)"
        )
    sizes = [devices // fixed if size == -1 else size for size in sizes]
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def part_of_batch(mesh: Mesh) -> tuple[int, int]:
    """(which part of the batch this process reads, of how many): processes that a parameter is cut
    over share their rows, and read the same part.

    Raises:
      ConfigError: rows of processes that overlap, and are not the same.
    """
    count = mesh.shape["data"] * mesh.shape["fsdp"]
    rows: dict[int, set[int]] = {}
    for device, (one,) in batch_sharding(mesh).devices_indices_map((count,)).items():
        rows.setdefault(device.process_index, set()).add(one.start or 0)
    parts = sorted({tuple(sorted(part)) for part in rows.values()})
    if sum(map(len, parts)) != count:
        raise ConfigError(
            f"mesh {dict(mesh.shape)}: the batch does not divide among {len(rows)} processes; let "
            "'tensor' divide a process's devices, or be a multiple of them"
        )
    return parts.index(tuple(sorted(rows[jax.process_index()]))), len(parts)


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def logical_axes(boxed: Any) -> dict[str, tuple[str | None, ...]]:
    """Path -> names of the axes, from a tree whose leaves may be boxed; an unboxed leaf has unnamed
    axes."""

    def names(leaf: Any) -> tuple[str | None, ...]:
        if isinstance(leaf, nn.LogicallyPartitioned):
            return tuple(leaf.names)
        return (None,) * len(leaf.shape)

    return {path: names(leaf) for path, leaf in tree.flatten(boxed).items()}


def table(config: Config, axes: Mapping[str, tuple[str | None, ...]]) -> dict[str, str | None]:
    """The default rules with the config's changes, checked against the axes that the model has.

    Raises:
      ConfigError: a rule for an axis that no parameter has, a mesh axis that does not exist, an
        axis without a rule.
    """
    present = {name for names in axes.values() for name in names if name is not None}
    for name, target in config.rules.items():
        if name not in present:
            near = difflib.get_close_matches(name, sorted(present), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"mesh.rules names the axis {name!r}, which no parameter has{hint} They have: "
                f"{', '.join(sorted(present))}"
            )
        if target not in (*AXES, "", None):
            raise ConfigError(
                f"mesh.rules puts {name!r} on {target!r}; the mesh has {', '.join(AXES)} "
                "('' = not cut)"
            )
    rules = {**RULES, **{name: target or None for name, target in config.rules.items()}}
    unknown = sorted(present - set(rules))
    if unknown:
        raise ConfigError(
            f"no rule for the logical axes {unknown}: add them to mesh.rules ('' = not cut)"
        )
    return rules


def parameter_shardings(boxed: Any, mesh: Mesh, config: Config) -> dict[str, Any]:
    """Shardings in the form of the unboxed tree.

    Raises:
      ConfigError: an axis whose size is not a multiple of the devices it is cut over.
    """
    axes = logical_axes(boxed)
    rules = table(config, axes)
    shapes = tree.flatten(nn.unbox(boxed))
    out = {}
    for path, names in axes.items():
        spec: list[str | None] = []
        for name, length in zip(names, shapes[path].shape, strict=True):
            target = rules[name] if name is not None else None
            if target is not None and (mesh.shape[target] == 1 or target in spec):
                target = None  # nothing to cut, or another axis of this tensor is cut so already
            if target is not None and length % mesh.shape[target]:
                if name not in WHOLE_IF_UNEVEN:
                    raise ConfigError(
                        f"{path}: axis {name!r} of size {length} cannot be cut over "
                        f"{mesh.shape[target]} devices of {target!r}; change the size, the mesh, "
                        f"or set mesh.rules.{name}=''"
                    )
                target = None
            spec.append(target)
        out[path] = NamedSharding(mesh, PartitionSpec(*spec))
    return tree.unflatten(out)


def like(abstract: Any, parameters: Any, shardings: Any, mesh: Mesh) -> Any:
    """Shardings of an optimizer state: a leaf whose path ends in a parameter's path and has its
    shape lies as it does.

    Args:
      abstract: the optimizer state's shapes, any pytree.
    """
    shapes = tree.flatten(parameters)
    places = tree.flatten(shardings)

    def place(key_path: tuple, leaf: Any) -> NamedSharding:
        keys = [str(k.key) for k in key_path if isinstance(k, jax.tree_util.DictKey)]
        for start in range(len(keys)):
            path = "/".join(keys[start:])
            if path in shapes and tuple(shapes[path].shape) == tuple(leaf.shape):
                return places[path]
        return replicated(mesh)

    return jax.tree_util.tree_map_with_path(place, abstract)
