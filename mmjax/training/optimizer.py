"""Optimizers by parameter path: every group has its own rule, learning rate, schedule and weight
decay.

* Groups are tried in order; a parameter belongs to the first whose regular expression covers its
  path.
* Rules that look at shapes (decay on matrices, Muon) see a layer's tensor, not the stack of all
  layers.
* Clipping by global norm is outside the groups, over the trained parameters alone.
* Optax does the arithmetic: AdamW, Lion, Adafactor, Muon, SGD.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.typing import Natural, Positive

Axes = Mapping[str, tuple[str | None, ...]]


@dataclasses.dataclass(frozen=True)
class Group:
    """Parameters that train alike."""

    match: str = ".*"  # regular expression of whole parameter paths
    optimizer: Literal["adamw", "lion", "adafactor", "muon", "sgd", "frozen"] = "adamw"
    learning_rate: float = 1e-3  # at the peak; Muon's is of an orthogonal update: 0.02
    schedule: Literal["cosine", "linear", "constant", "rsqrt"] = "cosine"  # after the warm-up
    warmup: Natural = 0  # steps from 0 to the peak
    final: float = 0.0  # learning rate at the last step, as a share of the peak
    weight_decay: float = 0.0  # on matrices and embeddings; times the learning rate
    b1: float = 0.9  # decay of the first moment (momentum of Muon and SGD)
    b2: float = 0.999  # decay of the second moment
    epsilon: float = 1e-8  # of Adam's denominator
    # of a Muon group's parameters that are no kernels; 0: as learning_rate
    adam_learning_rate: float = 0.0
    name: str = ""  # in reports, "learning_rate/<name>"; "": the group's number, from 0


@dataclasses.dataclass(frozen=True)
class Config:
    groups: tuple[Group, ...] = (Group(),)  # tried in order; the last one should match everything
    clip_norm: float = 1.0  # largest global gradient norm; 0: no clipping
    accumulate: Positive = 1  # micro-batches per step; the gradient is that of the whole batch


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An optax transformation over the trained parameters, and who belongs to which group."""

    transformation: optax.GradientTransformation
    clip_norm: float
    owner: Mapping[str, int]  # path -> group
    groups: tuple[Group, ...]
    schedules: tuple[optax.Schedule, ...]
    names: tuple[str, ...]  # of the groups, in reports

    def trained(self, path: str) -> bool:
        return self.groups[self.owner[path]].optimizer != "frozen"

    def made_longer(self, before: int, now: int, step: int) -> str:
        """What happens to the learning rate where a run of `before` steps becomes one of `now`,
        in a line."""
        rates = []
        for name, group in zip(self.names, self.groups, strict=True):
            if group.optimizer != "frozen":
                old, new = (float(schedule(group, steps)(step)) for steps in (before, now))
                rates.append(f"group {name} {old:.3g} -> {new:.3g}")
        return (
            f"train.steps {before} -> {now}: the schedule of {now} steps from step {step} on; "
            f"learning rate of {', '.join(rates)}"
        )


def schedule(group: Group, steps: int) -> optax.Schedule:
    """Learning rate as a function of the step.

    Raises:
      ConfigError: a warm-up that does not end before the run.
    """
    peak = group.learning_rate
    warm = group.warmup
    if group.optimizer != "frozen" and warm >= steps:
        raise ConfigError(
            f"optimizer group {group.match!r}: a warm-up of {warm} steps in a run of {steps}"
        )
    rest = max(steps - warm, 1)
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest, alpha=group.final),
        "linear": lambda: optax.linear_schedule(peak, peak * group.final, rest),
        "constant": lambda: optax.constant_schedule(peak),
        "rsqrt": lambda: (
            lambda count: peak * jnp.sqrt(max(warm, 1) / jnp.maximum(count + warm, max(warm, 1)))
        ),
    }[group.schedule]()
    if not warm:
        return after
    # the first update of a warm-up already moves: step 0 has 1 / (warm + 1) of the peak
    return optax.join_schedules([lambda count: peak * (count + 1) / (warm + 1), after], [warm])


def is_matrix(path: str, axes: Axes) -> bool:
    """A kernel or embedding table: two axes or more in one layer, and neither bias nor scale, nor a
    constant that no gradient reaches."""
    names = [name for name in axes[path] if name != "layers"]
    if "constant" in names:
        return False
    return len(names) >= 2 and path.rsplit("/", 1)[-1] not in ("bias", "scale")


def muon_dimensions(path: str, axes: Axes) -> Any:
    """Which axes of a kernel Muon treats as input and output; None: the parameter goes to Adam.

    A kernel maps from the residual stream (`embed` first) or to it (`embed` last); the layer axis
    is a batch axis.
    """
    names = axes[path]
    if not is_matrix(path, axes) or not path.endswith("kernel"):
        return None
    inner = [i for i, name in enumerate(names) if name != "layers"]
    if names[inner[0]] == "embed":
        return optax.contrib.MuonDimensionNumbers((inner[0],), tuple(inner[1:]))
    return optax.contrib.MuonDimensionNumbers(tuple(inner[:-1]), (inner[-1],))


def _transformation(
    group: Group, rate: optax.Schedule, axes: Axes, steps: int
) -> optax.GradientTransformation:
    def decayed(params: Any) -> Any:
        # optax hands a tree in which other groups' leaves are masked: judge each leaf by its path
        return jax.tree_util.tree_map_with_path(
            lambda path, _: is_matrix(_path(path), axes), params
        )

    decay = dict(weight_decay=group.weight_decay)
    if group.optimizer == "adamw":
        return optax.adamw(rate, group.b1, group.b2, group.epsilon, mask=decayed, **decay)
    if group.optimizer == "lion":
        return optax.lion(rate, group.b1, group.b2, mask=decayed, **decay)
    if group.optimizer == "adafactor":
        return optax.chain(
            optax.scale_by_factored_rms(decay_rate=0.8),
            optax.clip_by_block_rms(1.0),
            optax.add_decayed_weights(group.weight_decay, mask=decayed),
            optax.scale_by_learning_rate(rate),
        )
    if group.optimizer == "muon":
        return _muon(group, rate, axes, steps, decayed)
    if group.optimizer == "sgd":
        return optax.chain(
            optax.add_decayed_weights(group.weight_decay, mask=decayed),
            optax.sgd(rate, momentum=group.b1 or None),
        )
    return optax.set_to_zero()


def _muon(
    group: Group, rate: optax.Schedule, axes: Axes, steps: int, decayed: Any
) -> optax.GradientTransformation:
    """Muon for kernels and AdamW for the rest. (optax's own AdamW beside Muon decays biases.)"""

    def dimensions(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: muon_dimensions(_path(path), axes), params
        )

    def owners(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "adam" if muon_dimensions(_path(path), axes) is None else "muon", params
        )

    adam_rate = group.adam_learning_rate or group.learning_rate
    muon = optax.contrib.muon(
        rate,
        beta=group.b1,
        eps=group.epsilon,
        weight_decay=group.weight_decay,
        muon_weight_dimension_numbers=dimensions,
    )
    adam = optax.adamw(
        schedule(dataclasses.replace(group, learning_rate=adam_rate), steps),
        group.b1,
        group.b2,
        group.epsilon,
        weight_decay=group.weight_decay,
        mask=decayed,
    )
    return optax.partition({"muon": muon, "adam": adam}, owners)


def _path(key_path: tuple) -> str:
    return "/".join(str(key.key) for key in key_path)


def build(config: Config, axes: Axes, steps: int) -> Optimizer:
    """The optimizer of a model whose parameters have these paths and axes.

    Raises:
      ConfigError: a parameter that no group matches, a group that matches none, or two groups of
        one name.
    """
    try:
        owner = tree.assign([group.match for group in config.groups], axes)
    except ValueError as error:
        raise ConfigError(f"optimizer.groups: {error}") from error
    names = tuple(group.name or str(number) for number, group in enumerate(config.groups))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"optimizer.groups: two groups are called {twice[0]!r}")
    rates = tuple(schedule(group, steps) for group in config.groups)
    parts = {
        str(number): _transformation(group, rate, axes, steps)
        for number, (group, rate) in enumerate(zip(config.groups, rates, strict=True))
    }
    transformation = optax.partition(
        parts, lambda params: tree.map_with_path(lambda path, _: str(owner[path]), params)
    )
    return Optimizer(transformation, config.clip_norm, owner, config.groups, rates, names)
