"""One table puts every architecture through the same checks; a model without a row fails."""

import dataclasses
import pkgutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import models.denoising
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from models import making, sounding, watching
from models.sounding import TINY, block

import mmjax.models
from mmjax import tree
from mmjax.layers import decoder
from mmjax.layers.patches import Patches
from mmjax.layers.projectors import mlp, resampler
from mmjax.models import (
    bagged,
    bert,
    blip,
    clip,
    gpt2,
    image_classifier,
    llama,
    resnet,
    text,
    vit,
    vlm,
)

IMAGE = vit.Config(image_size=8, patch_size=4, transformer=TINY)
STEM = dataclasses.replace(IMAGE, pool="mean", stem=(vit.Stage(width=6),))
NATIVE = dataclasses.replace(IMAGE, pool="attention", native_aspect=True)
DEIT = dataclasses.replace(IMAGE, distilled=True)
RESIDUAL = resnet.Config(image_size=8, stages=(1,), width=4, heads=2, embedding=16)
POST = dataclasses.replace(TINY, norm="post")
SENTENCES = bert.Config(32, 6, transformer=POST)
SENTENCE_MEAN = dataclasses.replace(SENTENCES, pool="mean")
BAGGED = bagged.Config(32, 6, 8, SENTENCE_MEAN)
STORY = gpt2.Config(16, 6, TINY)
LLAMA = llama.Config(16, 6, decoder.Config(16, 2, 4, 2, 6, 24))
GEMMA = llama.Config(
    16, 6, dataclasses.replace(LLAMA.decoder, post_norms=True, norm_offset=1.0, windows=(2, 0)),
    tied=True, embedding_scale=4.0, logits_cap=9.0,
)  # fmt: skip
STORIES = dataclasses.replace(STORY, context_length=10)
RESAMPLER = resampler.Config(queries=4, layers=1, heads=2)
WORDS = text.Config(vocab_size=32, context_length=6, transformer=TINY)
BAG = dataclasses.replace(WORDS, pool="mean", transformer=dataclasses.replace(TINY, layers=0))


def pixels(rows=8):
    return jax.random.normal(jax.random.key(1), (rows, 8, 8, 3))


def patches(rows=8):
    shapes = jnp.array([[2, 2], [1, 3]] * (rows // 2))
    valid = jnp.arange(4)[None] < shapes.prod(1, keepdims=True)
    return Patches(jax.random.normal(jax.random.key(1), (rows, 4, 48)), shapes, valid)


def ids(rows=8):
    return jax.random.randint(jax.random.key(2), (rows, 6), 0, 32)


def mask(rows=8):
    return jnp.arange(6)[None] < 2 + jnp.arange(rows)[:, None] % 5


def illustrated(rows=8):
    """Ids [rows, 10] with 0 to 2 pictures of 4 tokens (id 3), pictures, and which are there."""
    count = jnp.arange(rows) % 3
    place = jnp.arange(10)[None]
    taken = (place >= 1) & (place < 1 + 4 * count[:, None])
    words = jax.random.randint(jax.random.key(2), (rows, 10), 4, 16)
    images = jax.random.normal(jax.random.key(1), (rows, 2, 8, 8, 3))
    there = jnp.arange(2)[None] < count[:, None]
    return jnp.where(taken, 3, words), place < 2 + 4 * count[:, None], images, there


@dataclasses.dataclass
class Row:
    module: nn.Module
    arguments: tuple
    parameters: int  # counted by hand below


VIT = 48 * 16 + 16 + 4 * 16 + 2 * block(16, 32) + 2 * 16  # patches, positions, blocks, norm
TEXT = 32 * 16 + 6 * 16 + 2 * block(16, 32) + 2 * 16
# 3 x 3 convolution of 3 channels to 6, its norm; the patch embedding sees 3 x 3 x 6 for 4 x 4 x 3
STEM_EXTRA = 27 * 6 + 6 + 2 * 6 + (54 - 48) * 16
POOL = 16 + 4 * (16 * 16 + 16) + 2 * 16 + 2 * 16 * 32 + 32 + 16  # probe, attention, norm, MLP


SEEN = blip.Config(IMAGE, 16, 6, POST, embedding=16)
# tokens, positions, norm; blocks with a second attention and its norm
READER = (16 + 6 + 2) * 16 + 2 * (block(16, 32) + 4 * (16 * 16 + 16) + 2 * 16)
# a self-attention and norm of the decoder's; dense layer, norm and biases of its head
WRITER = 2 * (4 * (16 * 16 + 16) + 2 * 16) + 16 * 16 + 16 + 2 * 16 + 16


def convolution(inputs, outputs, edge):
    """Kernel, and the norm's scale, bias, mean and variance."""
    return edge * edge * inputs * outputs + 4 * outputs


RESNET = (
    convolution(3, 2, 3) + convolution(2, 2, 3) + convolution(2, 4, 3)  # stem
    + convolution(4, 4, 1) + convolution(4, 4, 3) + 2 * convolution(4, 16, 1)  # block, shortcut
    + 5 * 16 + 4 * (16 * 16 + 16)  # positions, attention
)  # fmt: skip

# norms, query and out of 4 heads, key and value of 2, three kernels of the MLP; no biases
GATED = 2 * 16 + 2 * 16 * 4 * 6 + 2 * 16 * 2 * 6 + 3 * 16 * 24

TABLE = {
    "vit": [
        Row(vit.Model(dataclasses.replace(IMAGE, pool="class")), (pixels(),), VIT + 2 * 16),
        Row(vit.Model(dataclasses.replace(IMAGE, pool="mean")), (pixels(),), VIT),
        Row(vit.Model(STEM), (pixels(),), VIT + STEM_EXTRA),
        Row(vit.Model(dataclasses.replace(IMAGE, pool="attention")), (pixels(),), VIT + POOL),
        Row(vit.Model(NATIVE), (patches(),), VIT + POOL),
    ],
    "image_classifier": [
        Row(
            image_classifier.Model(image_classifier.Config(DEIT, 16, 16, teacher_head=True)),
            (pixels(),),
            VIT + 4 * 16 + 3 * (16 * 16 + 16),
        ),
    ],
    "bagged": [Row(bagged.Model(BAGGED), (ids(), mask()), TEXT + 2 * 16 + 16 * 8 + 32 * 8)],
    "resnet": [Row(resnet.Model(RESIDUAL), (pixels(),), RESNET)],
    "text": [
        Row(text.Model(WORDS), (ids(), mask()), TEXT),
        Row(
            text.Model(dataclasses.replace(WORDS, pool="mean", causal=False)), (ids(), mask()), TEXT
        ),
        Row(text.Model(dataclasses.replace(WORDS, pool="attention")), (ids(), mask()), TEXT + POOL),
        Row(text.Model(BAG), (ids(), mask()), TEXT - 2 * block(16, 32)),
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
        Row(
            clip.Model(clip.Config(IMAGE, SENTENCE_MEAN, embedding=16)),
            (pixels(), ids(), mask()),
            VIT + 2 * 16 + TEXT + 2 * 16 + 2 * 16 * 16 + 1,  # class token, types
        ),
        Row(
            clip.Model(clip.Config(IMAGE, BAGGED, embedding=16, text_projection=False)),
            (pixels(), ids(), mask()),
            VIT + 2 * 16 + TEXT + 2 * 16 + 16 * 16 + 16 * 8 + 32 * 8 + 1,  # two heads, bag
        ),
        Row(
            clip.Model(clip.Config(RESIDUAL, WORDS, embedding=16, image_projection=False)),
            (pixels(), ids(), mask()),
            RESNET + TEXT + 16 * 16 + 1,
        ),
        Row(
            clip.Model(clip.Config(None, SENTENCE_MEAN, embedding=16, text_projection=False)),
            (None, ids(), mask()),
            TEXT + (2 + 2) * 16 - 2 * 16 + 1,
        ),
    ],
    "blip": [
        Row(
            blip.Model(SEEN),
            (pixels(), ids() % 16, mask()),
            VIT + 2 * 16 + READER + WRITER + 34 * 16 + 34 + 1,  # class token, heads, scale
        ),
    ],
    **sounding.table(Row),
    **watching.table(Row),
    **making.table(Row),
    "bert": [
        Row(bert.Model(SENTENCES), (ids(), mask()), TEXT + (2 + 16 + 1) * 16),  # types, pooler
        Row(
            bert.Model(dataclasses.replace(SENTENCES, pool="mean", context_length=8, padding_id=1)),
            (ids(), mask()),
            TEXT + (2 + 2) * 16,
        ),
    ],
    "gpt2": [Row(gpt2.Model(STORY), (ids() % 16, mask()), TEXT - 16 * 16)],
    "llama": [
        Row(llama.Model(LLAMA), (ids() % 16, mask()), 2 * GATED + (16 + 1 + 16) * 16),
        Row(llama.Model(GEMMA), (ids() % 16, mask()), 2 * (GATED + 2 * 16) + (16 + 1) * 16),
    ],
}
MLP = 2 * (16 * 16 + 16)
# map, queries; attention, three norms, MLP; norm
RESAMPLED = (16 * 16 + 16 + 4 * 16) + 4 * (16 * 16 + 16) + 8 * 16 + 2 * 16 * 64 + 64 + 16
TABLE["vlm"] = [
    Row(
        vlm.Model(vlm.Config(IMAGE, mlp.Config(), STORIES, 3)),
        illustrated(),
        VIT + 2 * 16 + MLP + TEXT - 16 * 16 + 4 * 16,  # class token; a smaller vocabulary
    ),
    Row(
        vlm.Model(vlm.Config(RESIDUAL, RESAMPLER, GEMMA, 3, prefix_lm=True)),
        illustrated(),
        RESNET + RESAMPLED + 2 * (GATED + 2 * 16) + (16 + 1) * 16,
    ),
    Row(
        vlm.Model(vlm.Config(IMAGE, mlp.Config(), STORIES, 3, audio=sounding.HEARS, audio_id=2)),
        (*illustrated(), *sounding.unheard()),
        VIT + 2 * 16 + MLP + TEXT - 16 * 16 + 4 * 16 + sounding.HEARING,
    ),
]
TABLE |= models.denoising.table(Row)
ROWS = [
    pytest.param(row, id=f"{name}-{i}")
    for name, rows in TABLE.items()
    for i, row in enumerate(rows)
]
each = pytest.mark.parametrize("row", ROWS)
# these are compiled among the fast tests, the others among the slower proofs
QUICK = ("clip-0", "llama-0")
compiled = pytest.mark.parametrize("row", [
    row if row.id in QUICK else pytest.param(*row.values, id=row.id, marks=pytest.mark.slow)
    for row in ROWS
])  # fmt: skip


def start(row):
    return jax.jit(lambda key, a: nn.unbox(row.module.init(key, *a)))(
        jax.random.key(0), row.arguments
    )


def loss(row, variables, arguments):
    """A smooth number that depends on every output."""
    outputs = jax.tree.leaves(row.module.apply(variables, *arguments))

    def apart(x):
        targets = jnp.linspace(-1, 1, x.shape[-1])
        return jnp.mean((x - targets.reshape((1,) * (x.ndim - 1) + (-1,))) ** 2)

    return sum(map(apart, outputs))


def test_every_model_has_a_row():
    found = pkgutil.walk_packages(mmjax.models.__path__, "mmjax.models.")
    assert {one.name.rpartition(".")[2] for one in found if not one.ispkg} == set(TABLE)


@each
def test_exact_parameter_count_and_every_axis_is_named(row):
    """Sharding rules find every axis of every matrix."""
    boxed = jax.eval_shape(row.module.init, jax.random.key(0), *row.arguments)
    assert tree.count(nn.unbox(boxed)["params"]) == row.parameters
    for path, leaf in tree.flatten(boxed["params"]).items():
        assert isinstance(leaf, nn.LogicallyPartitioned) or leaf.shape == (), path


@compiled
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


@compiled
def test_eight_devices_give_what_one_gives(row):
    variables = start(row)
    single = jax.jit(lambda v, a: row.module.apply(v, *a))(variables, row.arguments)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    arguments = jax.device_put(row.arguments, NamedSharding(mesh, PartitionSpec("data")))
    many = jax.jit(lambda v, a: row.module.apply(v, *a))(variables, arguments)
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


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


def test_wrong_sizes_are_explained():
    with pytest.raises(ValueError, match="built for images of 8 x 8 x 3, got 9 x 8 x 3"):
        jax.eval_shape(vit.Model(IMAGE).init, jax.random.key(0), jnp.zeros((1, 9, 8, 3)))
    uneven = vit.Model(dataclasses.replace(IMAGE, stem=(vit.Stage(6, stride=3),)))
    with pytest.raises(ValueError, match=r"strides of the stem \(3\) do not divide patch_size=4"):
        jax.eval_shape(uneven.init, jax.random.key(0), pixels())
    with pytest.raises(ValueError, match="7 tokens do not fit the context length 6"):
        jax.eval_shape(text.Model(WORDS).init, jax.random.key(0), jnp.zeros((1, 7), int))


def test_without_projection_the_widths_must_agree():
    module = clip.Model(clip.Config(IMAGE, WORDS, embedding=24, image_projection=False))
    with pytest.raises(ValueError, match="embedding=24 must be the width of the image tower, 16"):
        jax.eval_shape(module.init, jax.random.key(0), pixels(), ids(), mask())
