"""Where a video tower looks: how much of its attention falls on each stretch of time.

* A tower's Config says which of its weights those are (`time_weights`; "" where it looks at each
  time by itself) and which of their keys are of which time (`by_time`). A tower without them, such
  as one of several scales, has no one line of times.
* Weights are averaged over the heads and over all layers.

Letters: B clips, T' times, N heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from mmjax import tree
from mmjax.layers.attention import WEIGHTS
from mmjax.typing import Array, Float


def tells(config: Any) -> bool:
    """Whether a model has a tower of clips that says where it looks in time."""
    return bool(getattr(getattr(config, "video", None), "time_weights", ""))


def over_time(
    model: Any, variables: Mapping[str, Any], inputs: tuple[Array, ...]
) -> Float[Array, "B times"]:
    """Shares of the times, which sum to 1.

    Args:
      model: for which `tells`.
      inputs: of its call: the clips, and their mask where there is one.
    """
    tower = model.config.video
    _, kept = model.apply(variables, *inputs, mutable=[WEIGHTS])
    (weights,) = tree.flatten(kept[WEIGHTS])[f"video/{tower.time_weights}"]
    shares = tower.by_time(weights.mean((0, 2)))  # over layers and heads
    rows = len(inputs[0])  # divided attention has as many lines of a clip as it has places
    shares = shares.reshape(rows, -1, shares.shape[-1]).mean(1)
    return shares / jnp.maximum(shares.sum(1, keepdims=True), 1e-12)
