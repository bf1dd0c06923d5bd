"""Most patches are hidden, once per global batch, and drawn again from the rest."""

import dataclasses

import jax
import jax.numpy as jnp
from tenants.mae.model import patches_of

from mmjax.tasks.base import Loss, Part, Task


@dataclasses.dataclass(frozen=True)
class Config:
    hidden: float = 0.75  # share of the patches


class Mask(Task):
    def __init__(self, config, model):
        self.model = model
        self.kept = max(1, round(model.config.patches * (1 - config.hidden)))

    def draw(self, keys):
        """Which patches of each row are seen, [B, K]."""
        shape = (self.model.config.patches,)
        noise = jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)
        return jnp.argsort(noise, axis=1)[:, : self.kept]

    def init(self, rng, batch):
        order = jnp.zeros((len(batch["image"]), self.kept), jnp.int32)
        return {"params": self.model.init(rng, batch["image"], order)["params"], "state": {}}

    def prepare(self, batch, rng, step):
        return {**batch, "seen": self.draw(jax.random.split(rng, len(batch["image"])))}

    def restored(self, variables, images, seen):
        """All patches, and the mean squared error of the hidden ones of each row."""
        patches = self.model.apply({"params": variables["params"]}, images, seen)
        wanted = patches_of(images, self.model.config.patch_size)
        error = jnp.square(patches - wanted).mean(-1)  # [B, P]
        hidden = jnp.ones(error.shape).at[jnp.arange(len(seen))[:, None], seen].set(0.0)
        return patches, (error * hidden).sum(1) / hidden.sum(1), hidden

    def loss(self, variables, batch, encoded, rng, step, *, train):
        _, error, _ = self.restored(variables, batch["image"], batch["seen"])
        return Loss({"pixels": Part(error, batch["weight"])})

    @property
    def predict(self):
        return {"restore": self.restore}

    def restore(self, variables, batch, keys):
        patches, error, hidden = self.restored(variables, batch["image"], self.draw(keys))
        wanted = patches_of(batch["image"], self.model.config.patch_size)
        mean = batch["image"].mean((1, 2, 3), keepdims=True)[..., 0]
        plain = (jnp.square(wanted - mean).mean(-1) * hidden).sum(1) / hidden.sum(1)
        return {"error": error, "plain": plain, "patches": patches}


def build(config, model):
    return Mask(config, model)
