"""How much of a sample and how much noise there is at each time: x = alpha * clean + sigma * noise.

* Betas of DDPM (https://arxiv.org/abs/2006.11239): "linear"; "scaled_linear", whose square roots
  are evenly spaced (latent diffusion, https://arxiv.org/abs/2112.10752); "cosine" (improved DDPM,
  https://arxiv.org/abs/2102.09672). alpha^2 + sigma^2 = 1.
* `zero_terminal`: the last time is noise alone (https://arxiv.org/abs/2305.08891, algorithm 1).
* "flow": rectified flow (https://arxiv.org/abs/2209.03003), alpha = 1 - sigma, at any time between
  0 and 1.
* `shift` divides alpha / sigma at every time (https://arxiv.org/abs/2301.11093, section 3.1;
  https://arxiv.org/abs/2403.03206, section 5.3.2). Many pixels or frames show the same thing, and
  so show it through more noise: without a shift large pictures and clips hardly learn at the times
  at which it is decided what they are of.
* A model is told of a time as a number from 0 to `steps`, whatever the process.

Letters: S steps of training, B rows, N steps of sampling.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.typing import Array, Float, Int, Positive

MOST_BETA = 0.999  # of the cosine's last steps


class Levels(NamedTuple):
    """Noise of each row: what the model is told, and the two factors."""

    time: Float[Array, " B"]
    alpha: Float[Array, " B"]
    sigma: Float[Array, " B"]


@dataclasses.dataclass(frozen=True)
class Config:
    """A process, from clean samples to noise."""

    kind: Literal["linear", "scaled_linear", "cosine", "flow"] = "cosine"  # as above
    steps: Positive = 1000  # S; of a flow the time that stands for noise alone
    beta_start: float = 1e-4  # of the first step; latent diffusion has 0.00085
    beta_end: float = 0.02  # of the last one; latent diffusion has 0.012
    zero_terminal: bool = False  # the last step is noise alone; the model then says v or clean
    shift: float = 1.0  # alpha / sigma is divided by it

    def __post_init__(self) -> None:
        if self.kind == "flow" and self.zero_terminal:
            raise ConfigError("a flow ends in noise alone: leave zero_terminal out")

    @property
    def continuous(self) -> bool:
        """Whether there are times between the steps."""
        return self.kind == "flow"

    def at(self, place: Float[Array, " B"]) -> Levels:
        """Levels of places between 0 (clean) and 1 (noise), evenly spread in training."""
        if self.continuous:
            sigma = shifted(place, self.shift)
            return Levels(sigma * self.steps, 1 - sigma, sigma)
        index = jnp.clip((place * self.steps).astype(jnp.int32), 0, self.steps - 1)
        alphas, sigmas = factors(self)
        alpha = jnp.asarray(alphas, jnp.float32)[index]
        return Levels(index.astype(jnp.float32), alpha, jnp.asarray(sigmas, jnp.float32)[index])


def shifted(sigma: Array | np.ndarray, shift: float) -> Array | np.ndarray:
    """Of a flow: more of the times near noise."""
    return shift * sigma / (1 + (shift - 1) * sigma)


@functools.lru_cache(maxsize=16)
def factors(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, sigma) of each of the S steps, float64.

    Raises:
      ConfigError: a flow, which has no steps.
    """
    if config.continuous:
        raise ConfigError("a flow has no table of steps")
    squared = np.cumprod(1 - betas(config))  # alpha^2
    if config.zero_terminal:
        alpha = np.sqrt(squared)
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        squared = alpha**2
    squared = squared / (squared + config.shift**2 * (1 - squared))
    return np.sqrt(squared), np.sqrt(1 - squared)


def betas(config: Config) -> np.ndarray:
    """Variance of the noise that each step adds, [S]."""
    start = config.beta_start
    end = config.beta_end
    if config.kind == "linear":
        return np.linspace(start, end, config.steps)
    if config.kind == "scaled_linear":
        return np.linspace(start**0.5, end**0.5, config.steps) ** 2
    edges = np.arange(config.steps + 1) / config.steps
    kept = np.cos((edges + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - kept[1:] / kept[:-1], MOST_BETA)


Spacing = Literal["leading", "trailing", "linspace", "open"]


def spaced(config: Config, count: int, spacing: Spacing = "trailing") -> Int[np.ndarray, " N"]:
    """Steps of sampling among those of training, from noise to clean.

    Args:
      spacing: as table 2 of https://arxiv.org/abs/2305.08891; "open": linspace without the last
        one, as DPM-Solver has it.

    Raises:
      ConfigError: more steps than in training.
    """
    steps = config.steps
    if count > steps:
        raise ConfigError(f"{count} steps of sampling, more than the {steps} of training")
    if spacing == "leading":
        return np.arange(count)[::-1] * (steps // count)
    if spacing == "trailing":
        return np.round(np.arange(steps, 0, -steps / count)).astype(np.int64)[:count] - 1
    places = np.linspace(0, steps - 1, count + (spacing == "open")).round()[::-1]
    return places[:count].astype(np.int64)
