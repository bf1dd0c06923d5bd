"""Most of a clip is hidden, and made up again from the rest: VideoMAE's pre-training.

https://arxiv.org/abs/2203.12602

* Which tubelets are seen is drawn once per global batch: tubes, or each tubelet for itself as in
  https://arxiv.org/abs/2205.09113.
* One loss part, "pixels": the squared error of the hidden tubelets' values. "over_mean" is the same
  over the error of a model that knows of each hidden tubelet its mean and nothing else; 1 is
  therefore where learning begins.
* `restore` hides by each row's own key, so that an evaluation always hides the same.

Letters: B clips, T frames, H and W pixels, C channels, P tubelets, K visible ones, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.models import video_vit
from mmjax.objectives import masked_video
from mmjax.tasks.base import Batch, Loss, Part, Predict, Task, Variables
from mmjax.typing import Array, Float, Int

SMALLEST = 1e-12  # of an error that is divided by


@dataclasses.dataclass(frozen=True)
class Config:
    hidden: float = 0.9  # share of the tubelets that is hidden, above 0 and below 1
    # what is hidden together: a place at all times, or each tubelet for itself
    masking: Literal["tubes", "tubelets"] = "tubes"


class MaskedVideo(Task):
    """The model is a models/video_mae.py."""

    def __init__(self, config: Config, model: nn.Module) -> None:
        """
        Raises:
          ConfigError: a share that is none, or a model that makes up no pixels.
        """
        if not 0 < config.hidden < 1:
            raise ConfigError(f"hidden={config.hidden} is a share, above 0 and below 1")
        if not hasattr(model, "targets"):
            raise ConfigError("the task masked_video trains a model like video_mae, with `targets`")
        self.config = config
        self.model = model

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        visible = self.visible(jax.random.split(rng, len(batch["video"])))
        return {"params": self.model.init(rng, batch["video"], visible)["params"], "state": {}}

    def prepare(self, batch: Batch, rng: jax.Array, step: Array) -> Batch:
        return {**batch, "visible": self.visible(jax.random.split(rng, len(batch["video"])))}

    def visible(self, keys: jax.Array) -> Int[Array, "B K"]:
        """The numbers of the tubelets that each row keeps, by its own key."""
        c = self.model.config.video
        sizes = (c.times, c.grid**2)
        if self.config.masking == "tubelets":
            sizes = (1, c.count)

        def one(key: jax.Array) -> Array:
            return masked_video.visible_tubes(key, 1, *sizes, self.config.hidden)[0]

        return jax.vmap(one)(keys)

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
        found = self._made_up(variables, batch["video"], batch["visible"], rng if train else None)
        weight = batch["weight"]
        # a ratio of sums: clips with little in them count for little
        share = found["error"] / jnp.maximum(found["mean_error"], SMALLEST)
        over_mean = (share, weight * found["mean_error"])
        return Loss({"pixels": Part(found["error"], weight)}, {"over_mean": over_mean})

    @property
    def predict(self) -> Mapping[str, Predict]:
        return {"restore": self.restore, "embed": self.embed}

    def restore(self, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, Array]:
        """Clips of which most is hidden, and what is made of them.

        "error" and "mean_error" [B], squared, of the model and of each hidden tubelet's own mean;
        "seen" and "restored" float32 [B, T, H, W, C], as pixels came: what was visible, with zeros
        in the other tubelets (their means, of normalised targets), and with what was made up there.
        """
        visible = self.visible(keys)
        video = batch["video"]
        found = self._made_up(variables, video, visible, None)
        nothing = jnp.zeros_like(found["pixels"])
        return {
            "error": found["error"],
            "mean_error": found["mean_error"],
            "seen": self.model.restored(nothing, video, found["hidden"]),
            "restored": self.model.restored(found["pixels"], video, found["hidden"]),
        }

    def embed(self, variables: Variables, batch: Batch, keys: jax.Array) -> dict[str, Array]:
        """The mean of the encoder's tokens of whole clips, [B, D], as "video"."""
        tower = video_vit.Model(self.model.config.video)
        read = tower.apply({"params": variables["params"]["video"]}, batch["video"])
        return {"video": read.tokens.mean(1).astype(jnp.float32)}

    def _made_up(
        self,
        variables: Variables,
        video: Float[Array, "B T H W C"],
        visible: Int[Array, "B K"],
        rng: jax.Array | None,
    ) -> dict[str, Array]:
        rngs = None if rng is None else {"dropout": rng}
        params = {"params": variables["params"]}
        out = self.model.apply(params, video, visible, train=rng is not None, rngs=rngs)
        target = self.model.targets(video, out.hidden_places)
        if self.model.config.normalised:
            mean = jnp.zeros_like(target)  # of what has its mean taken away
        else:
            mean = masked_video.means(target, self.model.config.video.channels)
        return {
            "error": masked_video.squared_error(out.pixels.astype(jnp.float32), target),
            "mean_error": masked_video.squared_error(mean, target),
            "pixels": out.pixels.astype(jnp.float32),
            "hidden": out.hidden_places,
        }


def build(config: Config, model: nn.Module) -> MaskedVideo:
    return MaskedVideo(config, model)
