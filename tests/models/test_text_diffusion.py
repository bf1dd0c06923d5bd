"""What the denoiser reads where there is no text, pixels that are folded, and what is refused."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.making import EMPTY, FOLDED, WORDS, clips

from mmjax.config import ConfigError
from mmjax.models import text, text_diffusion
from mmjax.models.text_diffusion import folded, unfolded


def test_folding_loses_nothing():
    x = jnp.arange(2 * 3 * 4 * 6 * 2.0).reshape(2, 3, 4, 6, 2)
    small = folded(x, 2)
    assert small.shape == (2, 3, 2, 3, 8)
    np.testing.assert_array_equal(small[0, 0, 0, 1, :4], x[0, 0, 0, 2:4].reshape(-1))
    np.testing.assert_array_equal(unfolded(small, 2), x)
    with pytest.raises(ConfigError, match="4 x 6 do not divide into 3 x 3"):
        folded(x, 3)


def test_nothing_to_read():
    _, _, ids, mask = clips(4)
    tower = nn.unbox(jax.jit(text.Model(WORDS).init)(jax.random.key(0), ids, mask))["params"]
    params = {"text": tower, "nothing": jnp.full((1, 16), 0.5)}
    for config, count in ((FOLDED, 1), (EMPTY, 2)):
        model = text_diffusion.Model(config)

        @jax.jit
        def both(params, ids, mask, model=model):
            read = model.apply({"params": params}, ids, mask, method="read")
            return read, model.apply({"params": params}, read, method="without")

        read, without = both(params, ids, mask)
        assert read.states.shape == without.states.shape == (4, 6, 16)
        np.testing.assert_array_equal(read.mask, mask)
        np.testing.assert_array_equal(without.states, without.states[:1].repeat(4, 0))
        # a vector that is learned, at one place; or the two ids of an empty text
        assert without.mask.sum(1).tolist() == [count] * 4
    first = jnp.zeros((4, 6), jnp.int32).at[:, :2].set(jnp.array([[1, 2]]))
    again, _ = both(params, first, jnp.broadcast_to(jnp.arange(6)[None] < 2, (4, 6)))
    np.testing.assert_allclose(again.states[0, :2], without.states[0, :2], atol=1e-5)


def test_what_does_not_fit():
    with pytest.raises(ConfigError, match="denoiser.text_width=8.* 16 numbers"):
        dataclasses.replace(FOLDED, denoiser=dataclasses.replace(FOLDED.denoiser, text_width=8))
    model = text_diffusion.Model(FOLDED)
    model.check((2, 4, 4, 2))
    for shape, said in (
        ((3, 4, 4, 2), "3 frames, and the model has at most 2"),
        ((2, 5, 4, 2), "multiples of it"),
        ((2, 4, 4, 3), "12 channels"),
    ):
        with pytest.raises(ConfigError, match=said):
            model.check(shape)
    short = text_diffusion.Model(dataclasses.replace(EMPTY, empty=()))
    with pytest.raises(ConfigError, match="give the ids of an empty text"):
        jax.eval_shape(short.init, jax.random.key(0), *clips(2))
