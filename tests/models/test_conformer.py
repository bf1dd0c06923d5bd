"""The Conformer: padding, its convolution over time, what is refused."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.layers import transformer
from mmjax.models import conformer

BODY = transformer.Config(width=8, layers=1, heads=2, hidden=16, activation="silu")
CONFIG = conformer.Config(bins=3, transformer=BODY, taps=5, letters=6)


def test_padding_changes_nothing():
    model = conformer.Model(CONFIG)
    features = jax.random.normal(jax.random.key(0), (2, 21, 3))
    mask = jnp.arange(21)[None] < jnp.array([[21], [10]])
    variables = nn.unbox(model.init(jax.random.key(1), features, mask))
    alone = model.apply(variables, features[1:, :10]).logits
    filled = jnp.where(mask[..., None], features, 9.0)
    longer = jnp.pad(filled, ((0, 0), (0, 7), (0, 0)), constant_values=5.0)
    together = model.apply(variables, longer, jnp.pad(mask, ((0, 0), (0, 7))))
    assert model.frame_mask(mask).sum(1).tolist() == [6, 3] and alone.shape == (1, 3, 6)
    np.testing.assert_allclose(together.logits[1, :3], alone[0], atol=1e-5)
    whole = model.apply(variables, features[:1]).logits
    np.testing.assert_allclose(together.logits[0, :6], whole[0], atol=1e-5)


def test_each_channel_has_its_own_taps():
    x = jax.random.normal(jax.random.key(0), (2, 9, 4))
    kernel = jax.random.normal(jax.random.key(1), (5, 4))

    def convolved(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel[:, None], (1,), [(2, 2)], dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=4,
        )  # fmt: skip

    def loss(function):
        return lambda x, kernel: (jnp.sin(function(x, kernel))).sum()

    got = jax.value_and_grad(loss(conformer.over_time), argnums=(0, 1))(x, kernel)
    want = jax.value_and_grad(loss(convolved), argnums=(0, 1))(x, kernel)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_wrong_sizes_are_explained():
    with pytest.raises(ConfigError, match="subsampling=3 is no power of two"):
        conformer.Config(subsampling=3)
    with pytest.raises(ConfigError, match="taps=4: an odd number has a middle"):
        conformer.Config(taps=4)
    with pytest.raises(ConfigError, match='a Conformer\'s norms are "pre"'):
        conformer.Config(transformer=dataclasses.replace(BODY, norm="post"))
    narrow = dataclasses.replace(CONFIG, transformer=dataclasses.replace(BODY, width=9, heads=3))
    with pytest.raises(ConfigError, match="the width 9 does not make 3 heads of even size"):
        jax.eval_shape(conformer.Model(narrow).init, jax.random.key(0), jnp.zeros((1, 8, 3)))
