"""The kind of a picture, by the head of a shared model."""

import dataclasses

import optax

from mmjax.tasks.base import Loss, Part, Task


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose."""


class Kinds(Task):
    def __init__(self, model):
        self.model = model

    def init(self, rng, batch):
        variables = self.model.init(rng, batch["image"], method=self.model.classify)
        return {"params": variables["params"], "state": {}}

    def logits(self, variables, batch, keys):
        params = {"params": variables["params"]}
        return {"logits": self.model.apply(params, batch["image"], method=self.model.classify)}

    def loss(self, variables, batch, encoded, rng, step, *, train):
        logits = self.logits(variables, batch, None)["logits"]
        values = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return Loss({"kind": Part(values, batch["weight"])})

    @property
    def predict(self):
        return {"logits": self.logits}


def build(config, model):
    return Kinds(model)
