"""Ways from noise to a sample, each as a table of numbers: one loop (sampling.py) serves them all.

Every step of these samplers is a sum of what is there already:

    x' = start * (x at the start of a pair) + sample * x + clean * (clean sample, as the model sees
         it now) + before * (as it saw it a call ago) + noise * (fresh noise)

* DDPM, ancestral, https://arxiv.org/abs/2006.11239; variance "small" (the posterior's).
* DDIM, https://arxiv.org/abs/2010.02502; eta = 0 draws nothing, 1 is DDPM. On a flow's levels with
  eta = 0 it is Euler's method.
* DPM-Solver++ (2M, multistep), https://arxiv.org/abs/2211.01095: two calls make a line through the
  clean samples; its last step is of the first order, where the noise ends.
* Heun's method for a flow: a step of Euler, and the mean of the slopes at both of its ends.

All in float64; the loop takes them in float32.

Letters: N calls of the model, S steps of training.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.generation.diffusion import schedules
from mmjax.generation.diffusion.schedules import Spacing
from mmjax.typing import Float, Positive


@dataclasses.dataclass(frozen=True)
class Config:
    name: Literal["ddpm", "ddim", "dpm_solver", "euler", "heun"] = "ddim"  # as above
    steps: Positive = 50  # of sampling; Heun's calls the model twice in each but the last
    # which steps of training are taken; None: "open" for DPM-Solver, else "trailing"
    spacing: Spacing | None = None
    eta: float = 0.0  # of DDIM: noise that is drawn, as a share of DDPM's

    def __post_init__(self) -> None:
        if self.eta and self.name != "ddim":
            raise ConfigError(f"eta is of ddim; name is {self.name!r}")


@dataclasses.dataclass(frozen=True)
class Table:
    """One row for each call of the model."""

    time: Float[np.ndarray, " N"]  # what the model is told
    alpha: Float[np.ndarray, " N"]  # of what the model reads
    sigma: Float[np.ndarray, " N"]
    start: Float[np.ndarray, " N"]  # factors of the sum above
    sample: Float[np.ndarray, " N"]
    clean: Float[np.ndarray, " N"]
    before: Float[np.ndarray, " N"]
    noise: Float[np.ndarray, " N"]
    ends: Float[np.ndarray, " N"]  # 1: here a pair, or a single step, ends


def table(config: Config, schedule: schedules.Config) -> Table:
    """The numbers of a sampler on a process.

    Raises:
      ConfigError: a flow's sampler on steps, or the other way round; too many steps.
    """
    flow = config.name in ("euler", "heun")
    if flow != schedule.continuous:
        kinds = "euler and heun" if schedule.continuous else "ddpm, ddim and dpm_solver"
        raise ConfigError(
            f"sampler {config.name!r} does not go with schedule {schedule.kind!r}: take {kinds}"
        )
    if flow:
        # as the reference has them: evenly from 1 to 1 / S, then moved twice by the shift
        ends = schedules.shifted(np.array([1.0, 1 / schedule.steps]), schedule.shift)
        sigma = schedules.shifted(np.linspace(*ends, config.steps), schedule.shift)
        levels = (sigma * schedule.steps, 1 - sigma, sigma)
    else:
        spacing = config.spacing or ("open" if config.name == "dpm_solver" else "trailing")
        index = schedules.spaced(schedule, config.steps, spacing)
        alphas, sigmas = schedules.factors(schedule)
        levels = (index.astype(np.float64), alphas[index], sigmas[index])
    makers = {
        "ddpm": _ddpm, "ddim": _ddim, "dpm_solver": _dpm_solver, "euler": _ddim, "heun": _heun,
    }  # fmt: skip
    return makers[config.name](*levels, config.eta)


def _following(alpha: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The levels that each step leads to; the last one to the clean sample."""
    return np.append(alpha[1:], 1.0), np.append(sigma[1:], 0.0)


def _rows(time: np.ndarray, alpha: np.ndarray, sigma: np.ndarray, **factors: np.ndarray) -> Table:
    """A table whose other factors are 0, each row a step of its own."""
    zeros = dict.fromkeys(("start", "sample", "clean", "before", "noise"), np.zeros_like(alpha))
    ends = np.ones_like(alpha)
    return Table(**{**dict(time=time, alpha=alpha, sigma=sigma, ends=ends), **zeros, **factors})


def _posterior(alpha: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(beta of each step, variance of x' that x and the clean sample leave open)."""
    next_alpha, next_sigma = _following(alpha, sigma)
    beta = 1 - (alpha / next_alpha) ** 2
    return beta, (next_sigma / sigma) ** 2 * beta


def _ddpm(time: np.ndarray, alpha: np.ndarray, sigma: np.ndarray, eta: float) -> Table:
    next_alpha, next_sigma = _following(alpha, sigma)
    beta, variance = _posterior(alpha, sigma)
    clean = next_alpha * beta / sigma**2
    sample = alpha / next_alpha * (next_sigma / sigma) ** 2
    return _rows(time, alpha, sigma, clean=clean, sample=sample, noise=np.sqrt(variance))


def _ddim(time: np.ndarray, alpha: np.ndarray, sigma: np.ndarray, eta: float) -> Table:
    next_alpha, next_sigma = _following(alpha, sigma)
    noise = np.zeros_like(alpha)
    if eta:
        noise = eta * np.sqrt(_posterior(alpha, sigma)[1])
    # along the noise that is in x: (x - alpha * clean) / sigma
    along = np.sqrt(np.maximum(next_sigma**2 - noise**2, 0))
    sample = along / sigma
    return _rows(
        time, alpha, sigma, clean=next_alpha - sample * alpha, sample=sample, noise=noise
    )  # fmt: skip


def _dpm_solver(time: np.ndarray, alpha: np.ndarray, sigma: np.ndarray, eta: float) -> Table:
    next_alpha, next_sigma = _following(alpha, sigma)
    with np.errstate(divide="ignore", invalid="ignore"):
        half_log_ratio = np.log(alpha) - np.log(sigma)
        step = np.append(half_log_ratio[1:], np.inf) - half_log_ratio
        line = np.append(0.0, 0.5 * step[1:] / step[:-1])  # how far the line goes on
    line[-1] = 0.0
    # a first step from noise alone is infinitely long, and says nothing of the second
    line = np.nan_to_num(line, nan=0.0)
    reach = -next_alpha * np.expm1(-step)
    return _rows(
        time, alpha, sigma, sample=next_sigma / sigma, clean=reach * (1 + line),
        before=-reach * line,
    )  # fmt: skip


def _heun(time: np.ndarray, alpha: np.ndarray, sigma: np.ndarray, eta: float) -> Table:
    steps = len(sigma)
    calls = 2 * steps - 1
    places = np.concatenate([[0], np.repeat(np.arange(1, steps), 2)])  # levels that are read
    out = {name: np.zeros(calls) for name in ("start", "sample", "clean", "before")}
    ends = np.zeros(calls)
    for number in range(calls - 1):
        here = sigma[places[number]]
        if number % 2 == 0:  # Euler's step: x + (next - here) * (x - clean) / here
            ratio = sigma[number // 2 + 1] / here
            out["sample"][number] = ratio
            out["clean"][number] = 1 - ratio
            continue
        first = sigma[places[number - 1]]
        half = 0.5 * (here - first)
        out["start"][number] = 1 + half / first
        out["before"][number] = -half / first
        out["sample"][number] = half / here
        out["clean"][number] = -half / here
        ends[number] = 1
    out["clean"][-1] = 1.0  # the last step, of Euler, ends in the clean sample
    ends[-1] = 1
    return Table(
        time[places], alpha[places], sigma[places], noise=np.zeros(calls), ends=ends, **out
    )
