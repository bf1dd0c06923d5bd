"""Blocks of U-Nets against plain forms of the same."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.layers.unet.convolution import Double, convolve, over_time
from mmjax.layers.unet.group_norm import GroupNorm
from mmjax.layers.unet.start import by_inputs
from mmjax.layers.unet.times import waves
from mmjax.layers.unet.transformers import SpatialTransformer


def draw(*shape):
    return jax.random.normal(jax.random.key(len(shape)), shape)


def test_group_norm_is_flax_own():
    x = 3 + 2 * draw(2, 3, 5, 12)
    scale, bias = 1 + draw(12), draw(12)
    params = {"params": {"scale": scale, "bias": bias}}
    plain = nn.GroupNorm(4, epsilon=1e-3, use_fast_variance=False).apply(params, x)
    np.testing.assert_allclose(GroupNorm(4, 1e-3).apply(params, x), plain, atol=1e-5)
    with pytest.raises(ConfigError, match="12 channels are no multiple of the 5 groups"):
        GroupNorm(5).init(jax.random.key(0), x)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 3), (3, 3), (4, 3)])
def test_convolution_of_small_pictures(size):
    x, kernel = draw(3, *size, 5), draw(3, 3, 5, 6)

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    np.testing.assert_allclose(convolve(x, kernel), plain(x, kernel), atol=1e-5)
    weight = draw(3, *size, 6)
    found, wanted = (
        jax.grad(lambda kernel, f=f: (f(x, kernel) * weight).sum())(kernel)
        for f in (convolve, plain)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("frames", [1, 4])
def test_convolution_over_time(frames, causal):
    x, kernel = draw(2, frames, 3, 2, 5), draw(3, 5, 6)
    edge = (2, 0) if causal else (1, 1)
    plain = jax.lax.conv_general_dilated(
        x, kernel[:, None, None], (1, 1, 1), [edge, (0, 0), (0, 0)],
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )  # fmt: skip
    np.testing.assert_allclose(over_time(x, kernel, causal=causal), plain, atol=1e-5)


def test_doubling_is_repeating_and_a_convolution():
    x = draw(2, 3, 4, 5)
    params = Double(6).init(jax.random.key(0), x)
    inside = nn.unbox(params)["params"]["convolution"]
    repeated = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    plain = convolve(repeated, inside["kernel"])
    np.testing.assert_allclose(Double(6).apply(params, x), plain, atol=1e-5)


def test_waves_and_the_start_of_kernels():
    found = waves(jnp.array([0.0, 2.5]), 5)
    angles = np.array([2.5, 2.5 / 100])
    np.testing.assert_allclose(found[0], [1, 1, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[1], [*np.cos(angles), *np.sin(angles), 0], atol=1e-6)
    kernel = by_inputs(jax.random.key(0), (3, 3, 40, 30))
    assert kernel.shape == (3, 3, 40, 30)
    np.testing.assert_allclose(kernel.std(), 360**-0.5, rtol=0.03)


@pytest.mark.parametrize("joint", [False, True])
def test_frames_that_attend_at_once_are_told_apart(joint):
    """Frames in another order give the answers in that order, but where they see each other."""
    transformer = SpatialTransformer(heads=2, groups=2, joint=joint)
    x = jax.random.normal(jax.random.key(0), (2, 3, 2, 2, 4))
    states = jax.random.normal(jax.random.key(1), (2, 5, 6))
    variables = nn.unbox(transformer.init(jax.random.key(2), x, states))
    variables = jax.tree.map(lambda kernel: kernel + 0.1, variables)  # "out" starts with zeros
    backwards = transformer.apply(variables, x[:, ::-1], states)[:, ::-1]
    same = np.allclose(backwards, transformer.apply(variables, x, states), atol=1e-5)
    assert same != joint
