"""The train step as a compiled program.

* The program for the usual shapes is compiled from shapes alone: on paper for `plan`, or in a
  thread while a run draws its parameters and reads its first batch. Other shapes (length buckets,
  an absent sub-batch) are compiled when they come.
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
    ):
        """shapes: of the usual global batch, jax.ShapeDtypeStruct; nested as the batch is."""
        self.mesh = mesh
        where = sharding.batch_sharding(mesh)
        self.usual = _kind(shapes)
        self.state = jax.tree.map(_placed, spec.shapes, spec.shardings)
        self.batch = jax.tree.map(lambda shape: _placed(shape, where), dict(shapes))
        self.jitted = jax.jit(
            step, donate_argnums=0, out_shardings=(spec.shardings, sharding.replicated(mesh))
        )
        self._ahead: concurrent.futures.Future | None = None

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
            return self.traced.lower().compile()

    def __call__(self, state: State, batch: Mapping[str, Any]) -> tuple[State, Any]:
        if _kind(batch) == self.usual:
            return self.compiled(state, batch)
        return self.jitted(state, batch)


def _kind(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a program is compiled for: names, shapes and types, at any depth."""
    return {
        name: _kind(value) if isinstance(value, Mapping) else (value.shape, value.dtype)
        for name, value in batch.items()
    }


def _placed(shape: Any, where: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where)
