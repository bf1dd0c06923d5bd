"""A trained run, back in memory: for notebooks, for evaluation, for building on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.config import ConfigError
from mmjax.processors.base import Processor
from mmjax.processors.inference import Inference
from mmjax.run import warm_start, workdir
from mmjax.run.assembly import Run
from mmjax.run.runtime import prepare
from mmjax.training.checkpoint import CheckpointError


@dataclasses.dataclass(frozen=True, repr=False)
class Restored(Inference):
    """A run and the weights of one of its checkpoints; what it can be asked besides `predict`:
    processors/inference.py."""

    run: Run
    step: int
    variables: Mapping[str, Any]  # what the task's predict functions take
    part: str = ""  # of a run with several, whose processor prepares what is asked

    @property
    def model(self) -> Any:
        return self.run.model

    @property
    def params(self) -> Any:
        return self.variables["params"]

    @property
    def processor(self) -> Processor:
        return self.run.part(self.part, "restore(part=...)").processor

    def predict(self, name: str, examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The task's predict function on raw examples, e.g. "embed" on [{"image": ...}] in any
        form that `encode_image` takes; of a run with several parts "<part>/embed".

        Examples of one call have the same fields; fields of several lengths are padded to the
        longest. "embed" gives [B, E] for a text in each example, and [B, K, E] for a tuple of K.

        Raises:
          CorruptExample: an example that cannot be used.
          ConfigError: the task has no such function.
        """
        known = self.run.task.predict
        if name not in known:
            raise ConfigError(f"the task predicts {', '.join(known) or 'nothing'}, not {name!r}")
        part = name.partition("/")[0] if "/" in name else ""
        batch = self.run.part(part).processor.encode(examples)
        keys = jax.random.split(jax.random.key(0), len(examples))
        function = self._compiled.setdefault(name, jax.jit(known[name]))
        out = function(self.variables, batch, keys)
        return {key: np.asarray(value) for key, value in out.items()}


def restore(
    folder: str | Path, step: int | None = None, weights: str = "ema", part: str = ""
) -> Restored:
    """The run in a work directory with the weights of a checkpoint.

    Args:
      step: of the checkpoint; None: the best one by the config's metric, else the latest.
      weights: "ema" (if the run keeps one), "raw", or a teacher's name.
      part: of a run with several, whose processor prepares what is asked.

    Raises:
      ConfigError: no work directory. CheckpointError: no such checkpoint, or one of another model.
    """
    folder = Path(folder).expanduser().absolute()
    options = workdir.options_of(folder)
    prepare(options.execution)
    run = Run(options, folder)
    checkpoints = warm_start.checkpoints(run, folder, read_only=True)
    if not checkpoints.steps():
        raise CheckpointError(f"{folder} has no complete checkpoint yet")
    if step is None:
        step = (checkpoints.best() if options.checkpoint.metric else None) or checkpoints.latest()
    with jax.set_mesh(run.mesh):
        state = checkpoints.restore(run.spec.shapes, run.spec.shardings, step, training=False)
    checkpoints.close()
    params = run.weights(state.params, state.teachers, weights)
    return Restored(run, step, {**state.variables, "params": params}, part)
