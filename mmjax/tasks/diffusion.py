"""Diffusion and flow: a model learns to take noise out of samples, and makes samples out of noise.

* What the samples are is the data's affair: clips [B, T, H, W, C], or pictures [B, H, W, C], which
  are clips of one frame. The field of the batch is all that the task knows of them.
* Times, noise and the rows that go without their text (https://arxiv.org/abs/2207.12598) are drawn
  in `prepare`, once for the whole batch: neither hosts nor micro-batches change them. Times are
  spread evenly over a batch (https://arxiv.org/abs/2107.00630, appendix I.1).
* What is minimised is the squared error of the answer (noise, clean, v, flow), with the weight of
  Min-SNR (https://arxiv.org/abs/2303.09556) or none.
* With `first`, some rows learn with their first frame known (image to video,
  https://arxiv.org/abs/2311.15127, section 4.2), and `generate` begins with the frames it is given.
* `generate` makes a row from its key and its text alone; `error` says how well noise is taken out
  at a few fixed times.

Letters: B rows, L tokens, K fixed times.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.generation.diffusion import samplers, sampling, schedules, targets
from mmjax.tasks.base import Batch, Loss, Part, Predict, Task, Variables
from mmjax.typing import Array, Float, Key

PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)  # between clean and noise, of `error`


@dataclasses.dataclass(frozen=True)
class Config:
    field: str = "video"  # of what is learned and made: clips, or pictures
    text: str = "text"  # field of what is said of it; "<text>_mask" goes with it
    schedule: schedules.Config = schedules.Config()  # how noise is added
    sampling: sampling.Config = sampling.Config()  # what the model says, and how it is asked
    sampler: samplers.Config = samplers.Config()  # the way back
    min_snr: float = 0.0  # largest weight by the ratio of signal to noise; 0: all weigh the same
    drop: float = 0.1  # share of the rows that learn without their text, 0 to 1
    # share of the rows that learn with their first frame known, 0 to 1; the model has given=True
    first: float = 0.0
    shape: tuple[int, ...] = ()  # of one sample, (T, H, W, C) or (H, W, C); the processor's

    def __post_init__(self) -> None:
        for name in ("drop", "first"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)} is a share, from 0 to 1")
        if self.schedule.continuous != (self.sampler.name in ("euler", "heun")):
            samplers.table(self.sampler, self.schedule)  # says what goes with what


class Diffusion(Task):
    """One loss part, "noise_removal"."""

    def __init__(self, config: Config, model: nn.Module) -> None:
        self.config = config
        self.model = model

    def check(self) -> None:
        """Holds the shape of a sample against the model.

        Raises:
          ConfigError: there is none, or the model does not take it; first frames are to be known,
            and the model takes none.
        """
        shape = self.config.shape
        if len(shape) not in (3, 4):
            raise ConfigError(
                f"task.shape={shape} is that of a sample, (T, H, W, C) or (H, W, C): the processor "
                "says it"
            )
        self.model.check((1, *shape) if len(shape) == 3 else shape)
        if self.config.first:
            self._check_frames()

    def _check_frames(self) -> None:
        """Raises ConfigError for a model that takes no frames that are known."""
        if not self.model.takes_frames:
            raise ConfigError(
                "the model takes no frames that are known: train one with "
                "model.denoiser.given=True and task.first, the share of rows that learn so"
            )

    def init(self, rng: jax.Array, batch: Batch) -> dict[str, Any]:
        self.check()
        samples = self._samples(batch)
        times = jnp.zeros(len(samples))
        variables = self.model.init(rng, samples, times, *self._words(batch))
        return {"params": variables["params"], "state": {}}

    def prepare(self, batch: Batch, rng: jax.Array, step: Array) -> Batch:
        """Adds "place" [B], from clean (0) to noise (1), "dropped" and "begun" [B], which rows
        learn without their text and with their first frame, and the words of each row's key, "key"
        [B, 2]."""
        of_places, of_drops, of_keys = jax.random.split(rng, 3)
        rows = batch["weight"].shape[0]
        start = jax.random.uniform(of_places, ())
        begun = jax.random.uniform(jax.random.fold_in(of_drops, 1), (rows,)) < self.config.first
        return {
            **batch,
            "place": (start + jnp.arange(rows) / rows) % 1.0,
            "dropped": jax.random.uniform(of_drops, (rows,)) < self.config.drop,
            "begun": begun,
            "key": jax.random.key_data(jax.random.split(of_keys, rows)),
        }

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
        c = self.config
        keys = jax.random.wrap_key_data(batch["key"])
        latents = self._latents(variables, batch, keys)
        condition = self._apply(variables, self.model.read, *self._words(batch), train=train)
        without = self._apply(variables, self.model.without, condition)
        condition = jax.tree.map(
            lambda there, absent: jnp.where(targets.spread(batch["dropped"], there), absent, there),
            condition,
            without,
        )
        if c.first:
            condition = _beginning(condition, latents, batch["begun"])
        rngs = {"dropout": rng} if train else None

        def said(x: Array, time: Array, condition: Any) -> Array:
            denoise = self.model.denoise
            return self._apply(variables, denoise, x, time, condition, train=train, rngs=rngs)

        values = self._errors(said, latents, batch["place"], keys, condition)
        if c.min_snr:
            levels = c.schedule.at(batch["place"])
            weight = targets.min_snr_weight(
                c.sampling.target, levels.alpha, levels.sigma, c.min_snr
            )
            values = values * weight
        return Loss({"noise_removal": Part(values, batch["weight"])})

    def _errors(
        self, said: sampling.Said, latents: Array, place: Array, keys: Array, condition: Any
    ) -> Float[Array, " B"]:
        """Mean squared error of what the model says of each row at its place."""
        target = self.config.sampling.target
        levels = self.config.schedule.at(place)
        noise = sampling.noise_like(keys, jnp.asarray(0), latents.shape[1:])
        x = targets.noisy(latents, noise, levels.alpha, levels.sigma)
        answer = said(x, levels.time, condition).astype(jnp.float32)
        wanted = targets.wanted(target, latents, noise, levels.alpha, levels.sigma)
        return jnp.square(answer - wanted).mean(tuple(range(1, wanted.ndim)))

    @property
    def predict(self) -> Mapping[str, Predict]:
        return {"generate": self.generate, "error": self.error}

    def error(self, variables: Variables, batch: Batch, keys: Key[Array, " B"]) -> dict[str, Array]:
        """{"error": [B, K]}: squared errors at PLACES, each row with noise of its own."""
        latents = self._latents(variables, batch, keys)
        condition = self._apply(variables, self.model.read, *self._words(batch))

        def said(x: Array, time: Array, condition: Any) -> Array:
            return self._apply(variables, self.model.denoise, x, time, condition)

        found = [
            self._errors(said, latents, jnp.full(len(latents), place), keys, condition)
            for place in PLACES
        ]
        return {"error": jnp.stack(found, 1)}

    def generate(
        self,
        variables: Variables,
        batch: Batch,
        keys: Key[Array, " B"],
        guidance: float | Float[Array, " B"] | None = None,
        steps: int | None = None,
        rescale: float | None = None,
    ) -> dict[str, Array]:
        """{field: samples} of the batch's texts, values from -1 to 1; of a batch with "first"
        [B, H, W, C], a picture of each row, clips that begin with it.

        Args:
          guidance, steps, rescale: instead of those of the config; guidance may be each row's own.
        """
        c = self.config
        scale = guidance if guidance is not None and jnp.ndim(guidance) else None
        asked = {"guidance": None if scale is not None else guidance, "rescale": rescale}
        asked = {name: value for name, value in asked.items() if value is not None}
        config = dataclasses.replace(c.sampling, **asked)
        sampler = c.sampler if steps is None else dataclasses.replace(c.sampler, steps=steps)
        shape = self._latent_shape(variables)
        condition = self._apply(variables, self.model.read, *self._words(batch))
        if "first" in batch:
            self._check_frames()
            first = self._encoded(variables, batch["first"][:, None], keys)
            given = jnp.broadcast_to(first, (len(first), *shape))
            condition = _beginning(condition, given, jnp.ones(len(first), bool))
        without = self._apply(variables, self.model.without, condition)

        def said(x: Array, time: Array, condition: Any) -> Array:
            return self._apply(variables, self.model.denoise, x, time, condition)

        table = samplers.table(sampler, c.schedule)
        made = sampling.sample(said, keys, shape, table, config, condition, without, None, scale)
        if "first" in batch:
            made = made.at[:, :1].set(first)
        samples = self._apply(variables, self.model.decode, made)
        samples = jnp.clip(samples, -1, 1)
        return {c.field: samples[:, 0] if len(c.shape) == 3 else samples}

    def _latent_shape(self, variables: Variables) -> tuple[int, ...]:
        """Of what is sampled, without the rows."""
        self.check()
        shape = self.config.shape
        shape = (1, *shape) if len(shape) == 3 else shape

        def encoded() -> Array:
            keys = jax.random.split(jax.random.key(0), 1)
            return self._apply(variables, self.model.encode, jnp.zeros((1, *shape)), keys)

        return jax.eval_shape(encoded).shape[1:]

    def _latents(self, variables: Variables, batch: Batch, keys: Array) -> Array:
        """What noise is added to."""
        return self._encoded(variables, self._samples(batch), keys)

    def _encoded(self, variables: Variables, samples: Array, keys: Array) -> Array:
        """Nothing of an autoencoder is trained here."""
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 2**31 - 1))(keys)
        return jax.lax.stop_gradient(self._apply(variables, self.model.encode, samples, keys))

    def _samples(self, batch: Batch) -> Float[Array, "B T H W C"]:
        samples = batch[self.config.field]
        return samples if samples.ndim == 5 else samples[:, None]

    def _words(self, batch: Batch) -> tuple[Array, Array]:
        """Ids and their validity, [B, L]."""
        ids = batch[self.config.text]
        mask = batch.get(f"{self.config.text}_mask", jnp.ones(ids.shape, bool))
        return ids, mask

    def _apply(self, variables: Variables, method: Any, *arguments: Any, **more: Any) -> Any:
        params = {"params": variables["params"]}
        return self.model.apply(params, *arguments, method=method, **more)


def _beginning(condition: Any, given: Float[Array, "B T ..."], rows: Array) -> Any:
    """The condition of rows [B] whose first frame is known, and of the others."""
    known = (jnp.arange(given.shape[1]) == 0)[None] & rows[:, None]
    return condition._replace(given=given, known=known)


def build(config: Config, model: nn.Module) -> Diffusion:
    """The task of this file."""
    return Diffusion(config, model)
