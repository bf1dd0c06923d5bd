"""Parameter trees: names, regular expressions, splitting and comparing.

Parameters are plain nested dicts of arrays, and a parameter's path (`image/blocks/mlp/up/kernel`)
is a public interface: optimizer groups, freezing, sharding, warm starts and conversion all address
it.

* One separator, `/`. A pattern is a regular expression that must match the whole path
  (`re.fullmatch`).
* Every function is pure and works on arrays, on shapes (`jax.ShapeDtypeStruct`) and on shardings
  alike.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

Tree = Mapping[str, Any]


def flatten(tree: Tree, prefix: str = "") -> dict[str, Any]:
    """Nested dict -> {path: leaf}, in the order of the sorted paths. Empty sub-trees vanish."""
    flat: dict[str, Any] = {}
    for key in sorted(tree):
        path = f"{prefix}/{key}" if prefix else str(key)
        value = tree[key]
        if isinstance(value, Mapping):
            flat.update(flatten(value, path))
        else:
            flat[path] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{path: leaf} -> nested dict; the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = leaf
    return tree


def map_with_path(function: Callable[..., Any], tree: Tree, *rest: Tree) -> dict[str, Any]:
    """Applies `function(path, leaf, *leaves of rest)` to every leaf."""
    others = [flatten(other) for other in rest]
    return unflatten(
        {
            path: function(path, leaf, *(o[path] for o in others))
            for path, leaf in flatten(tree).items()
        }
    )


def matches(pattern: str, path: str) -> bool:
    """Whether the regular expression covers the whole path."""
    return re.fullmatch(pattern, path) is not None


def assign(patterns: Iterable[str], paths: Iterable[str]) -> dict[str, int]:
    """Path -> position of the first pattern that matches it.

    Raises:
      ValueError: a path that no pattern matches, or a pattern that gets no path (a misspelt one).
    """
    patterns = list(patterns)
    paths = list(paths)
    owner = {}
    for path in paths:
        found = next((i for i, p in enumerate(patterns) if matches(p, path)), None)
        if found is None:
            raise ValueError(
                f"no pattern of {patterns} matches the parameter {path!r}; end the list with '.*'"
            )
        owner[path] = found
    unused = [p for i, p in enumerate(patterns) if i not in owner.values()]
    if unused:
        raise ValueError(
            f"the pattern {unused[0]!r} matches no parameter that an earlier pattern left over; "
            f"paths look like {', '.join(paths[:4])}"
        )
    return owner


def partition(tree: Tree, keep: Callable[[str], bool]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits a tree in two by path: (those for which `keep` is true, the others)."""
    flat = flatten(tree)
    chosen = {path: leaf for path, leaf in flat.items() if keep(path)}
    others = {path: leaf for path, leaf in flat.items() if path not in chosen}
    return unflatten(chosen), unflatten(others)


def merge(first: Tree, second: Tree) -> dict[str, Any]:
    """Joins two trees with disjoint paths; the inverse of `partition`."""
    return unflatten({**flatten(first), **flatten(second)})


def count(tree: Tree) -> int:
    """Number of scalars in all leaves."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a tree of tensors offers against what a model needs; every path is named, none is
    dropped silently."""

    matched: tuple[str, ...]  # same path, same shape
    missing: tuple[str, ...]  # needed, not offered
    extra: tuple[str, ...]  # offered, not needed
    misshapen: tuple[
        tuple[str, tuple[int, ...], tuple[int, ...]], ...
    ]  # path, needed shape, offered shape

    @property
    def complete(self) -> bool:
        return not (self.missing or self.extra or self.misshapen)

    def report(self) -> str:
        """One line per path that differs, after a line of counts."""
        return self._lines(self.missing, self.extra)

    def summary(self, also: Iterable[str] = ()) -> str:
        """The same with one line for a part of the tree of which one side has nothing.

        Args:
          also: paths that the other side has from elsewhere.
        """
        shared = (*self.matched, *(path for path, _, _ in self.misshapen), *also)
        return self._lines(folded(self.missing, shared), folded(self.extra, shared))

    def _lines(self, missing: Iterable[str], extra: Iterable[str]) -> str:
        lines = [
            f"{len(self.matched)} tensors match, {len(self.missing)} missing, "
            f"{len(self.extra)} extra, {len(self.misshapen)} of another shape"
        ]
        lines += [f"  missing   {path}" for path in missing]
        lines += [f"  extra     {path}" for path in extra]
        lines += [
            f"  misshapen {path}: needs {need}, found {found}"
            for path, need, found in self.misshapen
        ]
        return "\n".join(lines)


def folded(paths: Iterable[str], others: Iterable[str]) -> list[str]:
    """Paths in words: "a/b/ (3 tensors)" for several of a part of the tree without any other."""
    kept = {path[:end] for path in others for end in _ends(path)}
    parts: dict[str, list[str]] = {}
    for path in paths:
        alone = [path[:end] for end in _ends(path) if path[:end] not in kept]
        parts.setdefault(alone[0] if alone else path, []).append(path)
    return [
        f"{part} ({len(inside)} tensors)" if len(inside) > 1 else inside[0]
        for part, inside in parts.items()
    ]


def _ends(path: str) -> list[int]:
    """Where each of a path's folders ends, the outermost first."""
    return [place + 1 for place, letter in enumerate(path) if letter == "/"]


def compare(needed: Tree, offered: Tree) -> Comparison:
    """Compares two trees by path and shape."""
    need = flatten(needed)
    offer = flatten(offered)
    shared = [path for path in need if path in offer]
    wrong = [p for p in shared if tuple(need[p].shape) != tuple(offer[p].shape)]
    return Comparison(
        matched=tuple(p for p in shared if p not in wrong),
        missing=tuple(p for p in need if p not in offer),
        extra=tuple(p for p in offer if p not in need),
        misshapen=tuple((p, tuple(need[p].shape), tuple(offer[p].shape)) for p in wrong),
    )
