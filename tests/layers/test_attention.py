"""Long attention on one CPU, logits of the token table, masks of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.layers import attention, dense


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("kv_heads, cap, masked", [(4, None, False), (2, 5.0, True)])
def test_long_attention_is_attention(monkeypatch, kv_heads, cap, masked):
    """Values to 4e-7, gradients as well, for grouped queries, caps and masks; a query that sees
    nothing gets the mean."""
    length, keys = 9, attention.LONG_ON_CPU
    monkeypatch.setattr(attention, "PIECE", 4 * keys)  # three queries at a time
    query, target = draw(0, 2, length, 4, 8), draw(4, 2, length, 4, 8)
    key, value = draw(1, 2, keys, kv_heads, 8), draw(2, 2, keys, kv_heads, 8)
    mask = jax.random.bernoulli(jax.random.key(3), 0.5, (2, 1, length, keys)) if masked else None
    if masked:
        mask = mask.at[0, 0, 0].set(False)

    def run():
        def loss(query, key, value):
            out = attention.dot_product_attention(query, key, value, mask, cap=cap)
            return (out * target).sum(), out

        grad = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
        program = jax.jit(grad).lower(query, key, value)
        (_, out), gradients = program.compile()(query, key, value)
        return program.as_text(), (out, *gradients)

    long, found = run()
    monkeypatch.setattr(attention, "LONG_ON_CPU", keys + 1)
    short, expected = run()
    assert "stablehlo.while" in long and "stablehlo.while" not in short
    np.testing.assert_allclose(found[0], expected[0], atol=4e-7)
    for a, b in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
    if masked:
        mean = value[0].mean(0).repeat(2, axis=0)
        np.testing.assert_allclose(found[0][0, 0], mean, atol=1e-6)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_logits_of_the_token_table(dtype, tolerance):
    """Value and gradients, without a transposed copy of the table."""
    x, table, g = draw(0, 2, 3, 8), draw(1, 21, 8), draw(2, 2, 3, 21)

    def run(function):
        y, back = jax.vjp(function, x, table)
        return (y, *back(g))

    program = jax.jit(lambda: run(lambda x, t: dense.unembed(x, t, dtype))).lower()
    for found, exact in zip(program.compile()(), run(lambda x, t: x @ t.T), strict=True):
        assert found.shape == exact.shape and found.dtype == jnp.float32
        assert np.linalg.norm(found - exact) < tolerance * np.linalg.norm(exact)
    assert "tensor<8x21x" not in program.as_text()


def test_a_mask_of_numbers_is_a_mask():
    mask = attention.as_mask(jnp.array([[0, 1, 1]]))
    assert mask.dtype == bool and mask.tolist() == [[False, True, True]]
    assert attention.as_mask(None) is None
    built = attention.attention_mask(jnp.array([[1, 0]]), 2, causal=True)
    assert built.dtype == bool and not built[..., 1].any()
