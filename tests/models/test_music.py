"""The music encoder: a tune a semitone higher has its keys a semitone higher, and what returns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.models import music

CONFIG = music.Config(
    48, onsets=2, bands=2, channels=2, taps=3, width=8, lags=8, strides=1,
    heads=(music.Head("signature", 12, tonal=True), music.Head("key", 24, tonal=True)),
)  # fmt: skip


def test_transposition_moves_the_tonal_heads():
    model = music.Model(CONFIG)
    frames = np.zeros((2, 16, CONFIG.frame), np.float32)
    # two octaves in the middle: neither end is reached
    frames[..., 12:36] = np.random.default_rng(0).random((2, 16, 24))
    higher = np.concatenate(
        [np.roll(frames[..., : CONFIG.bins], 3, axis=-1), frames[..., CONFIG.bins :]], axis=-1
    )
    variables = nn.unbox(model.init(jax.random.key(0), jnp.asarray(frames)))
    first = model.apply(variables, jnp.asarray(frames)).logits
    second = model.apply(variables, jnp.asarray(higher)).logits
    for name, classes in (("signature", 1), ("key", 2)):
        moved = np.roll(first[name], 3 * classes, axis=1)
        np.testing.assert_allclose(second[name], moved, atol=1e-5)
        assert np.abs(first[name] - moved).max() > 1e-3  # it says something


def test_autocorrelation_is_that_of_its_definition():
    x = np.random.default_rng(1).normal(size=(1, 20, 2)).astype(np.float32)
    found = music.autocorrelation(jnp.asarray(x), 4)
    centred = x[0] - x[0].mean(0)
    for lag in range(1, 5):
        pairs = (centred[lag:] * centred[:-lag]).mean(0)
        expected = pairs / (centred**2).mean(0)
        np.testing.assert_allclose(found[0, lag - 1], expected, rtol=1e-4, atol=1e-5)


def test_what_returns_is_found_where_it_returns():
    x = np.zeros((1, 60, 1), np.float32)
    x[0, ::7] = 1
    assert int(music.autocorrelation(jnp.asarray(x), 10)[0, :, 0].argmax()) + 1 == 7


@pytest.mark.parametrize(("fields", "said"), [
    (dict(bins=50), "whole octaves"),
    (dict(taps=4), "odd number"),
    (dict(heads=(music.Head("key", 13, tonal=True),)), "12 pitch classes"),
])  # fmt: skip
def test_sizes_that_cannot_be(fields, said):
    with pytest.raises(ConfigError, match=said):
        music.Config(**fields)
