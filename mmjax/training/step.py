"""The train step: (state, batch) -> (state, metrics). There is no other.

* Gradients are of sum(values * weights) / total for every loss part, so micro-batches add up
  exactly.
* A task with `encode` is accumulated through it (GradCache, https://arxiv.org/abs/2101.06983):
  embeddings of the whole batch, one micro-batch of activations at a time, recomputed in the
  backward pass with the same randomness.
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
from mmjax.tasks.base import Batch, Loss, Task, Teacher, rows
from mmjax.training.state import Plan, State
from mmjax.typing import Array

PREPARE, LOSS, UPDATE = range(3)  # purposes of a step's random keys


def _fold(batch: Batch, count: int) -> Any:
    """[B, ...] -> [count, B / count, ...]: micro-batch i holds rows i, i + count, ... so that
    shards stay in place."""

    def fold(x: Array) -> Array:
        if x.shape[0] % count:
            raise ValueError(
                f"a batch of {x.shape[0]} rows does not divide into {count} micro-batches"
            )
        return x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(fold, batch)


def _unfold(batch: Any) -> Any:
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), batch)


def _sums(loss: Loss) -> dict[str, Array]:
    """Sums of values * weights of each part."""
    return {
        name: jnp.sum(jnp.where(part.weights > 0, part.values * part.weights, 0.0))
        for name, part in loss.parts.items()
    }


def _objective(loss: Loss, totals: dict, count: Array) -> tuple[Array, tuple]:
    """The scalar that is differentiated, and what is reported of it: everything adds up over
    micro-batches."""
    sums = _sums(loss)
    value = jnp.zeros(())
    parts = {}
    for name, part in loss.parts.items():
        parts[name] = sums[name] / jnp.maximum(totals.get(name, count), 1e-9)
        value += part.coefficient * parts[name]
    metrics = {
        name: (jnp.sum(values * weights), jnp.sum(jnp.broadcast_to(weights, jnp.shape(values))))
        for name, (values, weights) in loss.metrics.items()
    }
    return value, (parts, metrics, loss.statistics)


def gradients(
    task: Task,
    variables: dict,
    trained: Any,
    batch: Batch,
    rng: jax.Array,
    step: Array,
    accumulate: int,
) -> tuple[Array, Any, tuple]:
    """Loss of the whole batch, its gradient with respect to `trained`, and (parts, metrics,
    statistics).

    Args:
      trained: the parameters that are differentiated; `variables["params"]` holds the others too.
    """
    totals, count = task.totals(batch), rows(batch)

    def whole(trained: Any) -> dict:
        return {**variables, "params": tree.merge(variables["params"], trained)}

    if task.encode is not None:

        def objective(trained: Any) -> tuple[Array, tuple]:
            def encode(batch: Batch, key: jax.Array) -> Any:
                return task.encode(whole(trained), batch, key, train=True)

            if accumulate == 1:
                encoded = encode(batch, rng)
            else:
                keys = jax.random.split(rng, accumulate)
                encoded = _unfold(
                    jax.lax.map(
                        lambda part: jax.checkpoint(encode)(*part), (_fold(batch, accumulate), keys)
                    )
                )
            loss = task.loss(whole(trained), batch, encoded, rng, step, train=True)
            return _objective(loss._replace(statistics=_stack(loss.statistics)), totals, count)

        (value, report), grads = jax.value_and_grad(objective, has_aux=True)(trained)
        return value, grads, report

    def objective(trained: Any, batch: Batch, key: jax.Array) -> tuple[Array, tuple]:
        return _objective(
            task.loss(whole(trained), batch, None, key, step, train=True), totals, count
        )

    differentiate = jax.value_and_grad(objective, has_aux=True)
    if accumulate == 1:
        (value, (parts, metrics, statistics)), grads = differentiate(trained, batch, rng)
        return value, grads, (parts, metrics, _stack(statistics))

    def micro_step(sums: Any, part: tuple) -> tuple[Any, Any]:
        (value, (parts, metrics, statistics)), grads = differentiate(trained, *part)
        return jax.tree.map(jnp.add, sums, (value, grads, parts, metrics)), statistics

    keys = jax.random.split(rng, accumulate)
    folded = _fold(batch, accumulate)
    first = jax.tree.map(lambda x: x[0], (folded, keys))
    (value, report), grads = jax.eval_shape(differentiate, trained, *first)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), (value, grads, report[0], report[1])
    )
    (value, grads, parts, metrics), statistics = jax.lax.scan(micro_step, zeros, (folded, keys))
    return value, grads, (parts, metrics, statistics)


def _stack(statistics: Any) -> Any:
    """Statistics of a single micro-batch, in the form of several."""
    return jax.tree.map(lambda x: x[None], statistics)


def _follow(teacher: Teacher, copy: Any, params: Any, step: Array) -> Any:
    decay = jnp.float32(teacher.decay)
    if teacher.warmup:
        decay = jnp.minimum(decay, (1 + step) / (10 + step))
    flat = tree.flatten(params)
    return tree.map_with_path(lambda path, old: old + (1 - decay) * (flat[path] - old), copy)


def make_step(
    plan: Plan, accumulate: int = 1
) -> Callable[[State, Batch], tuple[State, dict[str, Array]]]:
    """The step of a run, ready for `jax.jit` (donate the state).

    Metrics are scalars: "loss", "loss/<part>", the task's own, "gradient_norm",
    "learning_rate/<group>" and "finite" (0: the step was skipped).
    """
    task, optimizer = plan.task, plan.optimizer

    def step_function(state: State, batch: Batch) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(plan.seed), state.step)
        keys = jax.random.split(key, 3)
        batch = task.prepare(batch, keys[PREPARE], state.step)
        trained, frozen = tree.partition(state.params, optimizer.trained)
        variables = {**state.variables, "params": frozen}
        value, grads, (parts, metrics, statistics) = gradients(
            task, variables, trained, batch, keys[LOSS], state.step, accumulate
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
            name: _follow(plan.teachers[name], copy, params, state.step)
            for name, copy in state.teachers.items()
        }

        def keep(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

        report = {"loss": value, "gradient_norm": norm, "finite": finite.astype(jnp.float32)}
        report |= {f"loss/{name}": part for name, part in parts.items()} if len(parts) > 1 else {}
        report |= {
            name: total / jnp.maximum(weight, 1e-9) for name, (total, weight) in metrics.items()
        }
        done = state.step - state.skipped  # updates so far: where the schedules stand
        for i, group in enumerate(optimizer.groups):
            if group.optimizer != "frozen":
                report["learning_rate" + (f"/{i}" if i else "")] = jnp.asarray(
                    optimizer.schedules[i](done)
                )
        return (
            State(
                step=state.step + 1,
                params=keep(params, state.params),
                state=keep(new_state, state.state),
                teachers=keep(teachers, state.teachers),
                optimizer=keep(new_optimizer, state.optimizer),
                skipped=state.skipped + (1 - finite.astype(jnp.int32)),
            ),
            report,
        )

    return step_function
