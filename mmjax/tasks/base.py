"""The contract between a model's mathematics and the one train step.

A task knows the batch's keys, the model's call and the objective. It knows no mesh, checkpoint,
optimizer, host or averaging; the step knows nothing else about a task than this file. One train
step runs (`training/step.py`):

    batch = task.prepare(batch, rng, step)  masks, noise, times, dropped conditions: drawn once,
                                            before any split into micro-batches
    totals = task.totals(batch)             the denominator of each loss part, over the WHOLE batch
    encoded = task.encode(...)              row in, row out; scanned over micro-batches and
                                            recomputed in the backward pass (GradCache)
    loss = task.loss(...)                   sums of values * weights, over totals, by coefficient
    state = task.update(...)                codebooks, queues: once, from what the losses reported

* Accumulation is exact: gradients are of sum(values * weights) / total, so n micro-batches give the
  gradient of the whole batch. A task with `encode` sees the whole batch in `loss`; one without is
  scanned, loss and all.
* `variables` = {"params": ..., "state": ..., "teachers": {name: ...}}. Gradients go to params
  alone.
* A batch is a dict of arrays with a leading row axis (or of named sub-batches of that form);
  `weight` [B] is 0 for rows that do not exist (padding, corrupt examples). Sums use it, so such
  rows change nothing.
* The run's exponential moving average is a teacher that no loss reads: one mechanism keeps both.

Tried on paper, so that the rooms to come fit:

BLIP       encode: image tokens and both embeddings, and the momentum embeddings from
           teachers["momentum"] (declared as `Teacher(0.995, ".*")`). loss: parts itc [B] (against
           state["queue"] too), itm [3B] (hard negatives drawn with rng from the global
           similarities), lm [B, L] with token weights; soft labels by `step`. statistics: the
           momentum embeddings; update: enqueues them. totals: B, 3B, number of tokens.
Whisper    no encode; prepare draws SpecAugment masks; one part [B, L], weights the token mask,
           total the tokens of the whole batch: accumulation by sums and counts, not by means of
           means.
VQ codec   loss: reconstruction and commitment; statistics = (counts [V], sums [V, D]) per
           micro-batch, stacked; update: codebook averages, and dead codes replaced by rng from the
           reported rows.
Diffusion  prepare: times, noise keys and the conditions dropped for guidance, per row and once per
           global batch, so that neither the number of hosts nor of micro-batches changes them. The
           EMA is the run's.
Curriculum nothing here: which rows a step sees is the data plan's affair (a function of seed,
           step and columns).
Packed     batch has `segment` and `position` [B, L]; the attention mask and the loss weights come
           from them; a row holds several examples, so `index` is [B, segments]. totals: the answer
           tokens of the batch. (Chat is trained in this form.)
Mixed      a task of tasks: sub-batches by task name, parts prefixed with it; an absent sub-batch is
           another pytree, compiled without that task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mmjax.typing import Array

Batch = Mapping[str, Any]
Variables = Mapping[str, Any]


class Part(NamedTuple):
    """One term of a loss: coefficient * sum(values * weights) / totals[its name]."""

    values: Array  # any shape; float32
    weights: Array  # broadcastable to values; 0 = not there
    coefficient: Array | float = 1.0


class Loss(NamedTuple):
    """What a task's loss returns."""

    parts: Mapping[str, Part]
    metrics: Mapping[
        str, tuple[Array, Array]
    ] = {}  # name -> (values, weights): averaged exactly over everything
    statistics: Any = ()  # arrays for `update`, stacked over micro-batches


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A copy of the parameters that follows them: copy = decay * copy + (1 - decay) *
    parameters."""

    decay: float  # per step, 0 to 1
    match: str = ".*"  # regular expression of the parameter paths that are copied
    warmup: bool = False  # smaller decay early on: min(decay, (1 + step) / (10 + step))


class Task:
    """Defaults for everything but `init` and `loss`."""

    teachers: ClassVar[Mapping[str, Teacher]] = {}  # copies that the loss reads
    encode: Callable | None = None  # (variables, batch, rng, *, train) -> dict of per-row arrays

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        """Initial {"params": ..., "state": ...}, boxed with logical axis names; `batch` serves for
        its shapes."""
        raise TypeError(f"{type(self).__name__} does not say how its parameters start: define init")

    def prepare(self, batch: Batch, rng: jax.Array, step: Array) -> Batch:
        """Adds what is drawn once per global batch."""
        return batch

    def totals(self, batch: Batch) -> Mapping[str, Array]:
        """The denominator of every loss part; a part that is not named is divided by the number of
        real rows."""
        return {}

    def loss(
        self,
        variables: Variables,
        batch: Batch,
        encoded: Any,
        rng: jax.Array,
        step: Array,
        *,
        train: bool,
    ) -> Loss:
        """Loss parts, metrics and statistics of a batch (the whole one if the task has
        `encode`)."""
        raise TypeError(f"{type(self).__name__} does not say what it minimises: define loss")

    def update(self, variables: Variables, statistics: Any, rng: jax.Array, step: Array) -> Any:
        """The task's state after the step."""
        return variables["state"]

    @property
    def predict(self) -> Mapping[str, Callable[[Variables, Batch, jax.Array], Mapping[str, Array]]]:
        """What evaluators may ask for: name -> function (variables, batch, rng) -> per-row
        arrays."""
        return {}


def rows(batch: Batch) -> Array:
    """Number of rows that exist, over the whole batch and its sub-batches."""
    if "weight" in batch:
        return jnp.sum(batch["weight"])
    return sum(rows(sub) for sub in batch.values() if isinstance(sub, Mapping))
