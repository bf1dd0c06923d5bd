"""A trained run, back in memory: for notebooks, for evaluation, for building on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.run import warm_start, workdir
from mmjax.run.assembly import Run
from mmjax.run.runtime import prepare
from mmjax.training.checkpoint import CheckpointError


@dataclasses.dataclass(frozen=True)
class Restored:
    """A run and the weights of one of its checkpoints."""

    run: Run
    step: int
    variables: Mapping[str, Any]  # what the task's predict functions take

    @property
    def model(self) -> Any:
        return self.run.model

    @property
    def params(self) -> Any:
        return self.variables["params"]

    def predict(self, name: str, examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The task's predict function on raw examples, e.g. "embed" on [{"image": bytes or uint8
        [H, W, 3]}].

        Examples of one call have the same fields; text is padded to the longest.
        """
        rng = np.random.default_rng(0)  # evaluation transforms draw nothing
        rows = []
        for example in examples:
            example = dict(example)
            if "text" in example:
                example["text"] = _several(example["text"])
            for transform in self.run.processor.evaluate:
                if getattr(transform, "field", "image") in example:
                    example = transform(example, rng)
            rows.append(example)
        fields = [key for key, value in rows[0].items() if isinstance(value, np.ndarray)]
        batch = {name: _stack([row[name] for row in rows]) for name in fields}
        keys = jax.random.split(jax.random.key(0), len(rows))
        out = jax.jit(self.run.task.predict[name])(self.variables, batch, keys)
        return {key: np.asarray(value) for key, value in out.items()}


def _several(text: Any) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def _stack(values: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks, padded with zeros to the largest of each axis."""
    shape = np.max([np.shape(value) for value in values], axis=0).astype(int)
    out = np.zeros((len(values), *shape), np.asarray(values[0]).dtype)
    for i, value in enumerate(values):
        out[(i, *(slice(n) for n in np.shape(value)))] = value
    return out


def restore(folder: str | Path, step: int | None = None, weights: str = "ema") -> Restored:
    """The run in a work directory with the weights of a checkpoint.

    Args:
      step: of the checkpoint; None: the best one by the config's metric, else the latest.
      weights: "ema" (if the run keeps one), "raw", or a teacher's name.

    Raises:
      ConfigError: no work directory. CheckpointError: no such checkpoint, or one of another model.
    """
    folder = Path(folder).expanduser().absolute()
    options = workdir.load_options(folder)
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
    return Restored(run, step, {**state.variables, "params": params})
