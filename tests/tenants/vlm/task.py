"""Answers are learned, questions are read; answering is greedy, token by token, with a cache."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from mmjax.tasks.base import Loss, Part, Task

LONGEST = 3  # tokens of an answer


@dataclasses.dataclass(frozen=True)
class Config:
    end_id: int = 0  # token that ends an answer


class Answering(Task):
    def __init__(self, config, model):
        self.config = config
        self.model = model

    def init(self, rng, batch):
        variables = self.model.init(rng, batch["image"], batch["text"], batch["text_mask"])
        return {"params": variables["params"], "state": {}}

    def totals(self, batch):
        return {"answer": (batch["text_weight"] * batch["weight"][:, None])[:, 1:].sum()}

    def loss(self, variables, batch, encoded, rng, step, *, train):
        params = {"params": variables["params"]}
        logits = self.model.apply(params, batch["image"], batch["text"], batch["text_mask"])
        target = batch["text"][:, 1:]
        values = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], target)
        weights = batch["text_weight"][:, 1:] * batch["weight"][:, None]
        right = (logits[:, :-1].argmax(-1) == target).astype(jnp.float32)
        return Loss({"answer": Part(values, weights)}, {"right": (right, weights)})

    @property
    def predict(self):
        return {"answer": self.answer}

    def answer(self, variables, batch, keys):
        model = self.model
        params = {"params": variables["params"]}
        grid = model.config.image_size // model.config.patch_size
        slots = grid**2 + batch["text"].shape[1] + LONGEST
        inputs = batch["image"], batch["text"], batch["text_mask"]
        step = model.apply(params, *inputs, slots, method=model.prefill)

        def more(carry, _):
            cache, token, ended = carry
            step = model.apply(params, token[:, None], cache, method=model.extend)
            ended = ended | (token == self.config.end_id)
            return (step.cache, step.logits[:, -1].argmax(-1), ended), (token, ~ended)

        first = step.logits[:, -1].argmax(-1)
        carry = (step.cache, first, jnp.zeros(first.shape, bool))
        _, (tokens, said) = jax.lax.scan(more, carry, length=LONGEST)
        return {"text": tokens.T, "text_mask": said.T}


def build(config, model):
    return Answering(config, model)
