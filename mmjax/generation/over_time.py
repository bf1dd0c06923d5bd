"""Where a video tower looks: how much of its attention falls on each stretch of time.

* Weights are averaged over the heads and over all layers. Of attention over all tubelets, those of
  the class token where there is one, else of all tokens; what falls on the class token is left out.
* Attention that is divided, and the transformer over the vectors of frames, say it of their times
  themselves. A tower that looks at each time by itself says nothing.

Letters: B clips, T' times, P places of a time, L tokens, N heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from mmjax import tree
from mmjax.layers.attention import WEIGHTS
from mmjax.models import video_vit
from mmjax.typing import Array, Float


def tells(config: Any) -> bool:
    """Whether a model has a tower of clips that says where it looks in time."""
    tower = getattr(config, "video", None)
    if isinstance(tower, video_vit.Config):
        return tower.attention != "space"
    # a tower of several scales has a transformer for each, and no one line of times
    one = getattr(tower, "transformer", None) is not None
    return one and not hasattr(tower, "scales")


def over_time(
    model: Any, variables: Mapping[str, Any], inputs: tuple[Array, ...]
) -> Float[Array, "B times"]:
    """Shares of the times, which sum to 1.

    Args:
      model: for which `tells`.
      inputs: of its call: the clips, and their mask where there is one.
    """
    _, kept = model.apply(variables, *inputs, mutable=[WEIGHTS])
    flat = tree.flatten(kept[WEIGHTS])
    tower = model.config.video
    joint = isinstance(tower, video_vit.Config) and tower.attention == "joint"
    divided = isinstance(tower, video_vit.Config) and not joint
    ending = "blocks/time_attention/weights" if divided else "transformer/blocks/attention/weights"
    (found,) = (
        values[0]
        for path, values in flat.items()
        if path.endswith(ending) and not path.startswith("video/image/")
    )
    weights = found.mean((0, 2))  # over layers and heads
    if joint:
        first = int(tower.pool == "class")
        seen = weights[:, 0] if first else weights.mean(1)
        shares = seen[:, first:].reshape(len(seen), tower.times, -1).sum(2)
    else:
        rows = len(inputs[0])  # of each clip as many lines as it has places
        shares = weights.reshape(rows, -1, weights.shape[-1]).mean(1)
    return shares / jnp.maximum(shares.sum(1, keepdims=True), 1e-12)
