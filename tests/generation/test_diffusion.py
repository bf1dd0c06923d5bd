"""Schedules, targets, guidance and samplers: against the reference's numbers, and against mixtures
of Gaussians whose clean samples are known exactly."""

from pathlib import Path

import diffusion_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion_reference import CASES, close

from mmjax.config import ConfigError
from mmjax.generation.diffusion import guidance, samplers, sampling, schedules, targets

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "diffusion.npz")
MEANS = np.array([-0.6, 0.1, 0.8])
SHARES = np.array([0.5, 0.2, 0.3])
DEVIATION = 0.1


@pytest.mark.parametrize("name", list(CASES))
def test_the_samples_of_the_reference(name, monkeypatch):
    close(reference.ours(CASES[name], monkeypatch), GOLDEN[name])


@pytest.mark.parametrize("target", ["noise", "clean", "v", "flow"])
def test_every_answer_says_the_same(target):
    """What is wanted, read back, gives the clean sample and the noise again: on a circle (alpha^2 +
    sigma^2 = 1) and on a line."""
    clean, noise = (jax.random.normal(jax.random.key(i), (4, 3, 2)) for i in range(2))
    for alpha, sigma in (
        (jnp.array([0.8, 0.6, 0.28, 0.96]), jnp.array([0.6, 0.8, 0.96, 0.28])),
        (jnp.array([0.9, 0.5, 0.3, 0.1]), jnp.array([0.1, 0.5, 0.7, 0.9])),
    ):
        x = targets.noisy(clean, noise, alpha, sigma)
        said = targets.wanted(target, clean, noise, alpha, sigma)
        found = targets.clean_of(target, said, x, alpha, sigma)
        np.testing.assert_allclose(found, clean, atol=1e-5)
        found = targets.noise_of(target, said, x, alpha, sigma)
        np.testing.assert_allclose(found, noise, atol=1e-5)
        # an error of the answer, weighed, is that of the clean sample, weighed
        wrong = targets.clean_of(target, said + 0.01, x, alpha, sigma) - clean
        weight = targets.min_snr_weight("clean", alpha, sigma, 5.0) * (wrong**2).mean((1, 2))
        mine = targets.min_snr_weight(target, alpha, sigma, 5.0) * 0.01**2
        np.testing.assert_allclose(mine, weight, rtol=2e-3)


def mixture(x, alpha, sigma):
    """The mean of the clean samples that x may be of, exactly."""
    means = jnp.asarray(MEANS, jnp.float32)[None]
    variance = alpha**2 * DEVIATION**2 + sigma**2
    apart = x[:, None] - alpha * means
    logits = jnp.log(jnp.asarray(SHARES, jnp.float32))[None] - apart**2 / (2 * variance)
    each = means + alpha * DEVIATION**2 / variance * apart
    return (jax.nn.softmax(logits, -1) * each).sum(-1)


def drawn(name, steps, kind, rows=4000, eta=0.0, start=None):
    """Samples of the mixture by the exact clean sample."""
    schedule = schedules.Config(kind)
    table = samplers.table(samplers.Config(name, steps, eta=eta), schedule)
    levels = {"alpha": table.alpha, "sigma": table.sigma}
    times = jnp.asarray(table.time, jnp.float32)

    def said(x, time, _):
        place = jnp.argmin(jnp.abs(times - time[0]))
        alpha, sigma = (jnp.asarray(levels[k], jnp.float32)[place] for k in ("alpha", "sigma"))
        return mixture(x, alpha, sigma)

    keys = jax.random.split(jax.random.key(1), rows)
    settings = sampling.Config("clean", 1.0)
    run = jax.jit(lambda keys: sampling.sample(said, keys, (), table, settings, start=start))
    return np.asarray(run(keys), np.float64)


@pytest.mark.parametrize(
    "name, steps, kind, eta",
    [
        pytest.param("ddpm", 250, "cosine", 0.0, marks=pytest.mark.slow),
        pytest.param("ddim", 200, "cosine", 0.0, marks=pytest.mark.slow),
        ("ddim", 50, "cosine", 0.7),
        ("dpm_solver", 50, "linear", 0.0),
        pytest.param("euler", 200, "flow", 0.0, marks=pytest.mark.slow),
        ("heun", 40, "flow", 0.0),
    ],
)
def test_samples_of_a_mixture(name, steps, kind, eta):
    """Mean, deviation and shares of its parts to 2% (and what 8,000 draws leave open)."""
    x = drawn(name, steps, kind, 8_000, eta)
    mean = (SHARES * MEANS).sum()
    spread = np.sqrt((SHARES * (MEANS**2 + DEVIATION**2)).sum() - mean**2)
    assert abs(x.mean() - mean) < 0.02
    assert abs(x.std() / spread - 1) < 0.02
    nearest = np.abs(x[:, None] - MEANS).argmin(1)
    found = np.bincount(nearest, minlength=3) / len(x)
    np.testing.assert_allclose(found, SHARES, atol=0.02)


@pytest.mark.parametrize(
    "name, kind, steps, order",
    [
        ("euler", "flow", 40, 1),
        ("heun", "flow", 40, 2),
        ("ddim", "cosine", 80, 1),
        ("dpm_solver", "cosine", 80, 2),
    ],
)
def test_more_steps_less_error(name, kind, steps, order):
    """Twice the steps leave 1 / 2 ** order of the error, beside as many as there can be."""
    start = jnp.linspace(-2, 2, 200)
    best = {"flow": ("heun", 1000), "cosine": ("dpm_solver", 999)}[kind]
    exact = drawn(*best, kind, 200, start=start)
    errors = [
        np.abs(drawn(name, count, kind, 200, start=start) - exact).mean()
        for count in (steps, 2 * steps)
    ]
    assert errors[0] / errors[1] > 0.8 * 2**order


def test_a_row_depends_on_its_key_alone():
    table = samplers.table(samplers.Config("ddpm", 5), schedules.Config())
    keys = jax.random.split(jax.random.key(3), 6)

    @jax.jit
    def run(keys, condition):
        def said(x, time, condition):
            return 0.5 * x + condition[:, None]

        return sampling.sample(
            said, keys, (4,), table, sampling.Config("v", 3.0), condition, jnp.zeros_like(condition)
        )

    condition = jnp.arange(6.0)
    whole = run(keys, condition)
    np.testing.assert_allclose(run(keys[2:4], condition[2:4]), whole[2:4], atol=1e-6)
    assert np.abs(whole[0] - run(keys[1:2], condition[:1])[0]).max() > 0.1


@pytest.mark.parametrize("kind", ["linear", "cosine", "flow"])
def test_a_shift_divides_signal_by_noise(kind):
    """At every time; noise alone stays noise alone."""
    places = jnp.asarray([0.05, 0.3, 0.6, 0.95])
    _, alpha, sigma = schedules.Config(kind).at(places)
    _, shifted_alpha, shifted_sigma = schedules.Config(kind, shift=3.0).at(places)
    np.testing.assert_allclose(shifted_alpha / shifted_sigma, alpha / sigma / 3, rtol=1e-4)
    if kind != "flow":
        np.testing.assert_allclose(shifted_alpha**2 + shifted_sigma**2, 1.0, rtol=1e-5)
        ended = schedules.Config(kind, zero_terminal=True, shift=3.0)
        assert schedules.factors(ended)[0][-1] == 0.0


def test_guidance():
    """Scale 1 is the conditioned answer, 0 the other; all of a rescaled one's deviation is the
    conditioned one's."""
    a, b = (jax.random.normal(jax.random.key(i), (3, 50)) for i in range(2))
    np.testing.assert_allclose(guidance.guided(a, b, 1.0), a, atol=1e-6)
    np.testing.assert_allclose(guidance.guided(a, b, 0.0), b, atol=1e-6)
    found = guidance.guided(a, b, 7.5, 1.0)
    np.testing.assert_allclose(found.std(1, ddof=1), a.std(1, ddof=1), rtol=1e-5)
    assert guidance.thresholded(3 * a, 0.9, 10.0).max() <= 1.0
    np.testing.assert_array_equal(guidance.thresholded(0.1 * a), 0.1 * a)


@pytest.mark.parametrize(
    "fields, schedule, message",
    [
        (dict(name="euler"), "cosine", "does not go with schedule 'cosine'"),
        (dict(name="ddim"), "flow", "take euler and heun"),
        (dict(name="ddim", steps=2000), "cosine", "more than the 1000 of training"),
    ],
)
def test_what_does_not_go_together(fields, schedule, message):
    with pytest.raises(ConfigError, match=message):
        samplers.table(samplers.Config(**fields), schedules.Config(schedule))
    with pytest.raises(ConfigError, match="eta is of ddim"):
        samplers.Config("ddpm", eta=0.5)
    with pytest.raises(ConfigError, match="zero_terminal"):
        schedules.Config("flow", zero_terminal=True)
