"""Schedules, samplers and guidance beside those of `diffusers`."""

import diffusion_reference as reference
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion_reference import CASES, close, draws

from mmjax.generation.diffusion import guidance, schedules, targets

diffusers = pytest.importorskip("diffusers")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


def theirs(case, monkeypatch):
    """Samples by the reference's own loop."""
    noise = iter(torch.tensor(draws()))
    x = next(noise)
    scheduler = getattr(diffusers, case.scheduler)(**case.options)
    module = type(scheduler).__module__
    monkeypatch.setattr(f"{module}.randn_tensor", lambda *_, **__: next(noise))
    scheduler.set_timesteps(case.sampler.steps)
    for time in scheduler.timesteps:
        said = reference.model(x, time, torch.tanh)
        x = scheduler.step(said, time, x, **case.step).prev_sample
    return x.numpy()


@pytest.mark.parametrize("name", list(CASES))
def test_samplers(name, monkeypatch):
    close(reference.ours(CASES[name], monkeypatch), theirs(CASES[name], monkeypatch))


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("kind", list(reference.BETAS))
def test_schedules(kind, zero):
    scheduler = diffusers.DDPMScheduler(
        beta_schedule=reference.BETAS[kind], rescale_betas_zero_snr=zero
    )
    alpha, sigma = schedules.factors(schedules.Config(kind, zero_terminal=zero))
    squared = scheduler.alphas_cumprod.numpy()
    np.testing.assert_allclose(alpha**2, squared, atol=1e-6)
    np.testing.assert_allclose(sigma**2, 1 - squared, atol=1e-6)


def test_noisy_samples_and_velocities():
    scheduler = diffusers.DDPMScheduler(beta_schedule="scaled_linear")
    clean, noise = (torch.tensor(x) for x in draws()[:2])
    times = torch.tensor([3, 800])
    factors = schedules.factors(schedules.Config("scaled_linear"))
    levels = [jnp.asarray(x[times.numpy()], jnp.float32) for x in factors]
    arrays = (jnp.asarray(clean), jnp.asarray(noise), *levels)
    close(targets.noisy(*arrays), scheduler.add_noise(clean, noise, times).numpy(), "noisy")
    close(targets.wanted("v", *arrays), scheduler.get_velocity(clean, noise, times).numpy(), "v")


def test_guidance_rescale():
    name = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion"
    module = pytest.importorskip(name, exc_type=ImportError)
    conditioned, unconditioned = draws()[:2]
    found = guidance.guided(jnp.asarray(conditioned), jnp.asarray(unconditioned), 7.5, 0.7)
    plain = unconditioned + 7.5 * (conditioned - unconditioned)
    expected = module.rescale_noise_cfg(torch.tensor(plain), torch.tensor(conditioned), 0.7)
    close(np.asarray(found), expected.numpy())
