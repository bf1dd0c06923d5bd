"""Samplers on a fixed model: ours, and which scheduler of `diffusers` does the same."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.generation.diffusion import samplers, sampling, schedules

SHAPE = (3, 8, 8)  # channels first there, and of no meaning here
ROWS = 2
BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
TARGETS = {"noise": "epsilon", "clean": "sample", "v": "v_prediction"}


class Case(NamedTuple):
    """One way from noise to samples, on both sides."""

    sampler: samplers.Config
    schedule: schedules.Config
    settings: sampling.Config
    scheduler: str  # class of the reference
    options: dict[str, Any]  # that it is made with
    step: dict[str, Any]  # that each of its steps gets


def _steps(
    name: str,
    kind: str,
    target: str,
    count: int,
    spacing: str | None = None,
    *,
    eta: float = 0.0,
    zero: bool = False,
    bounds: str = "none",
) -> Case:
    """A sampler on the steps of a table of betas."""
    options: dict[str, Any] = dict(
        beta_schedule=BETAS[kind], prediction_type=TARGETS[target], rescale_betas_zero_snr=zero
    )
    step: dict[str, Any] = {}
    if name == "dpm_solver":
        options |= dict(thresholding=bounds == "dynamic", sample_max_value=1.5)
    else:
        options |= dict(timestep_spacing=spacing, clip_sample=bounds == "clip")
    if name == "ddim":
        step = dict(eta=eta, use_clipped_model_output=bounds == "clip")
    scheduler = {
        "ddpm": "DDPMScheduler", "ddim": "DDIMScheduler",
        "dpm_solver": "DPMSolverMultistepScheduler",
    }[name]  # fmt: skip
    return Case(
        samplers.Config(name, count, spacing, eta),
        schedules.Config(kind, zero_terminal=zero),
        sampling.Config(target, 1.0, bounds=bounds, most=1.5),
        scheduler, options, step,
    )  # fmt: skip


def _flow(name: str, shift: float) -> Case:
    """A sampler of rectified flow."""
    return Case(
        samplers.Config(name, 9),
        schedules.Config("flow", shift=shift),
        sampling.Config("flow", 1.0),
        f"FlowMatch{name.title()}DiscreteScheduler", dict(shift=shift), {},
    )  # fmt: skip


CASES = {
    "ddpm leading noise": _steps("ddpm", "scaled_linear", "noise", 12, "leading"),
    "ddpm trailing v": _steps("ddpm", "scaled_linear", "v", 12, "trailing"),
    "ddpm linspace clean": _steps("ddpm", "linear", "clean", 12, "linspace"),
    "ddim leading noise": _steps("ddim", "linear", "noise", 10, "leading"),
    "ddim trailing v": _steps("ddim", "cosine", "v", 10, "trailing"),
    "ddim eta": _steps("ddim", "cosine", "v", 10, "trailing", eta=0.6),
    "ddim noise alone": _steps(
        "ddim", "scaled_linear", "v", 10, "trailing", zero=True, bounds="clip"
    ),
    "dpm_solver few": _steps("dpm_solver", "linear", "noise", 4),
    "dpm_solver many": _steps("dpm_solver", "scaled_linear", "v", 20),
    "dpm_solver thresholded": _steps("dpm_solver", "linear", "noise", 20, bounds="dynamic"),
    "euler": _flow("euler", 1.0),
    "euler shifted": _flow("euler", 3.0),
    "heun": _flow("heun", 1.0),
    "heun shifted": _flow("heun", 3.0),
}


def model(x: Any, time: Any, tanh: Any = jnp.tanh) -> Any:
    """Says something of every value."""
    return 0.8 * tanh(1.3 * x + time / 700) - 0.1 * x


def draws() -> np.ndarray:
    """The noise at the start, then that of each step."""
    return np.random.default_rng(0).normal(size=(30, ROWS, *SHAPE)).astype(np.float32)


def ours(case: Case, monkeypatch: Any) -> np.ndarray:
    """Samples of the fixed model."""
    noise = jnp.asarray(draws())
    monkeypatch.setattr(sampling, "noise_like", lambda keys, step, shape: noise[step])
    table = samplers.table(case.sampler, case.schedule)

    def said(x, time, _):
        return model(x, time[:, None, None, None])

    keys = jax.random.split(jax.random.key(0), ROWS)
    run = jax.jit(lambda keys: sampling.sample(said, keys, SHAPE, table, case.settings))
    return np.asarray(run(keys))


def close(found: np.ndarray, expected: np.ndarray, name: str = "samples") -> None:
    """To 1e-5 of the largest value."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5, err_msg=name)
