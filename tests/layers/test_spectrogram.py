"""Log-mel in a graph: what transforms/mel.py computes in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.layers.mel_scale import Bank
from mmjax.layers.spectrogram import decibels, kaldi_log_mel, log_mel
from mmjax.transforms.mel import LogMel
from mmjax.transforms.mel_ast import AstMel
from mmjax.transforms.mel_clap import ClapMel


def clips():
    """Loud beside quiet frequencies, where float32 fails first."""
    rng = np.random.default_rng(1)
    out = []
    for length in (5_000, 16_000):
        time = np.arange(length) / 16_000
        clip = 0.0003 * rng.normal(size=length) * (time < 0.4) + 0.5 * np.sin(2 * np.pi * 60 * time)
        out.append(clip.astype(np.float32))
    return out


def test_the_numbers_of_the_pipeline():
    batch = np.stack([np.pad(clip, (0, 16_000 - len(clip))) for clip in clips()])
    mask = np.arange(16_000) < np.array([[5_000], [16_000]])
    want = LogMel(seconds=1.0).batch(clips())
    batch = jnp.asarray(batch)
    got = jax.jit(log_mel)(batch, mask)
    np.testing.assert_allclose(got.features, want.features, atol=1e-5)
    np.testing.assert_array_equal(got.mask, want.mask)
    assert log_mel(batch).mask.all()


def test_another_rate_and_gradients():
    samples = np.random.default_rng(0).normal(size=(1, 2_000)).astype(np.float32)
    bank = Bank(16, 200, 8_000, high=4_000.0)
    want = LogMel(16, 8_000, 200, 80, seconds=None).batch(list(samples)).features

    def value(x):
        return log_mel(x, bank=bank, hop=80).features.sum()

    samples = jnp.asarray(samples)
    found, gradient = jax.value_and_grad(value)(samples)
    np.testing.assert_allclose(found, want.sum(), rtol=1e-5)
    direction = jax.random.normal(jax.random.key(0), samples.shape)
    step = 1e-3 * direction
    slope = (value(samples + step) - value(samples - step)) / 2
    np.testing.assert_allclose((gradient * step).sum(), slope, rtol=0.05)


def test_the_front_ends_of_ast_and_clap():
    """Quiet beside loud, means and emphasis: what their transforms compute in float64."""
    clip = clips()[1]
    ast = AstMel(frames=120)  # 98 of sound, the others filled up
    want, mask = ast.of(clip[:9_000])
    padded = jnp.asarray(np.pad(clip[:9_000], (0, 7_000)))[None]
    got = kaldi_log_mel(padded, ast.spectrum, jnp.arange(16_000)[None] < 9_000, 120)
    np.testing.assert_allclose(got.features[0], want, atol=1e-5)
    np.testing.assert_array_equal(got.mask[0], mask)
    clap = ClapMel("rand_trunc", rate=16_000, seconds=1, high=8_000.0)
    got = decibels(jnp.asarray(clip)[None], clap.spectrum)
    np.testing.assert_allclose(got, clap.of(clip).features, rtol=1e-5)
