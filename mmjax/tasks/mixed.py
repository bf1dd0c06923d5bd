"""A task of tasks: several tasks share a model, each with data of its own, in one train step.

* The batch is a dict of sub-batches by task name. Loss parts, metrics and predict functions are
  prefixed with the name: "pairs/image_text", "captions/generate".
* A task's loss is the one that it has alone: a part is divided by the rows (or the totals) of its
  own sub-batch. How much it counts beside the others is its `weights` entry, and nothing else.
* A task whose sub-batch is absent costs nothing: the batch is another pytree, and the step that is
  compiled for it does not hold that task.
* Tasks with `encode` see their whole sub-batch in `loss`; those without are row-wise, and go
  through `local`, a micro-batch at a time.
* Parameters are those of all tasks in one tree: one path is one parameter, shared. Each task has a
  state of its own; teachers of one name are one copy.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from mmjax import tree
from mmjax.config import ConfigError, Spec
from mmjax.tasks.base import Batch, Loss, Predict, Task, Teacher, Variables
from mmjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Config:
    # tasks by the name of their sub-batch: {"pairs": "contrastive", "captions": "captioning"}
    tasks: Mapping[str, Spec] = dataclasses.field(default_factory=dict)
    # factors on the losses of tasks, by name; 1 where a task is not named
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Mixed(Task):
    """batch: {task name: the batch of that task}; any of them may be absent from a step."""

    def __init__(self, tasks: Mapping[str, Task], weights: Mapping[str, float] | None = None):
        """
        Raises:
          ConfigError: no task, a weight of a task that is not there, or two different teachers of
            one name.
        """
        self.tasks = dict(tasks)
        self.weights = {name: 1.0 for name in tasks} | dict(weights or {})
        if not tasks:
            raise ConfigError("task.tasks is empty: name at least one task")
        unknown = sorted(set(self.weights) - set(tasks))
        if unknown:
            raise ConfigError(
                f"task.weights has {unknown[0]!r}, which is no task; there are {', '.join(tasks)}"
            )
        bad = [name for name in tasks if "/" in name]
        if bad:
            raise ConfigError(f"task.tasks: {bad[0]!r} has a '/', which separates names")
        self.teachers = _teachers(tasks)
        self.training_state = tuple(
            f"{name}/{path}" for name, task in tasks.items() for path in task.training_state
        )
        # a task is looked at in `loss` if it needs its whole sub-batch, and otherwise in `local`
        whole = [name for name, task in tasks.items() if task.encode is not None]
        self.encode = self._encode if whole else None
        by_rows = [name for name in tasks if name not in whole or tasks[name].local is not None]
        self.local = self._local if whole and by_rows else None

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        """
        Raises:
          ValueError: a sub-batch is absent, or two tasks mean different parameters by one path.
        """
        absent = [name for name in self.tasks if name not in batch]
        if absent:
            raise ValueError(f"to start, every task needs its sub-batch; absent: {absent}")
        params: dict[str, Any] = {}
        state = {}
        for name, task in self.tasks.items():
            variables = task.init(rng, batch[name])  # the same key: a task starts as it does alone
            params = _with_parameters(params, variables["params"], name)
            state[name] = variables.get("state", {})
        return {"params": params, "state": state}

    def prepare(self, batch: Batch, rng: jax.Array, step: Array) -> Batch:
        return {
            name: self.tasks[name].prepare(part, _key_of(rng, name), step)
            for name, part in self._known(batch).items()
        }

    def totals(self, batch: Batch) -> Mapping[str, Array]:
        return {
            f"{name}/{part}": total
            for name, sub_batch in batch.items()
            for part, total in self.tasks[name].totals(sub_batch).items()
        }

    def _encode(self, variables: Variables, batch: Batch, rng: jax.Array, *, train: bool) -> dict:
        encoded = {}
        for name, part in batch.items():
            task = self.tasks[name]
            if task.encode is not None:
                own = _variables_of(variables, name)
                encoded[name] = task.encode(own, part, _key_of(rng, name), train=train)
        return encoded

    def loss(
        self, variables: Variables, batch: Batch, encoded: Any, rng, step, *, train: bool
    ) -> Loss:
        """The losses of tasks with `encode`; where no task has one, of all."""

        def of_task(name: str, task: Task) -> Loss | None:
            if self.encode is not None and task.encode is None:
                return None
            own = _variables_of(variables, name)
            key = _key_of(rng, name)
            own_encoded = None if encoded is None else encoded[name]
            return task.loss(own, batch[name], own_encoded, key, step, train=train)

        return self._together(of_task, batch)

    def select(
        self, variables: Variables, batch: Batch, encoded: Any, rng: jax.Array, step: Array
    ) -> Mapping[str, Any]:
        selected = {}
        for name, part in batch.items():
            task = self.tasks[name]
            if task.local is not None:
                own = _variables_of(variables, name)
                key = _key_of(rng, name)
                selected[name] = task.select(own, part, encoded[name], key, step)
        return selected

    def _local(
        self, variables: Variables, batch: Batch, encoded: Any, rng, step, *, train: bool
    ) -> Loss:
        """The row-wise losses: `local` of tasks with `encode`, `loss` of those without."""

        def of_task(name: str, task: Task) -> Loss | None:
            own = _variables_of(variables, name)
            key = _key_of(rng, name)
            if task.encode is None:
                return task.loss(own, batch[name], None, key, step, train=train)
            if task.local is None:
                return None
            return task.local(own, batch[name], encoded[name], key, step, train=train)

        return self._together(of_task, batch)

    def _together(self, of_task: Callable[[str, Task], Loss | None], batch: Batch) -> Loss:
        """One loss of all tasks whose sub-batch is there, prefixed and weighted."""
        parts = {}
        metrics = {}
        statistics = {}
        for name in batch:
            loss = of_task(name, self.tasks[name])
            if loss is None:
                continue
            for part, term in loss.parts.items():
                coefficient = term.coefficient * self.weights[name]
                parts[f"{name}/{part}"] = term._replace(coefficient=coefficient)
            for metric, measured in loss.metrics.items():
                metrics[f"{name}/{metric}"] = measured
            statistics[name] = loss.statistics
        return Loss(parts, metrics, statistics)

    def update(self, variables: Variables, statistics: Any, rng: jax.Array, step: Array) -> Any:
        """The states of all tasks; those whose sub-batch was absent keep theirs."""
        state = dict(variables["state"])
        of_loss = statistics if self.local is None else statistics["loss"]
        of_local = {} if self.local is None else statistics["local"]
        for name, task in self.tasks.items():
            if name not in of_loss and name not in of_local:
                continue
            if task.local is not None:
                own: Any = {"loss": of_loss[name], "local": of_local[name]}
            else:
                own = of_loss[name] if name in of_loss else of_local[name]
            own_variables = _variables_of(variables, name)
            state[name] = task.update(own_variables, own, _key_of(rng, name), step)
        return state

    @functools.cached_property
    def predict(self) -> Mapping[str, Predict]:
        """Every predict function of every task, as "<task>/<name>"; the batch is the task's own."""
        return {
            f"{name}/{which}": functools.partial(_predict, function, name)
            for name, task in self.tasks.items()
            for which, function in task.predict.items()
        }

    def _known(self, batch: Batch) -> Batch:
        unknown = sorted(set(batch) - set(self.tasks))
        if unknown:
            raise ConfigError(
                f"the batch has a part {unknown[0]!r}, and no task is called so; the tasks are "
                f"{', '.join(self.tasks)}"
            )
        return batch


def _predict(
    function: Predict, name: str, variables: Variables, batch: Batch, keys: Any, **arguments: Any
) -> Mapping[str, Array]:
    return function(_variables_of(variables, name), batch, keys, **arguments)


def _variables_of(variables: Variables, name: str) -> Variables:
    """What one task sees: all parameters and teachers, and its own state."""
    return {**variables, "state": variables["state"][name]}


def _key_of(rng: Any, name: str) -> Any:
    """A task's own randomness, whichever tasks there are beside it; None where nothing is drawn."""
    return None if rng is None else jax.random.fold_in(rng, zlib.crc32(name.encode()))


def _teachers(tasks: Mapping[str, Task]) -> dict[str, Teacher]:
    """The teachers of all tasks."""
    teachers: dict[str, Teacher] = {}
    for name, task in tasks.items():
        for which, teacher in task.teachers.items():
            if teachers.setdefault(which, teacher) != teacher:
                raise ConfigError(
                    f"task {name!r} declares the teacher {which!r} as {teacher}, another task as "
                    f"{teachers[which]}: tasks that share a model share its averaged copies"
                )
    return teachers


def _with_parameters(params: Any, more: Any, name: str) -> dict[str, Any]:
    """Parameters joined by path; what two tasks share is there once."""
    known = tree.flatten(params)
    for path, leaf in tree.flatten(more).items():
        shared = known.setdefault(path, leaf)
        shape = nn.unbox(leaf).shape
        if nn.unbox(shared).shape != shape:
            raise ValueError(
                f"task {name!r} has {path} of shape {shape}, another task "
                f"{nn.unbox(shared).shape}: parameters of one path are one parameter"
            )
    return tree.unflatten(known)


def build(config: Config, model: nn.Module, tasks: Mapping[str, Task]) -> Mixed:
    """The task of this file.

    Args:
      model: what the tasks share; they hold it already.
      tasks: `config.tasks`, built.
    """
    return Mixed(tasks, config.weights)
