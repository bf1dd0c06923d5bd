"""Texts that are continued: losses where something is to be said, packed or apart; answers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import unbox

from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.layers import transformer
from mmjax.models import gpt2
from mmjax.tasks import language

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
