"""Everything that a step reads and writes, born sharded.

* `parameters` are plain nested dicts; logical axis names exist only while shapes are planned.
* The exponential moving average is the teacher named "ema"; a task may declare others.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mmjax import tree
from mmjax.tasks.base import Batch, Task, Teacher
from mmjax.training import keys, sharding
from mmjax.training import optimizer as optimizers


class State(flax.struct.PyTreeNode):
    """Everything that changes from step to step."""

    # leaves are arrays, or their shapes, or their shardings
    step: Any  # int32 []: steps done, skipped ones included
    params: Mapping[str, Any]
    state: Mapping[str, Any]  # the task's: codebooks, queues, batch statistics
    teachers: Mapping[str, Any]  # name -> averaged copy of (a part of) the parameters
    optimizer: Any
    skipped: Any  # int32 []: steps that were not finite and changed nothing

    @property
    def variables(self) -> dict[str, Any]:
        """What a task sees."""
        return {"params": self.params, "state": self.state, "teachers": self.teachers}


@dataclasses.dataclass(frozen=True)
class StateSpec:
    """How a run's state looks and lies, before anything is allocated."""

    shapes: State  # leaves are jax.ShapeDtypeStruct
    shardings: State
    axes: Mapping[str, tuple[str | None, ...]]  # parameter path -> logical names
    optimizer: optimizers.Optimizer
    teachers: Mapping[str, Teacher]
    seed: int
    task: Task
    batch: Any  # shapes of one batch

    def init(self) -> State:
        """Step 0: every array made where it will live."""
        return jax.jit(self._build, out_shardings=self.shardings)(keys.initial(self.seed))

    def _build(self, key: jax.Array) -> State:
        batch = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), self.batch)
        return _state(nn.unbox(self.task.init(key, batch)), self.optimizer, self.teachers)


def _state(
    variables: Any, optimizer: optimizers.Optimizer, teachers: Mapping[str, Teacher]
) -> State:
    params = variables["params"]
    trained, _ = tree.partition(params, optimizer.trained)

    def copied(name: str, path: str) -> bool:
        # the average of what does not change is what it is
        own = name != "ema" or optimizer.trained(path)
        return own and tree.matches(teachers[name].match, path)

    copies = {name: tree.partition(params, functools.partial(copied, name))[0] for name in teachers}
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        state=variables.get("state", {}),
        # a copy of its own: donated buffers must not be shared
        teachers=jax.tree.map(lambda x: x + 0, copies),
        optimizer=optimizer.transformation.init(trained),
        skipped=jnp.zeros((), jnp.int32),
    )


def specify(
    task: Task,
    batch: Batch,
    optimizer: optimizers.Config,
    mesh: Mesh,
    mesh_config: sharding.Config,
    *,
    steps: int,
    seed: int,
    ema: float = 0.0,
) -> StateSpec:
    """Shapes, axes and shardings of a run's state.

    Args:
      batch: arrays or shapes of one global batch.
      ema: decay of the run's moving average; 0: none.
    """
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(batch))
    boxed = jax.eval_shape(task.init, jax.random.key(seed), batch)
    axes = sharding.logical_axes(boxed["params"])
    rule = optimizers.build(optimizer, axes, steps)
    teachers = dict(task.teachers)
    if ema > 0:
        teachers["ema"] = Teacher(ema, warmup=True)
    shapes = jax.eval_shape(lambda: _state(nn.unbox(_zeros(boxed)), rule, teachers))
    params = sharding.parameter_shardings(boxed["params"], mesh, mesh_config)

    def alike(abstract: Any) -> Any:
        return sharding.like(abstract, shapes.params, params, mesh)

    everywhere = sharding.replicated(mesh)
    shardings = State(
        step=everywhere,
        params=params,
        state=jax.tree.map(lambda _: everywhere, shapes.state),
        teachers=alike(shapes.teachers),
        optimizer=alike(shapes.optimizer),
        skipped=everywhere,
    )
    return StateSpec(shapes, shardings, axes, rule, teachers, seed, task, batch)


def _zeros(boxed: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), boxed)
