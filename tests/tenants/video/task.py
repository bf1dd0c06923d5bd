"""Which way it goes: softmax over the classes."""

import dataclasses

import jax.numpy as jnp
import optax

from mmjax.tasks.base import Loss, Part, Task


@dataclasses.dataclass(frozen=True)
class Config:
    smoothing: float = 0.0  # of the labels


class Classify(Task):
    def __init__(self, config, model, field):
        self.config = config
        self.model = model
        self.field = field

    def init(self, rng, batch):
        return {"params": self.model.init(rng, batch[self.field])["params"], "state": {}}

    def loss(self, variables, batch, encoded, rng, step, *, train):
        logits = self.logits(variables, batch, None)["logits"]
        target = jnp.eye(logits.shape[-1])[batch["label"]]
        target = optax.smooth_labels(target, self.config.smoothing)
        values = optax.softmax_cross_entropy(logits, target)
        right = (logits.argmax(-1) == batch["label"]).astype(jnp.float32)
        return Loss({"class": Part(values, batch["weight"])}, {"right": (right, batch["weight"])})

    def logits(self, variables, batch, keys):
        return {"logits": self.model.apply({"params": variables["params"]}, batch[self.field])}

    @property
    def predict(self):
        return {"logits": self.logits}


def build(config, model):
    return Classify(config, model, "video")
