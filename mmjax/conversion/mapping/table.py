"""The table of a family: which tensor of a file is which parameter, and how it is laid out.

* One row, `Entry`, is used in both directions. `layout` is an einops pattern from the file's axes
  to ours, "(N H) D -> D N H"; the way back is the same pattern read from the right.
* Parameters that are stacked over layers take one tensor a layer: "{layer}" in the name. Tensors
  that hold several parameters ("query, key and value in one") are taken apart along the first axis
  of the laid-out form: `index` says which one.
* Reading works on views. A file that is mapped into memory is copied slice by slice, so that a
  device reads no more than its own part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import einops
import jax
import numpy as np

from mmjax import tree
from mmjax.conversion.formats.files import CheckpointFileError
from mmjax.errors import UserError

Tensors = Mapping[str, np.ndarray]  # name in the file -> array, usually a view of the file


class CheckpointMismatch(UserError, ValueError):
    """A file that does not hold the model's tensors; every missing, extra and misshapen one."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One parameter and where a file keeps it."""

    path: str  # of the parameter: "image/transformer/blocks/attention/query/kernel"
    name: str  # in the file: "vision_model.encoder.layers.{layer}.self_attn.q_proj.weight"
    layout: str = ""  # einops pattern from the file's axes to ours (of one layer); "": the same
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)  # letters of the pattern
    index: int | None = None  # of the parameter along the first axis of the laid-out tensor
    layers: int | None = None  # tensors that are stacked, one for each "{layer}"; None: one tensor
    first: int = 0  # the number of the first of them
    step: int = 1  # from each to the next: 2 where every second one is another parameter's

    @property
    def names(self) -> tuple[str, ...]:
        """Of the file's tensors, in the order of our first axis."""
        if self.layers is None:
            return (self.name,)
        numbers = range(self.first, self.first + self.layers * self.step, self.step)
        return tuple(self.name.replace("{layer}", str(number)) for number in numbers)

    def ours(self, tensor: Any) -> Any:
        """A tensor of the file as (one layer of) the parameter."""
        if self.layout:
            tensor = einops.rearrange(tensor, self.layout, **self.sizes)
        return tensor if self.index is None else tensor[self.index]

    def theirs(self, parameters: Sequence[Any]) -> Any:
        """A tensor of the file from the (one layer of the) parameters that share it, by index."""
        if not self.layout:
            return parameters[0]
        left, right = self.layout.split("->")
        whole = parameters[0] if self.index is None else np.stack(parameters)
        return einops.rearrange(whole, f"{right} -> {left}", **self.sizes)


def linear(path: str, name: str, *, bias: bool = True, layout: str = "", **fields: Any) -> list:
    """Kernel and bias of a torch Linear, [out, in] -> [in, out].

    layout: of the kernel, where axes are taken apart: "(N H) D -> D N H" (a query), or
      "D (N H) -> N H D" (an attention's output). The bias follows from its first axis.
    """
    layout = layout or "F D -> D F"
    rows = [Entry(f"{path}/kernel", f"{name}.weight", layout, **fields)]
    if bias:
        axes = layout.partition("->")[0].split(")")[0].strip("( ").split()
        split = layout.lstrip().startswith("(")
        plain = f"({' '.join(axes)}) -> {' '.join(axes)}" if split else ""
        if not plain:
            fields = {**fields, "sizes": {}}
        rows.append(Entry(f"{path}/bias", f"{name}.bias", plain, **fields))
    return rows


def norm(path: str, name: str, *, bias: bool = True, **fields: Any) -> list:
    """Scale and bias of a LayerNorm or RMSNorm."""
    rows = [Entry(f"{path}/scale", f"{name}.weight", **fields)]
    return [*rows, Entry(f"{path}/bias", f"{name}.bias", **fields)] if bias else rows


def multihead(path: str, name: str, heads: int, **fields: Any) -> list:
    """Of a torch MultiheadAttention, which keeps queries, keys and values in one tensor."""
    rows = []
    sizes = {"three": 3, "N": heads}
    kernel_layout = "(three N H) D -> three D N H"
    bias_layout = "(three N H) -> three N H"
    for index, part in enumerate(("query", "key", "value")):
        kwargs = dict(sizes=sizes, index=index, **fields)
        rows += [
            Entry(f"{path}/{part}/kernel", f"{name}.in_proj_weight", kernel_layout, **kwargs),
            Entry(f"{path}/{part}/bias", f"{name}.in_proj_bias", bias_layout, **kwargs),
        ]
    layout = "D (N H) -> N H D"
    return [
        *rows,
        *linear(f"{path}/out", f"{name}.out_proj", layout=layout, sizes={"N": heads}, **fields),
    ]


def check(
    table: Iterable[Entry],
    tensors: Tensors,
    shapes: Mapping[str, Any],
    ignored: Callable[[str], bool] = lambda name: False,
) -> None:
    """Holds a file against the table and the model's parameter shapes, before anything is read.

    Args:
      shapes: path -> anything with a shape and a dtype, of every parameter of the model.
      ignored: names that a file may hold and the model does not need ("position_ids").

    Raises:
      CheckpointMismatch: every missing, extra and misshapen tensor, by its name in the file, and
        whole numbers where the model has others.
      ValueError: a table that does not cover the model (a mistake in mmjax).
    """
    table = list(table)
    paths = {entry.path for entry in table}
    if paths != set(shapes):
        raise ValueError(
            f"the table lacks {sorted(set(shapes) - paths)} and has {sorted(paths - set(shapes))}, "
            "which the model has not"
        )
    missing = []
    misshapen = []
    whole_numbers = []
    used = set()
    for entry in table:
        shape = tuple(shapes[entry.path].shape)[entry.layers is not None :]
        for name in entry.names:
            used.add(name)
            if name not in tensors:
                missing.append(name)
                continue
            if _is_whole(tensors[name].dtype) and not _is_whole(shapes[entry.path].dtype):
                whole_numbers.append(f"{name} ({tensors[name].dtype})")
            try:
                good = entry.ours(_of_shape(tensors[name].shape)).shape == shape
            except (einops.EinopsError, IndexError):
                good = False
            if not good:
                need = _file_shape(entry, shape, shapes)
                misshapen.append((name, need, tuple(tensors[name].shape)))
    offered = {name for name in tensors if not ignored(name)}
    matched = used & set(tensors)
    found = tree.Comparison(
        tuple(sorted(matched)),
        tuple(dict.fromkeys(missing)),
        tuple(sorted(offered - used)),
        tuple(dict.fromkeys(misshapen)),
    )
    if not found.complete:
        raise CheckpointMismatch(found.report())
    if whole_numbers:
        raise CheckpointMismatch(
            f"whole numbers where the model has others: {', '.join(dict.fromkeys(whole_numbers))}. "
            "What they were rounded from is not in the file"
        )


def _is_whole(dtype: Any) -> bool:
    return np.dtype(dtype).kind in "biu"


def _file_shape(entry: Entry, shape: tuple[int, ...], shapes: Any) -> tuple[int, ...]:
    """What a tensor of the file ought to be for a parameter of this shape."""
    one = _of_shape(shape)
    if not entry.layout:
        return shape
    left, right = entry.layout.split("->")
    if entry.index is not None:  # how many share it is the size of the first letter, where known
        letter = right.split()[0]
        one = _of_shape((entry.sizes.get(letter, entry.index + 1), *shape))
    try:
        return einops.rearrange(one, f"{right} -> {left}", **entry.sizes).shape
    except einops.EinopsError:
        return shape


def _of_shape(shape: tuple[int, ...]) -> np.ndarray:
    """An array that takes no memory, to see what a layout makes of its shape."""
    return np.broadcast_to(np.float32(0), shape)


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is named in the end
def read(
    table: Iterable[Entry],
    tensors: Tensors,
    shapes: Mapping[str, Any],
    shardings: Mapping[str, jax.sharding.Sharding] | None = None,
    dtype: Any = None,
) -> dict[str, Any]:
    """Parameters as jax arrays in a nested dict; `check` comes first.

    Args:
      shapes: path -> anything with a shape.
      shardings: path -> where the parameter lies; None: on the default device.
      dtype: of the parameters; None: as in the file.

    Raises:
      CheckpointFileError: names every tensor with a NaN or an infinity, or with a value that is too
        large for `dtype`.
    """
    default = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    out = {}
    not_finite: dict[str, None] = {}  # names, each once
    for entry in table:
        layers = [entry.ours(tensors[name]) for name in entry.names]
        kind = layers[0].dtype if dtype is None else np.dtype(dtype)

        def part(where: tuple, layers=layers, kind=kind, entry=entry) -> np.ndarray:
            if entry.layers is None:
                block = np.array(layers[0][where], kind, order="C")
                if not is_finite(block):
                    not_finite[entry.name] = None
                return block
            first, *rest = where
            chosen = [layer[tuple(rest)] for layer in layers[first]]  # views still
            block = np.empty((len(chosen), *chosen[0].shape), kind)
            for i, (name, layer) in enumerate(zip(entry.names[first], chosen, strict=True)):
                block[i] = layer
                if not is_finite(block[i]):
                    not_finite[name] = None
            return block

        shape = tuple(shapes[entry.path].shape)
        place = shardings[entry.path] if shardings else default
        out[entry.path] = jax.make_array_from_callback(shape, place, part)
    if not_finite:
        raise CheckpointFileError(f"not finite (NaN or infinity): {', '.join(not_finite)}")
    return tree.unflatten(out)


@np.errstate(invalid="ignore")
def is_finite(block: np.ndarray) -> bool:
    """Without memory of the block's size: a NaN or an infinity is in the least or the largest."""
    if block.dtype.kind in "biu" or not block.size:
        return True
    return bool(np.isfinite(block.min()) and np.isfinite(block.max()))


def write(table: Iterable[Entry], parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Nested parameters as the file's tensors: the inverse of `read`, bit for bit.

    Raises:
      CheckpointMismatch: parameters for which the file has no place, or that are not there.
    """
    table = list(table)
    flat = tree.flatten(parameters)
    needed = {entry.path for entry in table}
    if needed != set(flat):
        raise CheckpointMismatch(
            f"the parameters are not those of this format: without a place in it are "
            f"{', '.join(sorted(set(flat) - needed)) or 'none'}; not there are "
            f"{', '.join(sorted(needed - set(flat))) or 'none'}"
        )
    # name -> (place among those that share it, row, one layer of the parameter)
    shared: dict[str, list[tuple[int, Entry, Any]]] = {}
    for entry in table:
        value = np.asarray(flat[entry.path])
        layers = [value] if entry.layers is None else list(value)
        for name, one in zip(entry.names, layers, strict=True):
            shared.setdefault(name, []).append((entry.index or 0, entry, one))
    out = {}
    for name, parts in shared.items():
        parts.sort(key=lambda part: part[0])
        whole = parts[0][1].theirs([one for _, _, one in parts])
        out[name] = np.ascontiguousarray(whole).reshape(np.shape(whole))
    return out
