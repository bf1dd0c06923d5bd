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
    drawn = task.select(...)                what each row needs of other rows, from all of `encoded`
    loss = task.local(...)                  losses of single rows, beside those of the whole batch:
                                            scanned over micro-batches and recomputed, too
    state = task.update(...)                codebooks, queues: once, from what the losses reported

* Accumulation is exact: gradients are of sum(values * weights) / total, so n micro-batches give the
  gradient of the whole batch. A task with `encode` sees the whole batch in `loss`; one without is
  scanned, loss and all. A loss part's total is looked up under its own name, then under its nearest
  parent's ("pairs/image_text", then "pairs"); a part without one is divided by the real rows of its
  sub-batch, and where there is none, by those of the whole batch.
* `variables` = {"params": ..., "state": ..., "teachers": {name: ...}}. Gradients go to params
  alone. Predict functions get all three as well, so that they may read a teacher or a codebook.
* A batch is a dict of arrays with a leading row axis, or a dict of named sub-batches of that form.
  `weight` [B], 0 for rows that do not exist (padding, corrupt examples), tells them apart: only a
  batch of rows has it. Sums use it, so such rows change nothing. What `encode` and `select` return
  of a dict of sub-batches is a dict by their names, too.
* The run's exponential moving average is a teacher that no loss reads: one mechanism keeps both.

Tried on paper, so that the rooms to come fit:

BLIP       encode: image tokens [B, P, D], both embeddings, and the momentum embeddings from
           teachers["momentum"] (declared as `Teacher(0.995, ".*")`). loss: part itc [B], against
           state["queue"] too, soft labels by `step`. select: from the similarities of all rows of
           `encoded`, another row for each image and each text, drawn with rng in proportion to the
           softmax, without gradient; it gathers what that row is made of: "negative_image" [B, P,
           D] from the image tokens, which carries a gradient back into `encode` through the gather,
           and "negative_text" [B, L] from the ids. local: parts itm [3B] (each image with its own
           text, with a drawn text; a drawn image with the text) and lm [B, L] with token weights:
           the fusion layers run for a micro-batch at a time, and no logits [B, L, V] of the whole
           batch are held. A row's `local` needs nothing of other rows but what `select` gave it, so
           it is row-wise, and exact for any number of micro-batches. (The other contract, `local`
           with all of `encoded` and row numbers, gathers from the rows of all devices once for
           every micro-batch instead of once for the batch.) statistics: the momentum embeddings;
           update: enqueues them. totals: itm 3B, lm the number of tokens.
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
Mixed      mixed.py, a task of tasks: sub-batches by task name, parts prefixed with it; an absent
           sub-batch is another pytree, compiled without that task.
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
# (variables, batch, keys, **arguments) -> name -> array with a leading row axis
Predict = Callable[..., Mapping[str, Array]]


class Part(NamedTuple):
    """One term of a loss: coefficient * sum(values * weights) / total."""

    values: Array  # any shape; float32
    weights: Array  # broadcastable to values; 0 = not there
    coefficient: Array | float = 1.0


class Loss(NamedTuple):
    """What a task's loss returns."""

    parts: Mapping[str, Part]
    # name -> (values, weights): averaged exactly over everything
    metrics: Mapping[str, tuple[Array, Array]] = {}
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
    # paths of the state that the loss alone reads (a queue): a model that is exported needs it not
    training_state: ClassVar[tuple[str, ...]] = ()
    # (variables, batch, rng, *, train) -> dict of arrays with a leading row axis
    encode: Callable[..., dict[str, Any]] | None = None
    # (variables, batch, encoded, rng, step, *, train) -> Loss, of the rows that it is given and of
    # no others; `encoded` is that of these rows, with what `select` drew for them. Beside `encode`.
    local: Callable[..., Loss] | None = None

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        """Initial {"params": ..., "state": ...}, boxed with logical axis names; `batch` serves for
        its shapes."""
        raise TypeError(f"{type(self).__name__} does not say how its parameters start: define init")

    def prepare(self, batch: Batch, rng: jax.Array, step: Array) -> Batch:
        """Adds what is drawn once per global batch."""
        return batch

    def totals(self, batch: Batch) -> Mapping[str, Array]:
        """The denominators of loss parts, by name or by the name of a parent; a part that is not
        named is divided by the number of real rows."""
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

    def select(
        self, variables: Variables, batch: Batch, encoded: Any, rng: jax.Array, step: Array
    ) -> Mapping[str, Any]:
        """What `local` needs of other rows (hard negatives): name -> array with a leading row axis,
        gathered from the whole batch and all of `encoded`. `local` finds it in its `encoded`."""
        return {}

    def update(self, variables: Variables, statistics: Any, rng: jax.Array, step: Array) -> Any:
        """The task's state after the step.

        Args:
          statistics: of `loss`, stacked over micro-batches (one, if the task has `encode`); of a
            task with `local` {"loss": ..., "local": ...}, each stacked over its own.
        """
        return variables["state"]

    @property
    def predict(self) -> Mapping[str, Predict]:
        """What evaluators may ask for: name -> function (variables, batch, keys, **arguments) ->
        dict of arrays with a leading row axis.

        `variables` hold the weights that are evaluated as "params", and the task's "state" and
        "teachers". `keys` is a jax key array [B], one key for each row, made from (seed, source,
        index) alone: what is drawn for a row depends on no other row and on no batch size.
        `arguments` are what an evaluator binds, such as a decoding setting or a guidance scale.
        """
        return {}


def is_nested(batch: Batch) -> bool:
    """Whether the batch is a dict of named sub-batches, and not one of rows."""
    return "weight" not in batch


def rows(batch: Batch) -> Array:
    """Number of rows that exist, over the whole batch and its sub-batches."""
    if not is_nested(batch):
        return jnp.sum(batch["weight"])
    return sum(rows(part) for part in batch.values())


def size(batch: Batch) -> int:
    """Number of rows, existing or not, over the whole batch and its sub-batches."""
    if not is_nested(batch):
        return batch["weight"].shape[0]
    return sum(size(part) for part in batch.values())


def part_of(batch: Batch, name: str) -> Batch:
    """The sub-batch that a loss part or a metric belongs to: of "pairs/image_text" the sub-batch
    `pairs`; the batch itself where it has none."""
    first, _, rest = name.partition("/")
    if is_nested(batch) and first in batch:
        return part_of(batch[first], rest)
    return batch
