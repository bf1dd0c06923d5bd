"""From the options of a run to its parts: data, processors, model, task, mesh, state.

* Building is lazy: showing a parameter table opens no picture, evaluating builds no optimizer
  state.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax import tree
from mmjax.config import ConfigError, Spec
from mmjax.data.collation import FieldSpec
from mmjax.data.parts import Parts
from mmjax.data.pipeline import Pipeline
from mmjax.layers.adapters import Adapted
from mmjax.processors.base import AtLeast
from mmjax.run.configured import configured
from mmjax.run.options import Options
from mmjax.run.part import Part
from mmjax.training import sharding, state


@dataclasses.dataclass(frozen=True)
class Run:
    """The parts of a run; each is made when it is first asked for."""

    options: Options
    workdir: Path | None = None  # where tokenizers are kept; None: nowhere
    paper: bool = False  # without its data: every data set is one made-up example

    @functools.cached_property
    def parts(self) -> dict[str, Part]:
        """Its data by name; the only part of most runs is called "".

        Raises:
          ConfigError: both kinds of data, or none.
        """
        options = self.options
        if (options.data is None) == (not options.parts):
            raise ConfigError("a config has `data`, or `parts` for a task of tasks; one of them")
        if options.data is not None:
            return {"": Part("", options.data, options, self.workdir, paper=self.paper)}
        made: dict[str, Part] = {}
        for name, data in options.parts.items():
            folder = self.workdir / name if self.workdir else None
            made[name] = Part(name, data, options, folder, paper=self.paper)
        for name, data in options.parts.items():
            if data.processor.name.startswith("@"):
                made[name] = dataclasses.replace(made[name], owner=self._owner(made, name))
        return made

    def _owner(self, made: Mapping[str, Part], name: str) -> Part:
        """The part whose processor another one shares."""
        owner = self.options.parts[name].processor.name[1:]
        own = [
            other
            for other, data in self.options.parts.items()
            if not data.processor.name.startswith("@")
        ]
        if owner not in own:
            raise ConfigError(
                f"parts.{name}.processor: '@{owner}' is no part with a processor of its own; "
                f"there are {', '.join(own) or 'none'}"
            )
        return made[owner]

    def part(self, name: str = "", where: str = "part") -> Part:
        """A part by its name.

        Raises:
          ConfigError: there is none of that name.
        """
        if name not in self.parts:
            known = ", ".join(map(repr, self.parts))
            raise ConfigError(f"{where}: there is no part {name!r} of the run; it has {known}")
        return self.parts[name]

    @functools.cached_property
    def pipeline(self) -> Pipeline | Parts:
        """The training batches; of several parts a dict of sub-batches."""
        if "" in self.parts:
            return self.parts[""].pipeline
        return Parts({name: part.pipeline for name, part in self.parts.items()})

    @property
    def sources(self) -> Any:
        """Names of the training sets, in the order of the numbers in a batch; by part where there
        are several."""
        if "" in self.parts:
            return tuple(self.parts[""].sources)
        return {name: tuple(part.sources) for name, part in self.parts.items()}

    @property
    def pack(self) -> Any:
        """Examples that share rows (0: none do); by part where there are several."""
        return self.pipeline.plan.pack if "" in self.parts else self.pipeline.pack

    @property
    def examples(self) -> list[int]:
        """How many rows each training set has."""
        sets = [source for part in self.parts.values() for source in part.sources.values()]
        return [len(source) for source in sets]

    @functools.cached_property
    def model(self) -> Any:
        sizes: dict[str, Any] = {}
        for part in self.parts.values():
            for path, value in part.processor.sizes.items():
                sizes[path] = largest(sizes.get(path), value)
        module, config = configured("mmjax.models", self.options.model, "model", sizes)
        model = module.Model(config)
        return Adapted(model, self.options.adapters) if self.options.adapters else model

    @functools.cached_property
    def task(self) -> Any:
        if "" in self.parts:
            return self._task(self.options.task, self.parts[""], "task")
        module, config = configured("mmjax.tasks", self.options.task, "task")
        named = getattr(config, "tasks", None)
        if named is None or set(named) != set(self.parts):
            raise ConfigError(
                f"parts: {', '.join(self.parts)} are the data of a task of tasks, and task.tasks "
                f"names {', '.join(named or ()) or 'none'}: each needs the other"
            )
        tasks = {
            name: self._task(spec, self.parts[name], f"task.tasks.{name}")
            for name, spec in named.items()
        }
        return module.build(config, self.model, tasks)

    def _task(self, spec: Spec, part: Part, where: str) -> Any:
        module, config = configured("mmjax.tasks", spec, where, part.processor.sizes)
        return module.build(config, self.model)

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        mesh = sharding.make_mesh(self.options.execution.mesh)
        cut = mesh.shape["data"] * mesh.shape["fsdp"]
        accumulate = self.options.optimizer.accumulate
        for part in self.parts.values():
            rows = part.data.batch_size
            if rows % (cut * accumulate):
                raise ConfigError(
                    f"{part.where}.batch_size={rows} is not a multiple of {cut} devices along the "
                    f"batch x {accumulate} micro-batches (optimizer.accumulate)"
                )
        return mesh

    @functools.cached_property
    def shapes(self) -> Any:
        """One global batch of the train step, as it is on the devices."""

        def shape(field: FieldSpec) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(field.shape, field.dtype)

        spec = on_device(self.pipeline.spec)
        return jax.tree.map(shape, spec, is_leaf=lambda value: isinstance(value, FieldSpec))

    @functools.cached_property
    def spec(self) -> state.StateSpec:
        """Shapes, axes and shardings of the state."""
        options = self.options
        return state.specify(
            self.task,
            self.shapes,
            options.optimizer,
            self.mesh,
            options.execution.mesh,
            steps=options.train.steps,
            seed=options.seed,
            ema=options.ema,
        )

    def batches(
        self, pipeline: Any, start: int, stop: int, corrupt: int | Mapping[str, int] = 0
    ) -> Any:
        """This process's rows of the batches of a pipeline, read ahead.

        corrupt: how many of its rows before `start` were; of several parts by their names.
        """
        part, parts = sharding.part_of_batch(self.mesh)
        return pipeline.batches(start, stop, part, parts, corrupt)

    def put(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A process's own rows -> global arrays, rows over the devices."""
        where = sharding.batch_sharding(self.mesh)

        def place(value: np.ndarray) -> jax.Array:
            return jax.make_array_from_process_local_data(where, value)

        return jax.tree.map(place, on_device(batch))

    def weights(self, params: Any, teachers: Mapping[str, Any], kind: str) -> Any:
        """The parameters that an evaluation uses: "raw", or a teacher's copy over them."""
        if kind == "raw" or (kind == "ema" and kind not in teachers):
            return params
        if kind not in teachers:
            raise ConfigError(f"weights {kind!r}: the run keeps {', '.join(['raw', *teachers])}")
        return tree.unflatten({**tree.flatten(params), **tree.flatten(teachers[kind])})


def largest(known: Any, needed: Any) -> Any:
    """What two parts need of one size of the model that they share.

    Raises:
      ConfigError: they need different ones.
    """
    if known is None or known == needed:
        return needed
    if isinstance(known, AtLeast) and isinstance(needed, AtLeast):
        return max(known, needed)
    raise ConfigError(f"the parts share a model, and need {known} and {needed} of one size")


def on_device(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a step gets; what only the host counts stays behind."""
    kept = {}
    for name, value in arrays.items():
        if isinstance(value, Mapping):
            kept[name] = on_device(value)
        elif not name.endswith("_truncated"):
            kept[name] = value
    return kept
