"""Classification: any number of named heads, each with labels of its own.

* A model that returns `logits`, of one head [B, V] or of several {name: [B, V]}, for any input: a
  picture, a sound, a clip. The field of a head's label is its name; of the only one "label".
* A label below 0 is not known: the row then counts for the other heads alone. A head's loss is a
  mean over the rows whose label is known, over the whole batch.
* In evaluation a row may be several views of one thing (parts of a clip, crops of it), [B, V, ...]:
  they are read one after the other, and what is said of them is averaged. Rows stay apart, so
  that any sharding of them gives the same.
* A head may be of several classes at once (AudioSet, https://doi.org/10.1109/ICASSP.2017.7952261):
  its labels are 0 and 1 of each class, and the loss is binary cross-entropy, summed over classes.
* Such rows may be mixed with others of the batch, and their labels with them (mixup,
  https://arxiv.org/abs/1710.09412; of sounds https://arxiv.org/abs/1711.10282).

Letters: B rows, V classes of a head or views of a row, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mmjax.config import ConfigError
from mmjax.generation import over_time
from mmjax.layers.adapters import Adapted
from mmjax.tasks.base import Batch, Loss, Part, Predict, Task, Variables
from mmjax.typing import Array, Bool, Float, Positive, Shaped

ONLY = "label"  # the head of a model that has one


@dataclasses.dataclass(frozen=True)
class Mixup:
    """Training rows that are mixed with another one of the batch, their labels likewise."""

    share: float = 0.5  # of the rows, 0 to 1
    beta: float = 10.0  # of the Beta distribution that a row's own part is drawn from
    # of inputs that are logarithms of power: nepers of power that one of them is. Sounds are mixed,
    # so their powers are added, as those of sounds that have nothing to do with each other; 0: the
    # inputs themselves are mixed
    nepers: float = 0.0


@dataclasses.dataclass(frozen=True)
class Config:
    input: str = "image"  # field of what is classified; "<input>_mask" goes with it
    several: tuple[str, ...] = ()  # heads of several classes at once, their labels 0 and 1 [B, V]
    smoothing: float = 0.0  # share of a label that all classes of its head get, 0 to 1
    # of a row in evaluation, whose logits and vectors are averaged; as the data has them
    views: Positive = 1
    mixup: Mixup | None = None  # of training rows; None: none


class Classification(Task):
    """One loss part and one metric, the share of right answers, for each head."""

    def __init__(self, config: Config, model: nn.Module | Adapted) -> None:
        """
        Raises:
          ConfigError: a smoothing that is no share; rows to be mixed whose label is one class.
        """
        if not 0 <= config.smoothing < 1:
            raise ConfigError(f"smoothing={config.smoothing} is a share, from 0 to below 1")
        if config.mixup is not None and not config.several:
            raise ConfigError("mixup makes labels of several classes: name the heads in `several`")
        self.config = config
        self.model = model

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        variables = self.model.init(rng, *self._inputs(batch))
        return {"params": variables["params"], "state": {}}

    def prepare(self, batch: Batch, rng: jax.Array, step: Array) -> Batch:
        """Rows mixed with others, where the config says so."""
        mixup = self.config.mixup
        return batch if mixup is None else self._mixed(batch, rng, mixup)

    def _mixed(self, batch: Batch, rng: jax.Array, mixup: Mixup) -> Batch:
        keys = jax.random.split(rng, 3)
        rows = len(batch["weight"])
        part = jax.random.beta(keys[0], mixup.beta, mixup.beta, (rows,))
        part = jnp.where(jax.random.uniform(keys[1], (rows,)) < mixup.share, part, 1.0)
        other = jax.random.permutation(keys[2], rows)
        whole = batch["weight"] > 0
        for name in self.config.several:
            whole &= (batch[name] >= 0).all(1)
        # what is corrupt, or not wholly known, is mixed with none
        part = jnp.where(whole & whole[other], part, 1.0)
        field = self.config.input
        out = dict(batch)
        out[field] = mixed(batch[field], batch[field][other], part, mixup.nepers)
        for name in self.config.several:
            label = batch[name].astype(jnp.float32)
            out[name] = mixed(label, label[other], part)
        return out

    def totals(self, batch: Batch) -> Mapping[str, Array]:
        """Of each label that the batch has, in how many rows it is known."""
        counts = {}
        for name, value in batch.items():
            is_label = jnp.issubdtype(value.dtype, jnp.integer) or name in self.config.several
            if is_label and value.ndim == 1 + (name in self.config.several):
                counts[name] = jnp.maximum((known(value) * batch["weight"]).sum(), 1)
        return counts

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
        parts = {}
        metrics = {}
        rngs = {"dropout": rng} if train else None
        for name, logits in self._heads(variables, batch, train, rngs).items():
            if name not in batch:
                raise ConfigError(
                    f"the model has a head {name!r} and the data no such label; it has "
                    f"{', '.join(batch)}"
                )
            label = batch[name]
            weights = known(label) * batch["weight"]
            if name in self.config.several:
                values = optax.sigmoid_binary_cross_entropy(logits, label.astype(jnp.float32))
                values = jnp.where(label >= 0, values, 0).sum(1)
                right = ((logits > 0) == (label > 0)).mean(1)
            else:
                values = self._cross_entropy(logits, label)
                right = logits.argmax(1) == label
            parts[name] = Part(values, weights)
            metrics[f"{name}_accuracy"] = (right.astype(jnp.float32), weights)
        return Loss(parts, metrics)

    def _cross_entropy(self, logits: Float[Array, "B V"], label: Array) -> Float[Array, " B"]:
        wanted = jax.nn.one_hot(label, logits.shape[1])  # of what is not known zeros
        wanted = optax.smooth_labels(wanted, self.config.smoothing)
        return optax.softmax_cross_entropy(logits, wanted)

    @property
    def predict(self) -> Mapping[str, Predict]:
        known: dict[str, Predict] = {"logits": self.logits, "embed": self.embed}
        if over_time.tells(getattr(self.model, "config", None)):
            known["over_time"] = self.over_time
        return known

    def logits(self, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, Array]:
        """Of each head by its name, [B, V]; of the only one "logits"."""
        heads = self._over_views(lambda view: self._heads(variables, view), batch)
        return {"logits": heads[ONLY]} if list(heads) == [ONLY] else heads

    def embed(self, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, Array]:
        """What the heads read, [B, D], under the name of the input."""
        pooled = self._over_views(lambda view: self._out(variables, view).pooled, batch)
        return {self.config.input: pooled}

    def over_time(self, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, Array]:
        """How much of a clip's attention falls on each stretch of time, of its first view."""
        first = batch
        if self.config.views > 1:
            first = {**batch, **{name: batch[name][:, 0] for name in self._viewed(batch)}}
        params = {"params": variables["params"]}
        return {"over_time": over_time.over_time(self.model, params, self._inputs(first))}

    def _viewed(self, batch: Batch) -> tuple[str, ...]:
        """The fields that have an axis of views."""
        name = self.config.input
        return tuple(field for field in (name, f"{name}_mask") if field in batch)

    def _over_views(self, read: Callable[[Batch], Any], batch: Batch) -> Any:
        """The mean of what is read of each view; one view at a time is held."""
        if self.config.views == 1:
            return read(batch)
        fields = {name: jnp.moveaxis(batch[name], 1, 0) for name in self._viewed(batch)}
        said = jax.lax.map(lambda view: read({**batch, **view}), fields)
        return jax.tree.map(lambda x: x.mean(0), said)

    def _heads(
        self,
        variables: Variables,
        batch: Batch,
        train: bool = False,
        rngs: Mapping[str, jax.Array] | None = None,
    ) -> dict[str, Array]:
        logits = self._out(variables, batch, train, rngs).logits
        heads = dict(logits) if isinstance(logits, Mapping) else {ONLY: logits}
        return {name: value.astype(jnp.float32) for name, value in heads.items()}

    def _out(
        self,
        variables: Variables,
        batch: Batch,
        train: bool = False,
        rngs: Mapping[str, jax.Array] | None = None,
    ) -> Any:
        params = {"params": variables["params"]}
        return self.model.apply(params, *self._inputs(batch), train=train, rngs=rngs)

    def _inputs(self, batch: Batch) -> tuple[Array, ...]:
        name = self.config.input
        if name not in batch:
            raise ConfigError(f"task.input={name!r}: the data has {', '.join(batch)}")
        mask = batch.get(f"{name}_mask")
        return (batch[name],) if mask is None else (batch[name], mask)


def mixed(
    x: Float[Array, "B ..."], y: Float[Array, "B ..."], part: Float[Array, " B"], nepers: float = 0
) -> Float[Array, "B ..."]:
    """So much of each row of x and the rest of y; with `nepers`, of the amplitudes of sounds whose
    logarithms of power they are."""
    part = part.reshape(-1, *(1,) * (x.ndim - 1))
    if not nepers:
        return part * x + (1 - part) * y
    rest = jnp.log(jnp.maximum(1 - part, 1e-9))
    return jnp.logaddexp(nepers * x + 2 * jnp.log(part), nepers * y + 2 * rest) / nepers


def known(label: Shaped[Array, "B ..."]) -> Bool[Array, " B"]:
    """Rows whose label is known; of several classes at once, any of them."""
    return (label >= 0).reshape(len(label), -1).any(1)


def build(config: Config, model: nn.Module | Adapted) -> Classification:
    return Classification(config, model)
