"""The train step: (state, batch) -> (state, metrics). There is no other.

* What is minimised, and how micro-batches add up to the whole batch: gradients.py.
* All randomness is fold_in(seed, step): a resumed run draws the same numbers.
* A step whose loss or gradient is not finite changes nothing but the step counter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmjax import tree
from mmjax.tasks.base import Batch, Teacher
from mmjax.training.gradients import Sources, gradients
from mmjax.training.micro_batches import Packs
from mmjax.training.optimizer import Optimizer
from mmjax.training.state import State, StateSpec
from mmjax.typing import Array

PREPARE, LOSS, UPDATE = range(3)  # purposes of a step's random keys


def make_step(
    spec: StateSpec, accumulate: int = 1, sources: Sources = (), pack: Packs = 0
) -> Callable[[State, Batch], tuple[State, dict[str, Array]]]:
    """The step of a run, ready for `jax.jit` (donate the state).

    Metrics are scalars: "loss", "loss/<part>", the task's own, "gradient_norm", "finite" (0: the
    step was skipped), "learning_rate" (with several trained optimizer groups
    "learning_rate/<group>"); with several sources also those of `gradients.by_source`.

    Args:
      accumulate: micro-batches.
      sources: names of the data sets of a mixture; of a batch of sub-batches a dict of them.
      pack: examples that share rows (`BatchPlan.pack`); likewise.
    """
    task = spec.task
    optimizer = spec.optimizer

    def step_function(state: State, batch: Batch) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(spec.seed), state.step)
        keys = jax.random.split(key, 3)
        batch = task.prepare(batch, keys[PREPARE], state.step)
        trained, frozen = tree.partition(state.params, optimizer.trained)
        variables = {**state.variables, "params": frozen}
        value, grads, (parts, metrics, statistics) = gradients(
            task, variables, trained, batch, keys[LOSS], state.step, accumulate, sources, pack
        )
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        if optimizer.clip_norm > 0:
            factor = jnp.minimum(1.0, optimizer.clip_norm / jnp.maximum(norm, 1e-12))
            grads = jax.tree.map(lambda g: g * factor, grads)
        updates, new_optimizer = optimizer.transformation.update(grads, state.optimizer, trained)
        params = tree.merge(frozen, optax.apply_updates(trained, updates))
        new_state = task.update(
            {**state.variables, "params": params}, statistics, keys[UPDATE], state.step
        )
        teachers = {
            name: _follow(spec.teachers[name], copy, params, state.step)
            for name, copy in state.teachers.items()
        }

        def keep(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

        report = {"loss": value, "gradient_norm": norm, "finite": finite.astype(jnp.float32)}
        if len(parts) > 1:
            report |= {f"loss/{name}": part for name, part in parts.items()}
        for name, (total, weight) in metrics.items():
            report[name] = total / jnp.maximum(weight, 1e-9)
        # updates so far: where the schedules stand
        report |= _learning_rates(optimizer, state.step - state.skipped)
        new = State(
            step=state.step + 1,
            params=keep(params, state.params),
            state=keep(new_state, state.state),
            teachers=keep(teachers, state.teachers),
            optimizer=keep(new_optimizer, state.optimizer),
            skipped=state.skipped + (1 - finite.astype(jnp.int32)),
        )
        return new, report

    return step_function


def _learning_rates(optimizer: Optimizer, updates: Array) -> dict[str, Array]:
    """Of every group that is trained, under the group's name; of a single one under no name."""
    trained = [
        (name, rate)
        for name, group, rate in zip(
            optimizer.names, optimizer.groups, optimizer.schedules, strict=True
        )
        if group.optimizer != "frozen"
    ]
    if len(trained) == 1:
        return {"learning_rate": jnp.asarray(trained[0][1](updates))}
    return {f"learning_rate/{name}": jnp.asarray(rate(updates)) for name, rate in trained}


def _follow(teacher: Teacher, copy: Any, params: Any, step: Array) -> Any:
    """The average of a teacher after the step."""
    decay = jnp.float32(teacher.decay)
    if teacher.warmup:
        decay = jnp.minimum(decay, (1 + step) / (10 + step))
    flat = tree.flatten(params)
    return tree.map_with_path(lambda path, old: old + (1 - decay) * (flat[path] - old), copy)
