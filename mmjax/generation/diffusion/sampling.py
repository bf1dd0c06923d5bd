"""The loop from noise to samples: one scan over a sampler's table.

* A row depends on its own key, its own condition and the sampler alone: not on its neighbours, the
  size of the batch or the devices.
* Everything is in one program; what is large (the table of a thousand steps) is an argument.

Letters: B rows, N calls of the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from mmjax.generation.diffusion.guidance import clipped, guided, thresholded
from mmjax.generation.diffusion.samplers import Table
from mmjax.generation.diffusion.targets import Target, clean_of
from mmjax.typing import Array, Float, Key

# (x [B, ...], time [B], condition) -> what the model says of x
Said = Callable[[Array, Array, Any], Array]


@dataclasses.dataclass(frozen=True)
class Config:
    """What is asked of the model, and what becomes of its answers."""

    target: Target = "v"  # what the model says
    guidance: float = 7.5  # scale; 1: the condition as it was trained, one call a step
    rescale: float = 0.0  # of what is guided, 0 to 1
    # values of the clean sample are kept within -1 .. 1: not at all, by clipping, or by division
    bounds: Literal["none", "clip", "dynamic"] = "none"
    most: float = 1.0  # that "dynamic" divides by
    share: float = 0.995  # of a sample's values that "dynamic" brings within the bounds


def noise_like(
    keys: Key[Array, " B"], step: Array, shape: tuple[int, ...]
) -> Float[Array, "B ..."]:
    """Standard normal values of each row, by its key and the step alone."""
    keys = jax.vmap(lambda key: jax.random.fold_in(key, step))(keys)
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def sample(
    said: Said,
    keys: Key[Array, " B"],
    shape: tuple[int, ...],
    table: Table,
    config: Config,
    condition: Any = None,
    without: Any = None,
    start: Float[Array, "B ..."] | None = None,
    scale: Float[Array, " B"] | None = None,
) -> Float[Array, "B ..."]:
    """Samples of a shape, one for each key.

    Args:
      condition: what the model is told besides, its leaves [B, ...].
      without: the same for nothing at all (an empty text); used where guidance is not 1.
      start: x at the first of the calls; None: noise.
      scale: of each row's guidance, instead of the config's; any of them is two calls a step.
    """
    rows = len(keys)
    if start is None:
        start = noise_like(keys, jnp.asarray(0), shape)
    draws = bool(table.noise.any())
    columns = {name: jnp.asarray(column, jnp.float32) for name, column in vars(table).items()}

    def clean_sample(x: Array, row: dict[str, Array]) -> Array:
        alpha, sigma, time = (
            jnp.broadcast_to(row[name], (rows,)) for name in ("alpha", "sigma", "time")
        )
        out = _answer(said, x, time, condition, without, config, scale)
        clean = clean_of(config.target, out.astype(jnp.float32), x, alpha, sigma)
        if config.bounds == "clip":
            return clipped(clean)
        if config.bounds == "dynamic":
            return thresholded(clean, config.share, config.most)
        return clean

    def call(carry: tuple[Array, Array, Array], row: dict[str, Array]) -> tuple[tuple, None]:
        x, at_start, before = carry
        clean = clean_sample(x, row)
        out = row["start"] * at_start + row["sample"] * x
        out = out + row["clean"] * clean + row["before"] * before
        if draws:
            out = out + row["noise"] * noise_like(keys, row["number"], shape)
        at_start = jnp.where(row["ends"] > 0, out, at_start)
        return (out, at_start, clean), None

    columns["number"] = 1 + jnp.arange(len(table.time))  # 0 is the start
    (x, _, _), _ = jax.lax.scan(call, (start, start, jnp.zeros_like(start)), columns)
    return x


def _answer(
    said: Said,
    x: Array,
    time: Array,
    condition: Any,
    without: Any,
    config: Config,
    scale: Array | None,
) -> Array:
    """The model's answer, guided; both calls are one of twice the rows."""
    if scale is None and config.guidance == 1.0:
        return said(x, time, condition)
    if scale is None and config.guidance == 0.0:
        return said(x, time, without)
    twice = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), condition, without)
    both = said(jnp.concatenate([x, x]), jnp.concatenate([time, time]), twice)
    conditioned, unconditioned = jnp.split(both, 2)
    scale = config.guidance if scale is None else scale
    return guided(conditioned, unconditioned, scale, config.rescale)
