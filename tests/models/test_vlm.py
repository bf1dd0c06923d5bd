"""Pictures between words: where they go, what sees them, cached = whole, packed = apart."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.linen import unbox

from mmjax.config import ConfigError
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.generation.session import Session
from mmjax.layers import decoder, rotary, transformer
from mmjax.layers.projectors import linear, mlp
from mmjax.models import gpt2, llama, vit, vlm
from mmjax.training import sharding

BODY = transformer.Config(width=16, layers=2, heads=2, hidden=32, initialisation="gpt2")
TOWER = vit.Config(8, 4, transformer=BODY, feature_layer=-2)
LLAMA = llama.Config(
    23, 64, decoder.Config(16, 2, 4, 2, 6, 24, rotary=rotary.Config(100.0)), embedding_scale=4.0
)
CONFIGS = {
    "causal": vlm.Config(TOWER, mlp.Config(), gpt2.Config(23, 64, BODY), image_id=2),
    "prefix": vlm.Config(TOWER, linear.Config(), LLAMA, image_id=2, prefix_lm=True),
}
P = 4  # tokens of a picture
PICTURE = [2] * P


@functools.cache
def start(name):
    """The model with parameters that leave no part without influence."""
    model = vlm.Model(CONFIGS[name])
    shapes = jax.eval_shape(model.init, jax.random.key(0), *vlm.inputs(model.config))
    rng = np.random.default_rng(0)
    drawn = lambda x: jnp.asarray(0.4 * rng.normal(size=x.shape), jnp.float32)  # noqa: E731
    return model, jax.tree.map(drawn, unbox(shapes))


@functools.cache
def compiled(name):
    return jax.jit(lambda *a, **k: start(name)[0].apply(*a, **k))


def batch():
    """Two pictures, one and none; padding on the left; a picture that is not there in between."""
    rows = [[5, *PICTURE, 6, 7, *PICTURE, 8, 9], [*PICTURE, 10, 11, 12], [13, 14, 15, 16, 17]]
    length = max(map(len, rows))
    ids = np.array([[2] * (length - len(row)) + row for row in rows])  # padding has the same id
    mask = np.array([[0] * (length - len(row)) + [1] * len(row) for row in rows], bool)
    images = np.asarray(jax.random.normal(jax.random.key(3), (3, 3, 8, 8, 3)))
    there = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
    return dict(inputs=ids, mask=mask, images=images, image_mask=there)


def longer(prompts, mask=1):
    """With three tokens more, which are a text or padding."""
    more = np.array([[7, 8, 9], [3, 4, 5], [20, 21, 22]])
    inputs = np.concatenate([prompts["inputs"], more], axis=1)
    valid = np.concatenate([prompts["mask"], np.full((3, 3), mask, bool)], axis=1)
    prefix = valid & (np.arange(16) < 13)
    return prompts | dict(inputs=inputs, mask=valid, prefix=prefix)


def test_pictures_go_where_their_tokens_are():
    model, variables = start("causal")
    prompts = batch()

    @jax.jit
    def run(inputs, mask, images, image_mask):
        embed = functools.partial(model.apply, variables, inputs, method="embed")
        flat = images.reshape(-1, 8, 8, 3)
        pictures = model.apply(variables, flat, method="encode_image")
        return embed(images, image_mask, mask), embed(), pictures.reshape(3, 3, P, -1)

    vectors, words, pictures = map(np.asarray, run(**prompts))
    np.testing.assert_array_equal(vectors[2], words[2])  # padding with that id too
    np.testing.assert_allclose(vectors[0, 1:5], pictures[0, 0], atol=1e-6)
    np.testing.assert_allclose(vectors[0, 7:11], pictures[0, 2], atol=1e-6)
    np.testing.assert_allclose(vectors[1, 6:10], pictures[1, 1], atol=1e-6)
    np.testing.assert_array_equal(vectors[0, [0, 5, 6, 11, 12]], words[0, [0, 5, 6, 11, 12]])


each = pytest.mark.parametrize("name", ["prefix", pytest.param("causal", marks=pytest.mark.slow)])


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_cached_is_whole(name):
    """Prompts with pictures, then token by token; answers see only what was before."""
    model, variables = start(name)
    prompts = batch()
    whole = longer(prompts)
    if name == "causal":
        del whole["prefix"]
    logits = np.asarray(compiled(name)(variables, **whole).logits)
    prefill = jax.jit(functools.partial(model.apply, slots=16, method="prefill"))
    extend = jax.jit(functools.partial(model.apply, method="extend"))
    step = prefill(variables, **prompts)
    said = [step.logits]
    for i in range(13, 16):
        step = extend(variables, whole["inputs"][:, i : i + 1], step.cache)
        said.append(step.logits)
    said = np.concatenate(said, axis=1)
    valid = whole["mask"]
    assert np.isfinite(said[valid]).all()
    np.testing.assert_allclose(said[valid], logits[valid], atol=1e-5)


@each
def test_who_sees_a_picture(name):
    """Behind it everybody, before it the prompt of a prefix model alone; other rows never."""
    prompts = longer(batch(), mask=0)
    if name == "causal":
        del prompts["prefix"]
    other = dict(prompts, images=prompts["images"].copy())
    other["images"][0, 2] += 1
    run = compiled(name)
    variables = start(name)[1]
    first = np.asarray(run(variables, **prompts).logits)
    second = np.asarray(run(variables, **other).logits)
    changed = (np.abs(first - second).max(-1) > 1e-4)[:, :13]
    assert changed[0, 7:].all()
    assert (changed[0, :7] == (name == "prefix")).all()
    assert not changed[1:].any()


def test_packed_rows_lose_what_rows_apart_lose():
    """Two conversations with pictures in one row; padding behind them. Their prompts see each
    other both ways, but not those of the other conversation."""
    first = [5, *PICTURE, 6, 7, 8]
    second = [*PICTURE, 10, *PICTURE, 11, 12]
    padding = [2, 2, 2]
    row = np.array(first + second + padding)
    segment = np.array([0] * 8 + [1] * 11 + [-1] * 3)
    place = np.array([*range(8), *range(11), *range(3)])
    prefix = ((segment == 0) & (place < 6)) | ((segment == 1) & (place < 10))
    images = jax.random.normal(jax.random.key(3), (3, 8, 8, 3))
    model, variables = start("prefix")

    @jax.jit
    def losses(ids, segment, prefix, image_mask):
        kwargs = dict(images=images[None], image_mask=image_mask[None])
        places = dict(segment=segment[None], prefix=prefix[None])
        logits = model.apply(variables, ids[None], **kwargs, **places).logits[0]
        return optax.softmax_cross_entropy_with_integer_labels(logits[:-1], ids[1:])

    both = losses(row, segment, prefix, np.array([1, 1, 1]))
    apart = losses(row, np.where(segment == 0, 0, -1), prefix, np.array([1, 0, 0]))
    np.testing.assert_allclose(both[:7], apart[:7], atol=1e-5)
    moved = np.roll(row, -8), np.roll(np.where(segment == 1, 0, -1), -8), np.roll(prefix, -8)
    apart = losses(*moved, np.array([0, 1, 1]))
    np.testing.assert_allclose(both[8:18], apart[:10], atol=1e-5)


@pytest.mark.slow
def test_a_conversation_with_a_picture_in_its_second_turn():
    """What embeddings say is what ids with pictures say; the cache is kept."""
    model, variables = start("causal")
    generator = Generator(model, variables)
    options = Options(max_new_tokens=4)
    images = jax.random.normal(jax.random.key(3), (1, 2, 8, 8, 3))
    text = [5, *PICTURE, 6]
    session = Session(generator, slots=40)
    for count in (1, 2):
        ids = jnp.array([text])
        embeddings = model.apply(variables, ids, images[:, :count], method="embed")[0]
        read = session.read(np.array(text), embeddings)
        answer = list(session.say(options))
        prompt = dict(inputs=np.array([text]), images=images[:, :count])
        assert answer == generator(prompt, options).tokens[0, 0].tolist()
        text += [*answer, 9, *PICTURE, 10]
    assert read == 1 + 1 + P + 1  # the last word of the answer, and the question


MISTAKES = {
    "row 1 has 2 pictures, more than its 4 image tokens": dict(
        image_mask=np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]])
    ),
    "row 0 has 1 pictures, fewer than its 8 image tokens": dict(
        image_mask=np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    ),
    "row 0 has 0 pictures, fewer than its 8 image tokens": dict(images=None),
    "a prompt of 13 tokens and 60 new ones": dict(),
    "prompt 2 is empty": dict(mask=np.array([[1] * 13, [1] * 13, [0] * 13])),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_said_before_anything_compiles(message):
    model = vlm.Model(CONFIGS["causal"])
    generator = Generator(model, {"params": {"nothing": jnp.zeros(1)}})
    with pytest.raises(ConfigError, match=message):
        generator(batch() | MISTAKES[message], Options(max_new_tokens=60))


def test_a_row_that_would_be_read_wrongly_is_nan():
    prompts = longer(batch(), mask=0)
    prompts["image_mask"] = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]], bool)
    logits = compiled("prefix")(start("prefix")[1], **prompts).logits
    finite = np.isfinite(np.asarray(logits)).all((1, 2))
    assert finite.tolist() == [True, False, True]


def test_configs_that_cannot_be():
    with pytest.raises(ConfigError, match="image_id=23 is missing from the vocabulary"):
        vlm.Config(TOWER, language=gpt2.Config(23, 64, BODY), image_id=23)
    with pytest.raises(ConfigError, match="image.patch_dropout is not for a picture"):
        vlm.Config(vit.Config(patch_dropout=0.5))
    model, variables = start("causal")
    with pytest.raises(ValueError, match="embeddings hold their pictures already"):
        model.apply(variables, jnp.zeros((1, 3, 16)), images=jnp.zeros((1, 1, 8, 8, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_mesh_computes_the_same_and_sends_no_pictures(name):
    """Loss and gradients of eight rows over data, fsdp and tensor; what devices send each other is
    no larger than a parameter."""
    model, variables = start(name)
    boxed = jax.eval_shape(model.init, jax.random.key(0), *vlm.inputs(model.config))["params"]
    place = sharding.Config(2, 2, 2)
    mesh = sharding.make_mesh(place)
    rows = jnp.array([0, 1, 2, 0, 1, 2, 0, 1])
    prompts = {key: jnp.asarray(value)[rows] for key, value in batch().items()}

    def loss(params, prompts):
        logits = model.apply({"params": params}, **prompts).logits
        target = prompts["inputs"][:, 1:]
        lost = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], target)
        return jnp.where(prompts["mask"][:, 1:], lost, 0).sum()

    single = jax.jit(jax.value_and_grad(loss))(variables["params"], prompts)
    with jax.set_mesh(mesh):
        shardings = sharding.parameter_shardings(boxed, mesh, place)
        params = jax.device_put(variables["params"], shardings)
        prompts = jax.device_put(prompts, sharding.batch_sharding(mesh))
        step = jax.jit(jax.value_and_grad(loss)).lower(params, prompts).compile()
        many = step(params, prompts)
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    sends = re.findall(r"= (.*?) (?:all-|collective-|reduce-scatter)", step.as_text())
    shapes = [shape.split(",") for one in sends for shape in re.findall(r"\[([\d,]+)\]", one)]
    sent = [int(np.prod([int(size) for size in shape])) for shape in shapes]
    assert sent and max(sent) <= max(leaf.size for leaf in jax.tree.leaves(params))
