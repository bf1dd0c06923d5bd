"""Texts that are continued: losses where something is to be said, packed or apart; answers."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.config import ConfigError
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.layers import transformer
from mmjax.models import gpt2, vit, vlm
from mmjax.tasks import language
from mmjax.training import gradients, sharding
from tests import talks

BODY = transformer.Config(width=24, layers=1, heads=2, hidden=48, initialisation="gpt2")
MODEL = gpt2.Model(gpt2.Config(31, 32, BODY))
OPTIONS = Options(max_new_tokens=5, end_ids=(3, 4, 5, 6), padding_id=9)
TASK = language.build(language.Config(generate=OPTIONS), MODEL)


@functools.cache
def start():
    made = unbox(jax.jit(MODEL.init)(jax.random.key(1), jnp.zeros((1, 2), jnp.int32)))
    return {**jax.tree.map(lambda x: 6 * x if x.ndim > 1 else x, made), "state": {}}


def batch(lengths=(5, 3, 4), **fields):
    rng = np.random.default_rng(0)
    text = rng.integers(7, 31, (len(lengths), max(lengths)))
    mask = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
    weight = (np.arange(max(lengths))[None] >= 2) & mask  # the first two tokens are given
    return dict(
        text=jnp.asarray(text), text_mask=jnp.asarray(mask),
        text_weight=jnp.asarray(weight.astype(np.float32)), weight=jnp.ones(len(lengths)), **fields,
    )  # fmt: skip


def loss_of(task, batch):
    loss = task.loss(start(), batch, None, jax.random.key(0), jnp.int32(0), train=True)
    part = loss.parts["text"]
    return float((part.values * part.weights).sum() / task.totals(batch)["text"])


def test_what_is_to_be_said_is_learned():
    rows = batch()
    logits = MODEL.apply(start(), rows["text"], rows["text_mask"]).logits
    log_probs = jax.nn.log_softmax(logits)
    wanted = []
    for row, length in enumerate((5, 3, 4)):
        for place in range(2, length):
            wanted.append(-log_probs[row, place - 1, rows["text"][row, place]])
    np.testing.assert_allclose(loss_of(TASK, rows), np.mean(wanted), rtol=1e-5)
    gone = {**rows, "weight": jnp.array([1.0, 1.0, 0.0])}  # a row that does not exist
    np.testing.assert_allclose(loss_of(TASK, gone), np.mean(wanted[:-2]), rtol=1e-5)
    score = TASK.score(start(), rows, jax.random.split(jax.random.key(0), 3))
    np.testing.assert_allclose(score["loss"].sum(), np.sum(wanted), rtol=1e-5)
    assert score["tokens"].tolist() == [3, 1, 2]


def test_packed_is_unpacked():
    rows = batch()
    text = np.asarray(rows["text"])
    packed = dict(
        text=jnp.asarray(np.concatenate([text[0], text[1, :3], text[2, :4]])[None]),
        text_weight=jnp.asarray([[0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1, 1]], jnp.float32),
        text_segment=jnp.asarray([[0] * 5 + [1] * 3 + [2] * 4]),
        text_mask=jnp.ones((1, 12), bool),
        weight=jnp.ones(3),
    )
    np.testing.assert_allclose(loss_of(TASK, packed), loss_of(TASK, rows), rtol=1e-5)


def test_label_smoothing():
    smooth = language.build(language.Config(label_smoothing=0.1), MODEL)
    rows = batch()
    values = MODEL.apply(start(), rows["text"], rows["text_mask"]).logits[:, :-1]
    flat = -(jax.nn.log_softmax(values).mean(-1) * rows["text_weight"][:, 1:]).sum() / 6
    wanted = 0.9 * loss_of(TASK, rows) + 0.1 * float(flat)
    np.testing.assert_allclose(loss_of(smooth, rows), wanted, rtol=1e-5)


def test_answers_are_those_of_the_generator():
    rows = batch()
    keys = jax.random.split(jax.random.key(0), 3)
    found = jax.jit(TASK.predict["generate"])(start(), rows, keys)
    said = Generator(MODEL, start())(dict(inputs=rows["text"], mask=rows["text_mask"]), OPTIONS)
    np.testing.assert_array_equal(found["text"], said.tokens[:, 0])
    ended = np.isin(said.tokens[:, 0], OPTIONS.end_ids).any(1)
    assert ended.any()
    np.testing.assert_array_equal(found["text_mask"].sum(1), said.lengths[:, 0] - ended)


KINDS = ("", "_mask", "_weight")
TWO = talks.SOURCE[1]  # a question about two pictures
TOWER_BODY = dataclasses.replace(BODY, initialisation="xavier")
TOWER = vit.Config(8, 4, pool="mean", transformer=TOWER_BODY)


@functools.cache
def seeing(prefix_lm):
    """A task of a model with eyes, and parameters that leave no part without influence."""
    special = talks.processor().sizes
    words = gpt2.Config(talks.processor().vocab_size, 64, BODY)
    config = vlm.Config(
        TOWER, language=words, image_id=special["image_id"], prefix_lm=prefix_lm
    )
    task = language.build(language.Config(), vlm.Model(config))
    made = jax.eval_shape(task.init, jax.random.key(0), talks.batch())
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape)), unbox(made))
    return task, params["params"]


def learned(prefix_lm, packed, differentiated=True):
    """Loss and gradient of the conversations of tests/talks.py."""
    task, params = seeing(prefix_lm)
    arrays = talks.batch(**dict(pack=3, pack_length=24) if packed else {})
    batch = {name: jnp.asarray(value) for name, value in arrays.items()}

    def loss(params):
        key = jax.random.key(0)
        variables = {"params": params, "state": {}}
        return gradients.gradients(task, variables, params, batch, key, jnp.int32(0), 1)[:2]

    if differentiated:
        return jax.jit(loss)(params)
    return jax.jit(lambda params: loss(params)[0])(params)  # no gradient is computed


def test_packed_conversations_with_pictures_lose_what_those_apart_lose():
    loss = learned(True, packed=False, differentiated=False)
    np.testing.assert_allclose(learned(True, True, False), loss, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("prefix_lm", [True, False])
def test_packed_conversations_with_pictures_have_the_gradient_of_those_apart(prefix_lm):
    loss, gradient = learned(prefix_lm, packed=False)
    packed_loss, packed_gradient = learned(prefix_lm, packed=True)
    np.testing.assert_allclose(packed_loss, loss, rtol=1e-5)
    for one, other in zip(*map(jax.tree.leaves, (gradient, packed_gradient)), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5 * np.abs(one).max() + 1e-6)
        assert np.abs(one).max() > 0


@pytest.mark.slow
def test_a_mesh_learns_the_same_of_packs_and_sends_no_pictures():
    """Eight packs over eight devices; what is sent is no larger than a parameter."""
    task, params = seeing(True)
    arrays = talks.batch(pack=3, pack_length=24)
    arrays = {name: np.concatenate([value] * 4) for name, value in arrays.items()}
    mesh = sharding.make_mesh(sharding.Config(4, 2, 1))

    def loss(params, batch):
        key = jax.random.key(0)
        variables = {"params": params, "state": {}}
        return gradients.gradients(task, variables, params, batch, key, jnp.int32(0), 1)[:2]

    with jax.set_mesh(mesh):
        batch = jax.device_put(arrays, sharding.batch_sharding(mesh))
        step = jax.jit(loss).lower(params, batch).compile()
        found = jax.tree.leaves(step(params, batch))
    for one, other in zip(jax.tree.leaves(learned(True, packed=True)), found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
    sends = re.findall(r"= (.*?) (?:all-|collective-|reduce-scatter)", step.as_text())
    shapes = [shape.split(",") for one in sends for shape in re.findall(r"\[([\d,]+)\]", one)]
    sent = [int(np.prod([int(size) for size in shape])) for shape in shapes]
    assert sent and max(sent) <= max(leaf.size for leaf in jax.tree.leaves(params))


def test_prompts_that_leave_no_room_for_an_answer():
    keys = jax.random.split(jax.random.key(0), 3)
    with pytest.raises(ConfigError, match="prompts of 5 tokens and 28 new ones do not fit the con"):
        TASK.generate(start(), batch(), keys, max_new_tokens=28)


def test_a_prefix_is_what_stands_before_the_first_answer():
    mask = np.array([[1, 1, 1, 1, 1, 1, 1, 0]], bool)
    weight = np.array([[0, 0, 1, 1, 0, 1, 0, 0]], np.float32)
    batch = dict(text_mask=mask, text_weight=weight)
    assert language.prefix(batch).astype(int).tolist() == [[1, 1, 0, 0, 0, 0, 0, 0]]
    packed = dict(batch, text_segment=np.array([[0, 0, 0, 1, 1, 1, 2, -1]]))
    packed["text_weight"] = np.array([[0, 0, 1, 0, 0, 1, 0, 0]], np.float32)
    assert language.prefix(packed).astype(int).tolist() == [[1, 1, 0, 1, 1, 0, 1, 0]]
    assert not language.prefix(dict(text_mask=mask)).any()


@pytest.mark.slow
def test_a_prefix_model_learns_with_the_mask_that_it_answers_with():
    """Training's logits at the tokens of answers are those of prefill and extend."""
    task, params = seeing(True)
    prompt = {name: jnp.asarray(x) for name, x in talks.processor().encode([TWO]).items()}
    whole = {**prompt, **{f"text{kind}": prompt[f"answered{kind}"] for kind in KINDS}}
    length = prompt["text"].shape[1]

    @jax.jit
    def both(prompt, whole):
        variables = {"params": params}
        apply = functools.partial(task.model.apply, variables)
        arguments = [prompt[name] for name in ("text", "text_mask", "image", "image_mask")]
        slots = whole["text"].shape[1]
        step = apply(*arguments, slots=slots, method="prefill", logits_at="last")
        rest = apply(whole["text"][:, length:], step.cache, method="extend")
        said = jnp.concatenate([step.logits, rest.logits], axis=1)
        return task._logits(variables, whole, None, False)[:, length - 1 :], said

    np.testing.assert_allclose(*both(prompt, whole), atol=1e-5)
