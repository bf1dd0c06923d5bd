"""Layers by their properties: causality, padding, precision, patches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.layers import dense, patches, pooling, transformer
from mmjax.layers.attention import attention_mask

CONFIG = transformer.Config(width=16, layers=3, heads=2, hidden=32)


def build(config, x, mask=None):
    module = transformer.Transformer(config)
    return module, unbox(module.init(jax.random.key(0), x, mask))


def test_causality_is_exact():
    """The gradient of position i with respect to later inputs is zero, not small."""
    x = jax.random.normal(jax.random.key(1), (1, 5, 16))
    mask = attention_mask(None, 5, causal=True)
    module, variables = build(CONFIG, x, mask)
    jacobian = jax.jacobian(lambda x: module.apply(variables, x, mask)[0].sum(-1))(x)[:, 0]
    strength = np.abs(np.asarray(jacobian)).sum(-1)  # [out, in]
    assert not np.triu(strength, 1).any()
    assert np.all(np.diag(strength) > 0)


def test_padding_changes_nothing():
    x = jax.random.normal(jax.random.key(1), (2, 6, 16))
    valid = jnp.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], bool)
    mask = attention_mask(valid, 6, causal=False)
    module, variables = build(CONFIG, x, mask)
    full = module.apply(variables, x, mask)
    other = module.apply(variables, x.at[0, 4:].set(100.0), mask)
    np.testing.assert_array_equal(full[0, :4], other[0, :4])
    short = module.apply(variables, x[:1, :4])
    np.testing.assert_allclose(full[0, :4], short[0], atol=1e-5)


@pytest.mark.parametrize("change", [dict(remat="full"), dict(remat="dots"), dict(unroll=3)])
def test_remat_and_unrolling_change_no_number(change):
    x = jax.random.normal(jax.random.key(1), (2, 5, 16))
    module, variables = build(CONFIG, x)
    other = transformer.Transformer(transformer.dataclasses.replace(CONFIG, **change))

    def loss(module, variables):
        return (module.apply(variables, x) ** 2).sum()

    plain = jax.value_and_grad(lambda v: loss(module, v))(variables)
    changed = jax.value_and_grad(lambda v: loss(other, v))(variables)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(changed), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_stacked_parameters_are_the_blocks_one_by_one():
    """The scan applies slice i of the stack as layer i, and layers start differently."""
    x = jax.random.normal(jax.random.key(1), (1, 4, 16))
    module, variables = build(CONFIG, x)
    stack = variables["params"]["blocks"]
    assert not np.allclose(*stack["mlp"]["up"]["kernel"][:2])
    block, y = transformer.Block(CONFIG, False), x
    for i in range(CONFIG.layers):
        own = {"params": jax.tree.map(lambda p, i=i: p[i], stack)}
        (y, _), _ = block.apply(own, (y, None), jnp.int32(i), *[None] * 5)
    np.testing.assert_allclose(module.apply(variables, x), y, atol=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_matmul_and_its_gradient(dtype, tolerance):
    keys = jax.random.split(jax.random.key(0), 3)
    x, w = jax.random.normal(keys[0], (3, 4, 8)), jax.random.normal(keys[1], (8, 5))
    g = jax.random.normal(keys[2], (3, 4, 5))
    y, back = jax.vjp(lambda x, w: dense.matmul(x, w, dtype), x, w)
    expected, exact_back = jax.vjp(lambda x, w: x @ w, x, w)
    assert y.dtype == jnp.float32
    for a, b in zip((y, *back(g)), (expected, *exact_back(g)), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        error = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert error < tolerance, error


def test_low_precision_is_close_to_full():
    x = jax.random.normal(jax.random.key(1), (2, 5, 16))
    module, variables = build(CONFIG, x)
    exact = module.apply(variables, x)
    replace = transformer.dataclasses.replace
    for change in (dict(dtype="bfloat16"), dict(dtype="bfloat16", stream="bfloat16")):
        low = transformer.Transformer(replace(CONFIG, **change)).apply(
            variables, x.astype(change.get("stream", "float32"))
        )
        assert low.dtype == change.get("stream", "float32")
        assert np.linalg.norm(low - exact) / np.linalg.norm(exact) < 2e-2


def test_patchify_orders_patches_and_values():
    image = jnp.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
    rows = patches.patchify(image, 2)
    assert rows.shape == (2, 6, 12)
    np.testing.assert_array_equal(rows[0, 1], image[0, 0:2, 2:4].reshape(-1))
    np.testing.assert_array_equal(rows[0, 3], image[0, 2:4, 0:2].reshape(-1))
    np.testing.assert_array_equal(patches.unpatchify(rows, 2, 4, 6), image)
    with pytest.raises(ValueError, match="4 x 6 pixels does not divide into patches of 4"):
        patches.patchify(image, 4)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_overlapping_windows_are_a_convolution(stride):
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (2, 2 * stride, 3 * stride, 3))
    side = stride + stride // 2
    kernel = jax.random.normal(keys[1], (side, side, 3, 5))
    edge = (stride // 2 - stride // 4, stride // 4)
    expected = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), (edge, edge), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    got = patches.overlapping(x, stride) @ kernel.reshape(-1, 5)[None, None]
    np.testing.assert_allclose(got, expected, atol=1e-4)
    with pytest.raises(ValueError, match="do not divide into blocks"):
        patches.overlapping(x[:, 1:], stride)


def test_pooling_sees_valid_positions_only():
    x = jax.random.normal(jax.random.key(0), (2, 4, 16))
    valid = jnp.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    np.testing.assert_allclose(pooling.masked_mean(x, valid)[0], x[0, :2].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(pooling.last_valid(x, valid), jnp.stack([x[0, 1], x[1, 3]]))
    pool = pooling.AttentionPool(CONFIG)
    variables = unbox(pool.init(jax.random.key(0), x, valid))
    changed = x.at[0, 2:].set(9.0)
    np.testing.assert_array_equal(
        pool.apply(variables, x, valid), pool.apply(variables, changed, valid)
    )
