"""One table puts every architecture through the same checks; a model without a row fails."""

import dataclasses
import pkgutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmjax import models, tree
from mmjax.layers import transformer
from mmjax.models import clip, text, vit

TINY = transformer.Config(width=16, layers=2, heads=2, hidden=32)
IMAGE = vit.Config(image_size=8, patch_size=4, transformer=TINY)
WORDS = text.Config(vocab_size=32, context_length=6, transformer=TINY)


def pixels(rows=8):
    return jax.random.normal(jax.random.key(1), (rows, 8, 8, 3))


def ids(rows=8):
    return jax.random.randint(jax.random.key(2), (rows, 6), 0, 32)


def mask(rows=8):
    return jnp.arange(6)[None] < 2 + jnp.arange(rows)[:, None] % 5


@dataclasses.dataclass
class Row:
    module: nn.Module
    arguments: tuple
    parameters: int  # counted by hand below


def block(d, f):
    """Norms, query, key, value, out, MLP: weights and biases."""
    return 2 * 2 * d + 4 * (d * d + d) + d * f + f + f * d + d


VIT = 48 * 16 + 16 + 4 * 16 + 2 * block(16, 32) + 2 * 16  # patches, positions, blocks, norm
TEXT = 32 * 16 + 6 * 16 + 2 * block(16, 32) + 2 * 16
POOL = 16 + 4 * (16 * 16 + 16) + 2 * 16 + 2 * 16 * 32 + 32 + 16  # probe, attention, norm, MLP

TABLE = {
    "vit": [
        Row(vit.Model(dataclasses.replace(IMAGE, pool="class")), (pixels(),), VIT + 2 * 16),
        Row(vit.Model(dataclasses.replace(IMAGE, pool="mean")), (pixels(),), VIT),
        Row(vit.Model(dataclasses.replace(IMAGE, pool="attention")), (pixels(),), VIT + POOL),
    ],
    "text": [
        Row(text.Model(WORDS), (ids(), mask()), TEXT),
        Row(
            text.Model(dataclasses.replace(WORDS, pool="mean", causal=False)), (ids(), mask()), TEXT
        ),
        Row(text.Model(dataclasses.replace(WORDS, pool="attention")), (ids(), mask()), TEXT + POOL),
    ],
    "clip": [
        Row(
            clip.Model(clip.Config(IMAGE, WORDS, embedding=16)),
            (pixels(), ids(), mask()),
            VIT + 2 * 16 + TEXT + 2 * 16 * 16 + 1,
        ),
        Row(
            clip.Model(
                clip.Config(
                    dataclasses.replace(IMAGE, pool="attention"),
                    dataclasses.replace(WORDS, causal=False, attend_padding=True),
                    embedding=16,
                    image_projection=False,
                    projection_bias=True,
                    bias_init=-10.0,
                )
            ),
            (pixels(), ids(), mask()),
            VIT + POOL + TEXT + 16 * 16 + 16 + 2,
        ),
    ],
}
ROWS = [
    pytest.param(row, id=f"{name}-{i}")
    for name, rows in TABLE.items()
    for i, row in enumerate(rows)
]
each = pytest.mark.parametrize("row", ROWS)


def start(row):
    return jax.jit(lambda key, a: nn.unbox(row.module.init(key, *a)))(
        jax.random.key(0), row.arguments
    )


def loss(row, variables, arguments):
    """A smooth number that depends on every output."""
    outputs = row.module.apply(variables, *arguments)
    targets = jnp.linspace(-1, 1, 16)
    return sum(jnp.mean((x - targets.reshape((1,) * (x.ndim - 1) + (16,))) ** 2) for x in outputs)


def test_every_model_has_a_row():
    assert {module.name for module in pkgutil.iter_modules(models.__path__)} == set(TABLE)


@each
def test_exact_parameter_count(row):
    assert tree.count(start(row)["params"]) == row.parameters


@each
def test_one_batch_is_learned_without_recompiling(row):
    """jit = no jit, finite gradients, falling loss, one compilation."""
    variables = start(row)
    optimizer = optax.adam(3e-3)
    state = optimizer.init(variables)
    compiled = 0

    @jax.jit
    def step(variables, state, arguments):
        nonlocal compiled
        compiled += 1
        value, grads = jax.value_and_grad(lambda v: loss(row, v, arguments))(variables)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(variables, updates), state, value, grads

    first = loss(row, variables, row.arguments)  # not compiled
    for i in range(15):
        variables, state, value, grads = step(variables, state, row.arguments)
        assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
        if i == 0:
            np.testing.assert_allclose(value, first, rtol=1e-5)
    assert compiled == 1
    assert float(value) < 0.9 * float(first)


@each
def test_eight_devices_give_what_one_gives(row):
    variables = start(row)
    single = jax.jit(lambda v, a: row.module.apply(v, *a))(variables, row.arguments)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    arguments = jax.device_put(row.arguments, NamedSharding(mesh, PartitionSpec("data")))
    many = jax.jit(lambda v, a: row.module.apply(v, *a))(variables, arguments)
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


@each
def test_every_axis_is_named(row):
    """Sharding rules find every axis of every matrix."""
    boxed = jax.eval_shape(row.module.init, jax.random.key(0), *row.arguments)
    for path, leaf in tree.flatten(boxed["params"]).items():
        assert isinstance(leaf, nn.LogicallyPartitioned) or leaf.shape == (), path


@pytest.mark.parametrize(
    "variant, count",
    [
        # open_clip and transformers report the same numbers for these
        ("B/32", 151_277_313),
        ("B/16", 149_620_737),
        ("L/14", 427_616_513),
        ("SigLIP-B/16", 203_155_970),
    ],
)
def test_published_sizes(variant, count):
    config = clip.VARIANTS[variant]
    size = config.image.image_size
    images, words = jnp.zeros((1, size, size, 3)), jnp.zeros((1, config.text.context_length), int)
    boxed = jax.eval_shape(clip.Model(config).init, jax.random.key(0), images, words)
    assert tree.count(nn.unbox(boxed["params"])) == count


def test_clip_embeddings_are_unit_and_text_ignores_padding():
    row = TABLE["clip"][0]
    variables = start(row)
    image, words = row.module.apply(variables, *row.arguments)
    for x in (image, words):
        np.testing.assert_allclose(jnp.linalg.norm(x, axis=-1), 1, rtol=1e-5)
    valid = mask()
    other = jnp.where(valid, ids(), 31)
    _, again = row.module.apply(variables, pixels(), other, valid)
    np.testing.assert_allclose(words, again, atol=1e-6)


def test_scale_is_clipped_and_bias_is_siglips():
    module, arguments = TABLE["clip"][0].module, TABLE["clip"][0].arguments
    variables = start(TABLE["clip"][0])
    scale, bias = module.apply(variables, method=module.scale_and_bias)
    np.testing.assert_allclose(scale, 1 / 0.07, rtol=1e-5)
    assert bias is None
    variables["params"]["log_scale"] = jnp.float32(9.0)
    scale, _ = module.apply(variables, method=module.scale_and_bias)
    np.testing.assert_allclose(scale, 100.0, rtol=1e-5)
    siglip = TABLE["clip"][1]
    scale, bias = siglip.module.apply(start(siglip), method=siglip.module.scale_and_bias)
    assert float(bias) == -10.0 and arguments


def test_patch_dropout_drops_in_training_alone():
    module = vit.Model(dataclasses.replace(IMAGE, pool="mean", patch_dropout=0.5))
    variables = nn.unbox(module.init(jax.random.key(0), pixels()))
    tokens = module.apply(
        variables, pixels(), train=True, rngs={"dropout": jax.random.key(3)}
    ).tokens
    assert tokens.shape == (8, 2, 16)
    assert module.apply(variables, pixels()).tokens.shape == (8, 4, 16)


def test_wrong_sizes_are_explained():
    with pytest.raises(ValueError, match="built for images of 8 x 8 x 3, got 9 x 8 x 3"):
        jax.eval_shape(vit.Model(IMAGE).init, jax.random.key(0), jnp.zeros((1, 9, 8, 3)))
    with pytest.raises(ValueError, match="7 tokens do not fit the context length 6"):
        jax.eval_shape(text.Model(WORDS).init, jax.random.key(0), jnp.zeros((1, 7), int))


def test_without_projection_the_widths_must_agree():
    module = clip.Model(clip.Config(IMAGE, WORDS, embedding=24, image_projection=False))
    with pytest.raises(ValueError, match="embedding=24 must be the width of the image tower, 16"):
        jax.eval_shape(module.init, jax.random.key(0), pixels(), ids(), mask())
