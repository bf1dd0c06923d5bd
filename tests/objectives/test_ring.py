"""The ring form is the plain form: values, gradients, what is found, on any mesh and any number of
rows; and it never forms the matrix of logits."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from toy import QUICK, mesh

from mmjax.objectives import contrastive, ring
from mmjax.training import sharding

E = 16
LOSSES = ["softmax", "sigmoid"]
MESHES = [
    {},  # none is set
    dict(data=1),
    dict(data=1, fsdp=2),
    dict(data=2, tensor=2),
    dict(data=8),
    dict(data=2, fsdp=2, tensor=2),
]


@functools.cache
def batch(rows, scale):
    """Pairs that resemble each other, in groups, some of them nobody's."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, rows, E))
    b = b + 0.8 * a
    sides = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (a, b)]
    weights = np.ones(rows, np.float32)
    weights[[1, rows - 2]] = 0
    groups = rng.integers(rows // 2, size=rows).astype(np.int32)
    return (*sides, np.float32(scale), np.float32(-scale / 2)), (weights, groups)


def call(form, loss, inputs, rows, **more):
    """Comparison: softmax takes no bias."""
    return getattr(form, loss)(*inputs[: 3 if loss == "softmax" else 4], *rows, **more)


def values_and_gradients(form, loss, inputs, rows, **more):
    """Comparison, and the gradients of a sum in which every row of either direction has a share of
    its own."""

    def total(inputs, rows):
        pairs = call(form, loss, inputs, rows, **more)
        share = jnp.linspace(0.5, 1.5, len(pairs.loss_a_to_b))
        losses = share * pairs.loss_a_to_b + share[::-1] * pairs.loss_b_to_a
        return jnp.sum(rows[0] * losses), pairs

    differentiate = jax.jit(jax.grad(total, has_aux=True), compiler_options=QUICK)
    gradients, pairs = differentiate(inputs, rows)
    return jax.device_get((pairs, gradients))


@functools.cache
def plainly(loss):
    return values_and_gradients(contrastive, loss, *batch(52, 10.0))


def exactly(loss, inputs, rows):
    """The losses in double precision."""
    a, b, scale, bias = (np.asarray(x, np.float64) for x in inputs)
    weights, groups = rows
    negative = (groups[:, None] != groups) & (weights[:, None] > 0) & (weights > 0)
    logits = scale * a @ b.T + (bias if loss == "sigmoid" else 0)
    own = np.diagonal(logits)
    with np.errstate(divide="ignore"):
        if loss == "sigmoid":
            against = np.where(negative, np.logaddexp(0, logits), 0)
            return [np.logaddexp(0, -own) + against.sum(axis) for axis in (1, 0)]
        against = np.where(negative, logits, -np.inf)
        sums = [np.logaddexp.reduce(against, axis) for axis in (1, 0)]
    return [np.logaddexp(0, one - own) for one in sums]


# 52 rows: 13 on each of 4 devices, padded on 8; none of these divides into tiles of 5
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_every_mesh_gives_the_plain_result(loss, sizes):
    inputs, rows = batch(52, 10.0)
    right, gradients = plainly(loss)
    if not sizes:
        found, pulled = values_and_gradients(ring, loss, inputs, rows, tile=5)
    else:
        where = mesh(math.prod(sizes.values()), **sizes)
        with jax.set_mesh(where):
            found, pulled = values_and_gradients(ring, loss, inputs, rows, tile=5)
    for name in ("loss_a_to_b", "loss_b_to_a"):
        value, plain = getattr(found, name), getattr(right, name)
        assert np.all(np.abs(value - plain) <= 1e-6 * np.maximum(1, np.abs(plain))), name
    np.testing.assert_array_equal(found.correct_a_to_b, right.correct_a_to_b)
    np.testing.assert_array_equal(found.correct_b_to_a, right.correct_b_to_a)
    assert 0 < right.correct_a_to_b.mean() < 1
    for name, one, plain in zip("first second scale bias".split(), pulled, gradients, strict=True):
        assert np.linalg.norm(one - plain) <= 1e-5 * np.linalg.norm(plain), name


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_both_forms_are_as_exact_as_float32_allows(loss, scale):
    """A logit of 100 has steps of 8e-6."""
    inputs, rows = batch(40, scale)
    right = exactly(loss, inputs, rows)
    for form in (contrastive, ring):
        pairs, gradients = values_and_gradients(form, loss, inputs, rows)
        for value, exact in zip(pairs[:2], right, strict=True):
            real = rows[0] > 0
            allowed = 1e-6 * np.maximum(max(1.0, scale / 4), np.abs(exact))
            assert np.all(np.abs(value - exact)[real] <= allowed[real])
        assert all(np.all(np.isfinite(one)) for one in gradients)


@pytest.mark.parametrize("tile", [1, 7, 52, 1000])
def test_tiles_of_any_size_and_no_groups(tile):
    inputs, (weights, _) = batch(52, 10.0)
    right, gradients = values_and_gradients(contrastive, "softmax", inputs, (weights,))
    found, pulled = values_and_gradients(ring, "softmax", inputs, (weights,), tile=tile)
    for value, plain in zip(found, right, strict=True):
        np.testing.assert_allclose(value, plain, rtol=1e-6, atol=1e-6)
    for one, plain in zip(pulled, gradients, strict=True):
        assert np.linalg.norm(one - plain) <= 1e-5 * np.linalg.norm(plain)


@functools.cache
def compiled(form, loss, rows, width, sizes, **more):
    """Loss, metrics and gradients as a step takes them, compiled for a mesh and never run."""
    where = mesh(math.prod(dict(sizes).values()), **dict(sizes))
    by_row, everywhere = sharding.batch_sharding(where), sharding.replicated(where)

    def step(inputs, weights, groups):
        def mean(inputs):
            pairs = call(form, loss, inputs, (weights, groups), **more)
            found = jnp.sum(weights * pairs.correct_a_to_b), jnp.sum(weights * pairs.correct_b_to_a)
            return jnp.sum(weights * (pairs.loss_a_to_b + pairs.loss_b_to_a)) / rows, found

        return jax.value_and_grad(mean, has_aux=True)(inputs)

    def shape(size, dtype, where):
        return jax.ShapeDtypeStruct(size, dtype, sharding=where)

    side = shape((rows, width), jnp.float32, by_row)
    scalar = shape((), jnp.float32, everywhere)
    inputs = side, side, scalar, scalar
    places = tuple(x.sharding for x in inputs)
    with jax.set_mesh(where):
        return (
            jax.jit(step, out_shardings=(everywhere, places))
            .lower(inputs, shape((rows,), jnp.float32, by_row), shape((rows,), jnp.int32, by_row))
            .compile()
        )


def temporary(program):
    """MiB on each device."""
    return program.memory_analysis().temp_size_in_bytes / 2**20


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sizes", [dict(data=8), dict(data=2, fsdp=4)], ids=str)
def test_memory_at_32768_rows_on_8_devices(loss, sizes):
    """The bar is 264 MiB, the plain form takes over 1500."""
    program = compiled(ring, loss, 32768, 512, tuple(sizes.items()))
    assert temporary(program) <= 64
    # nothing is larger than a device's own embeddings, let alone its 32768 x 4096 logits
    shapes = re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", program.as_text())
    numbers = [math.prod(map(int, shape.split(","))) for shape in shapes]
    assert max(numbers) == 32768 // 8 * 512 and ring.TILE**2 in numbers


def test_memory_of_the_plain_form():
    """What the bar is read against."""
    assert temporary(compiled(contrastive, "softmax", 32768, 512, (("data", 8),))) > 1500


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_memory_is_a_few_copies_of_the_embeddings_and_a_few_tiles(loss, devices):
    program = compiled(ring, loss, 8192, 512, (("data", devices),))
    embeddings, tile = 8192 // devices * 512 * 4 / 2**20, ring.TILE**2 * 4 / 2**20
    assert temporary(program) <= 6 * embeddings + 4 * tile


def test_the_blocks_travel_and_nothing_is_gathered():
    text = compiled(ring, "softmax", 32768, 512, (("data", 8),)).as_text()
    assert "collective-permute" in text and "all-gather" not in text
    # rows that lie on two devices along `tensor` are divided between them
    inputs, rows = batch(64, 10.0)
    with jax.set_mesh(mesh(8, data=4, tensor=2)):
        pairs = jax.jit(functools.partial(call, ring, "softmax"))(inputs, rows)
    assert pairs.loss_a_to_b.sharding.is_equivalent_to(
        NamedSharding(mesh(8, data=4, tensor=2), PartitionSpec(("data", "tensor"))), 1
    )


def test_the_form_that_pays():
    assert not ring.pays(2048) and ring.pays(2049)
    with jax.set_mesh(mesh(8)):
        assert not ring.pays(4096) and ring.pays(32768)
