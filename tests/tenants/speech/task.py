"""Whisper taught by its texts, and asked by greedy decoding with a cache."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from mmjax.tasks.base import Loss, Part, Task

LONGEST = 12  # letters that are written


@dataclasses.dataclass(frozen=True)
class Config:
    """Nothing to choose."""


class Transcribe(Task):
    def __init__(self, model):
        self.model = model

    def init(self, rng, batch):
        variables = self.model.init(rng, batch["audio"], batch["text"], batch["text_mask"])
        return {"params": variables["params"], "state": {}}

    def totals(self, batch):
        return {"letters": self.weights(batch).sum()}

    def weights(self, batch):
        return batch["text_mask"][:, 1:] * batch["weight"][:, None]

    def loss(self, variables, batch, encoded, rng, step, *, train):
        inputs = batch["audio"], batch["text"], batch["text_mask"]
        out = self.model.apply({"params": variables["params"]}, *inputs, train=train)
        values = optax.softmax_cross_entropy_with_integer_labels(
            out.logits[:, :-1], batch["text"][:, 1:]
        )
        return Loss({"letters": Part(values, self.weights(batch))})

    @property
    def predict(self):
        return {"transcribe": self.transcribe}

    def transcribe(self, variables, batch, keys):
        model = self.model
        params = {"params": variables["params"]}
        sound = model.apply(params, batch["audio"], method=model.encode_audio)
        start = jnp.zeros((len(sound), 1), jnp.int32)
        kwargs = dict(context=sound, slots=LONGEST + 1, logits_at="last", method=model.prefill)
        step = model.apply(params, start, **kwargs)

        def more(carry, _):
            cache, token = carry
            step = model.apply(params, token[:, None], cache, method=model.extend)
            return (step.cache, step.logits[:, -1].argmax(-1)), token

        carry = (step.cache, step.logits[:, -1].argmax(-1))
        _, tokens = jax.lax.scan(more, carry, length=LONGEST)
        said = jnp.cumsum(tokens == 1, axis=0) == 0
        return {"text": tokens.T, "text_mask": said.T}


def build(config, model):
    return Transcribe(model)
