"""The train step as a compiled program.

* The program for the usual shapes is compiled from shapes alone: on paper for `plan`, or in a
  thread while a run draws its parameters and reads its first batch. Other shapes (length buckets,
  an absent sub-batch) are compiled when they come; the loop says so, and does not count the time.
"""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from mmjax.training import flops, sharding
from mmjax.training.state import State, StateSpec


class Program:
    """(state, batch) -> (state, metrics), on a mesh; the state is donated."""

    def __init__(
        self,
        step: Callable[..., Any],
        spec: StateSpec,
        shapes: Mapping[str, Any],
        mesh: Mesh,
        options: dict[str, Any] | None = None,
    ):
        """
        Args:
          shapes: of the usual global batch, jax.ShapeDtypeStruct; nested as the batch is.
          options: of the compiler, for the usual shapes; None: its own.
        """
        self.mesh = mesh
        self.options = options
        where = sharding.batch_sharding(mesh)
        self.usual = _kind(shapes)
        self.state = jax.tree.map(_placed, spec.shapes, spec.shardings)
        self.batch = jax.tree.map(lambda shape: _placed(shape, where), dict(shapes))
        self.jitted = jax.jit(
            step, donate_argnums=0, out_shardings=(spec.shardings, sharding.replicated(mesh))
        )
        self._ahead: concurrent.futures.Future | None = None
        self._others: dict[str, Any] = {}  # compiled for other shapes than the usual ones

    def start(self) -> Program:
        """Traces, and begins to compile in a thread."""
        _ = self.traced  # here: two threads would each trace it
        self._ahead = concurrent.futures.ThreadPoolExecutor(1).submit(self._compile)
        return self

    @functools.cached_property
    def traced(self) -> Any:
        with jax.set_mesh(self.mesh):
            return self.jitted.trace(self.state, self.batch)

    @functools.cached_property
    def flops(self) -> float:
        """Of one step."""
        return flops.of(self.traced.jaxpr.jaxpr)

    @functools.cached_property
    def compiled(self) -> Any:
        """The program for the usual shapes."""
        return self._compile() if self._ahead is None else self._ahead.result()

    def _compile(self) -> Any:
        with jax.set_mesh(self.mesh):
            return self.traced.lower().compile(self.options)

    def missing(self, batch: Mapping[str, Any]) -> str:
        """What a batch waits for to be compiled, "text of length 24"; "": nothing."""
        kind = _kind(batch)
        if kind == self.usual:
            waits = self._ahead is not None and not self._ahead.done()
            return "the train step" if waits else ""
        if repr(kind) in self._others:
            return ""
        return _differences(kind, self.usual) or "another batch"

    def compile(self, batch: Mapping[str, Any]) -> None:
        """Compiles for a batch, where that was not done, or waits until it is."""
        kind = _kind(batch)
        if kind == self.usual:
            _ = self.compiled
        elif repr(kind) not in self._others:
            shapes = jax.tree.map(lambda leaf: _placed(leaf, leaf.sharding), dict(batch))
            with jax.set_mesh(self.mesh):
                self._others[repr(kind)] = self.jitted.lower(self.state, shapes).compile()

    def __call__(self, state: State, batch: Mapping[str, Any]) -> tuple[State, Any]:
        self.compile(batch)
        kind = _kind(batch)
        program = self.compiled if kind == self.usual else self._others[repr(kind)]
        return program(state, batch)


def _differences(kind: Mapping[str, Any], usual: Mapping[str, Any], under: str = "") -> str:
    """The fields whose shape is not the usual one, masks left out: "text of length 24"."""
    words = []
    for name, value in kind.items():
        known = usual.get(name)
        if name.endswith("_mask") or value == known:
            continue
        if isinstance(value, Mapping):
            words.append(_differences(value, known or {}, f"{under}{name}/"))
        elif known is not None and len(value[0]) == len(known[0]):
            lengths = [a for a, b in zip(value[0], known[0], strict=True) if a != b]
            words.append(f"{under}{name} of length {' x '.join(map(str, lengths))}")
        else:
            words.append(f"{under}{name} of shape {' x '.join(map(str, value[0]))}")
    return ", ".join(word for word in words if word)


def _kind(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a program is compiled for: names, shapes and types, at any depth."""
    return {
        name: _kind(value) if isinstance(value, Mapping) else (value.shape, value.dtype)
        for name, value in batch.items()
    }


def _placed(shape: Any, where: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where)
