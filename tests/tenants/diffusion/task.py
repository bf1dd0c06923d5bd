"""Denoising (https://arxiv.org/abs/2006.11239) with classes dropped for guidance
(https://arxiv.org/abs/2207.12598); DDIM (https://arxiv.org/abs/2010.02502) draws pictures."""

import dataclasses

import jax
import jax.numpy as jnp

from mmjax.tasks.base import Loss, Part, Task


@dataclasses.dataclass(frozen=True)
class Config:
    drop: float = 0.1  # share of the classes that are hidden in training


def spread(time):
    """Amplitudes of the picture and of the noise, [B, 1, 1, 1] each."""
    angle = (time * 0.98 + 0.01).reshape(-1, 1, 1, 1) * jnp.pi / 2
    return jnp.cos(angle), jnp.sin(angle)


class Denoise(Task):
    def __init__(self, config, model):
        self.config = config
        self.model = model

    def init(self, rng, batch):
        time = jnp.zeros(len(batch["image"]))
        variables = self.model.init(rng, batch["image"], time, batch["label"])
        return {"params": variables["params"], "state": {}}

    def prepare(self, batch, rng, step):
        """Times, noise and hidden classes: once per global batch."""
        keys = jax.random.split(rng, 3)
        unknown = self.model.config.classes
        hidden = jax.random.bernoulli(keys[2], self.config.drop, batch["label"].shape)
        return {
            **batch,
            "time": jax.random.uniform(keys[0], batch["label"].shape),
            "noise": jax.random.normal(keys[1], batch["image"].shape),
            "condition": jnp.where(hidden, unknown, batch["label"]),
        }

    def loss(self, variables, batch, encoded, rng, step, *, train):
        picture, noise = spread(batch["time"])
        mixed = picture * batch["image"] + noise * batch["noise"]
        params = {"params": variables["params"]}
        guess = self.model.apply(params, mixed, batch["time"], batch["condition"])
        error = jnp.square(guess - batch["noise"]).mean((1, 2, 3))
        return Loss({"noise": Part(error, batch["weight"])})

    @property
    def predict(self):
        return {"sample": self.sample}

    def sample(self, variables, batch, keys, guidance=1.0, steps=4):
        """A picture of each row's class, from noise of each row's own key."""
        shape = batch["image"].shape[1:]
        x = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        params = {"params": variables["params"]}
        unknown = jnp.full(batch["label"].shape, self.model.config.classes)

        def earlier(x, now):
            time = jnp.full(unknown.shape, now)
            known = self.model.apply(params, x, time, batch["label"])
            free = self.model.apply(params, x, time, unknown)
            guess = free + guidance * (known - free)
            picture, noise = spread(time)
            clean = jnp.clip((x - noise * guess) / picture, -1, 1)
            picture, noise = spread(time - 1 / steps)
            return picture * clean + noise * guess, None

        x, _ = jax.lax.scan(earlier, x, jnp.linspace(1, 1 / steps, steps))
        return {"image": x}


def build(config, model):
    return Denoise(config, model)
