"""BLIP's three losses in one step: against each part by hand, over micro-batches, over devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.linen import unbox
from jax.sharding import NamedSharding, PartitionSpec
from toy import QUICK, SGD, mesh, planned

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.generation.options import Options
from mmjax.layers import transformer
from mmjax.models import bert, blip, vit
from mmjax.tasks import blip as task_file
from mmjax.training.gradients import gradients

BODY = transformer.Config(width=16, layers=1, heads=2, hidden=32, initialisation="bert")
TOWER = vit.Config(8, 4, transformer=BODY, pool="mean")
TEXT = dataclasses.replace(bert.BODY, width=16, layers=1, heads=2, hidden=32)
MODEL = blip.Config(
    TOWER, vocab_size=32, context_length=8, text=TEXT, embedding=8, start_id=3, match_id=4,
    end_ids=(2,), scale_init=5.0,
)  # fmt: skip
OPTIONS = Options(max_new_tokens=4, end_ids=(2,))
CONFIG = task_file.Config(queue=6, generate=OPTIONS)


def task(config=CONFIG, **model):
    return task_file.build(config, blip.Model(dataclasses.replace(MODEL, **model)))


TASK = task()


def batch(rows=8, seed=0, **fields):
    rng = np.random.default_rng(seed)
    text = rng.integers(5, 32, (rows, 6)).astype(np.int32)
    text[:, 0] = 1
    lengths = rng.integers(3, 7, rows)
    made = dict(
        image=rng.normal(size=(rows, 8, 8, 3)).astype(np.float32),
        text=text,
        text_mask=np.arange(6)[None] < lengths[:, None],
        weight=np.ones(rows, np.float32),
        index=np.arange(rows, dtype=np.int32),
        source=np.zeros(rows, np.int32),
    )
    return {**made, **fields}


@functools.cache
def start():
    made = jax.jit(TASK.init, compiler_options=QUICK)(jax.random.key(1), batch())
    params = jax.tree.map(lambda x: 8 * x if x.ndim > 1 else x, unbox(made)["params"])
    slow = {path: x + 0.1 for path, x in tree.flatten(params).items()}
    slow.pop("log_scale")
    teachers = {"momentum": tree.unflatten(slow)}
    return {"params": params, "state": unbox(made)["state"], "teachers": teachers}


def differentiated(task, batch, accumulate=1, variables=None):
    return _differentiated(task, batch, accumulate, variables or start())


@functools.partial(jax.jit, static_argnums=(0, 2), compiler_options=QUICK)
def _differentiated(task, batch, accumulate, variables):
    key = jax.random.key(3)
    return gradients(task, variables, variables["params"], batch, key, jnp.int32(0), accumulate)


def pairs():
    """A batch in which a row does not exist and two show one thing."""
    rows = batch(group=np.array([0, 1, 1, 2, 3, 4, 5, 6], np.int32))
    rows["weight"][5] = 0
    return jax.tree.map(jnp.asarray, rows)


@pytest.mark.slow
def test_micro_batches_give_the_same():
    """The negatives of all rows included, and the queue's news."""
    rows = pairs()
    value, grads, (parts, metrics, statistics) = differentiated(TASK, rows)
    again, other, (_, _, news) = differentiated(TASK, rows, 2)
    np.testing.assert_allclose(value, again, rtol=1e-5)
    for path, grad in tree.flatten(grads).items():
        difference = np.linalg.norm(grad - tree.flatten(other)[path])
        assert difference <= 2e-5 * max(np.linalg.norm(grad), 1e-3), path
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        statistics["loss"], news["loss"],
    )  # fmt: skip
    assert set(parts) == {"itc", "itm", "lm"}
    assert metrics["matched"][1] == 3 * 7


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def stepped(task, variables, batch):
    """The losses of a batch, and the negatives that they are of."""
    key = jax.random.key(5)
    zero = jnp.int32(0)
    encoded = task.encode(variables, batch, key, train=True)
    loss = task.loss(variables, batch, encoded, key, zero, train=True)
    drawn = task.select(variables, batch, encoded, key, zero)
    local = task.local(variables, batch, {**encoded, **drawn}, key, zero, train=True)
    totals = {"itc": batch["weight"].sum(), **task.totals(batch)}
    parts = {**loss.parts, **local.parts}
    means = {name: (p.values * p.weights).sum() / totals[name] for name, p in parts.items()}
    return means, parts, drawn


@functools.partial(jax.jit, compiler_options=QUICK)
def by_hand(variables, rows, drawn):
    """The three losses of the rows that exist, as the paper has them."""
    params = variables["params"]
    apply = functools.partial(TASK.model.apply, {"params": params})
    ids, mask = rows["text"], rows["text_mask"]
    tokens = apply(rows["image"], method="image_tokens")
    # lm: the caption behind [DEC], smoothed
    ids = ids.at[:, 0].set(MODEL.start_id)
    logits = apply(ids, mask, context=tokens, method="decode").logits[:, :-1]
    smooth = optax.smooth_labels(jax.nn.one_hot(ids[:, 1:], MODEL.vocab_size), 0.1)
    words = optax.softmax_cross_entropy(logits, smooth)
    # itm: the pair, a wrong image, a wrong text
    ids = ids.at[:, 0].set(MODEL.match_id)
    wrong = drawn["wrong_text"].at[:, 0].set(MODEL.match_id)
    matches = []
    for text, text_mask, image, label in (
        (ids, mask, tokens, 1),
        (ids, mask, drawn["wrong_image"], 0),
        (wrong, drawn["wrong_text_mask"], tokens, 0),
    ):
        fused = apply(text, text_mask, context=image, method="fuse")
        log_probs = jax.nn.log_softmax(apply(fused, text_mask, method="matching"))
        matches.append(-log_probs[:, label])
    # itc: embeddings of the model and of its slow copy
    sides = {}
    for name, given in (("own", params), ("slow", {**params, **variables["teachers"]["momentum"]})):
        embed = functools.partial(TASK.model.apply, {"params": given})
        image = embed(rows["image"], method="encode_image")
        sides[name] = image, embed(rows["text"], mask, method="encode_text")
    return words, jnp.stack(matches, axis=1), sides, apply(method="scale")


def test_each_loss_is_the_papers():
    rows = pairs()
    parts, each, drawn = stepped(TASK, start(), rows)
    words, matches, sides, scale = by_hand(start(), rows, drawn)
    real = np.flatnonzero(rows["weight"])
    kept = rows["text_mask"][real, 1:]
    np.testing.assert_allclose(parts["lm"], words[real][kept].mean(), rtol=1e-5)
    np.testing.assert_allclose(parts["itm"], matches[real].mean(), rtol=1e-5)
    # the two drawings of one thing share the target, the missing row is no candidate
    group = np.asarray(rows["group"])[real]
    same = (group[:, None] == group[None]).astype(float)
    same /= same.sum(1, keepdims=True)
    own, slow = ([np.asarray(x)[real] for x in sides[name]] for name in ("own", "slow"))
    total = 0.0
    for side, other in ((0, 1), (1, 0)):
        target = 0.4 * jax.nn.softmax(scale * slow[side] @ slow[other].T) + 0.6 * same
        logits = scale * own[side] @ slow[other].T
        total += optax.softmax_cross_entropy(logits, target).mean() / 2
    np.testing.assert_allclose(parts["itc"], total, rtol=1e-4)


def test_negatives_come_from_other_devices():
    """The rows of each of two devices show one thing: their only negatives lie on the other."""
    group = np.repeat(np.array([7, 9], np.int32), 4)
    rows = jax.tree.map(jnp.asarray, batch(group=group))
    parts, each, alone = stepped(TASK, start(), rows)
    two = mesh(2)
    with jax.set_mesh(two):
        where = NamedSharding(two, PartitionSpec("data"))
        spread = {name: jax.device_put(value, where) for name, value in rows.items()}
        variables = jax.device_put(start(), NamedSharding(two, PartitionSpec()))
        over_two, spread_each, drawn = stepped(TASK, variables, spread)
    np.testing.assert_allclose(over_two["itm"], parts["itm"], rtol=1e-5)
    assert spread_each["itm"].weights.tolist() == [[1, 1, 1]] * 8, "each row has its negatives"
    texts = rows["text"].tolist()
    others = [texts.index(text) for text in np.asarray(drawn["wrong_text"]).tolist()]
    assert all((row < 4) != (other < 4) for row, other in enumerate(others))
    images = np.abs(drawn["wrong_image"] - alone["wrong_image"]).max()
    assert images < 1e-5, "the tokens of an image of the other device"


@pytest.mark.slow
def test_a_step_moves_the_slow_copy_and_the_queue():
    config = dataclasses.replace(CONFIG, momentum=0.75, queue=10)
    spec, step = planned(task(config), batch(), SGD)
    before = spec.init()
    queue = before.state["queue"]
    assert not np.asarray(queue["there"]).any()
    copy = jax.tree.map(np.asarray, before.params)
    state, metrics = step(before, batch())
    path = "text_head/kernel"
    slow = tree.flatten(state.teachers["momentum"])
    moved = 0.75 * tree.flatten(copy)[path] + 0.25 * tree.flatten(state.params)[path]
    np.testing.assert_allclose(slow[path], moved, rtol=1e-5)
    assert "log_scale" not in slow
    state, metrics = step(state, batch(seed=1))
    there = np.asarray(state.state["queue"]["there"])
    assert there.sum() == 10  # of 16 the newest 10
    assert state.state["queue"]["identity"][:8, 1].tolist() == list(range(8))
    first = float(metrics["loss"])
    for _ in range(8):
        state, metrics = step(state, batch(seed=1))
    assert float(metrics["loss"]) < first


@pytest.mark.slow
def test_answers_are_written_beside_the_question():
    config = task_file.Config(itc=0.0, itm=0.0, generate=OPTIONS, label_smoothing=0.0)
    answering = task(config, texts="both", embedding=0, matching=False, scale_init=None)
    answer = jnp.array([[1, 9, 2, 0], [1, 11, 12, 2]] * 4, jnp.int32)
    rows = jax.tree.map(jnp.asarray, batch(answer=answer, answer_mask=answer > 0))
    variables = unbox(jax.jit(answering.init, compiler_options=QUICK)(jax.random.key(0), rows))
    local = functools.partial(answering.local, train=False)
    encoded = answering.encode(variables, rows, jax.random.key(0), train=False)
    lm = local(variables, rows, encoded, jax.random.key(0), jnp.int32(0)).parts["lm"]
    apply = functools.partial(answering.model.apply, {"params": variables["params"]})
    asked = rows["text"].at[:, 0].set(MODEL.match_id)
    opened = answer.at[:, 0].set(MODEL.start_id)
    output = apply(rows["image"], asked, rows["text_mask"], opened, answer > 0)
    values = optax.softmax_cross_entropy_with_integer_labels(output.logits[:, :-1], answer[:, 1:])
    lm = (lm.values * lm.weights).sum() / answering.totals(rows)["lm"]
    np.testing.assert_allclose(lm, values[answer[:, 1:] > 0].mean(), rtol=1e-5)
    keys = jax.random.split(jax.random.key(0), 8)
    said = jax.jit(answering.generate)(variables, rows, keys)
    assert said["text"].shape == said["text_mask"].shape == (8, 4)
    likeliest = output.logits[:, 0].argmax(-1)
    assert said["text"][:, 0].tolist() == likeliest.tolist()


def test_what_the_model_lacks_is_said():
    for config, model, message in (
        (CONFIG, dict(scale_init=None), "set model.scale_init"),
        (task_file.Config(itc=0.0), {}, "set task.itc above 0"),
        (CONFIG, dict(texts="encoder"), "set task.lm=0"),
        (task_file.Config(itc=0.0, itm=0.0, lm=0.0), {}, "nothing to learn"),
    ):
        with pytest.raises(ConfigError, match=message):
            task(config, **model)
