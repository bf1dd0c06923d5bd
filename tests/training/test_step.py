"""The train step: exact accumulation, teachers, frozen parts, statistics, the non-finite guard."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import QUICK, SGD, WIDTH, Pairs, Words, forward, pairs, planned, words

from mmjax import tree
from mmjax.training import step as steps
from mmjax.training.optimizer import Group

ADAM = Group(learning_rate=1e-2, schedule="constant", weight_decay=0.1)


def close(first, second, tolerance=1e-5):
    """Every tensor to `tolerance` of its norm."""
    second = tree.flatten(second)
    for path, value in tree.flatten(first).items():
        difference = np.linalg.norm(np.asarray(value) - np.asarray(second[path]))
        assert difference <= tolerance * np.linalg.norm(second[path]) + 1e-12, path


def equal(first, second):
    """Bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


@functools.cache
def start():
    """Fresh parameters of the toy tasks."""
    return nn.unbox(jax.jit(Words().init)(jax.random.key(7), words())["params"])


def gradients(task, batch, accumulate):
    """What `step.gradients` returns at the parameters of `start`."""
    variables = {"params": start(), "state": {}, "teachers": {}}
    count = jnp.int32(0)
    return jax.jit(
        lambda v, batch, rng: steps.gradients(task, v, v["params"], batch, rng, count, accumulate),
        compiler_options=QUICK,
    )(variables, batch, jax.random.key(3))


def logits_and_loss(batch):
    """The mathematics of `Words`, written out."""
    logits = np.asarray(forward(start(), batch["x"]), np.float64)
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return logits, -np.take_along_axis(log, batch["y"][..., None], -1)[..., 0]


@pytest.mark.parametrize("task, batch", [(Pairs(), pairs()), (Words(), words())],
                         ids=["encode", "no encode"])  # fmt: skip
def test_accumulation_changes_nothing(task, batch):
    value, grads, (parts, metrics, statistics) = gradients(task, batch, 1)
    again, same, (more, totals, stacked) = gradients(task, batch, 4)
    np.testing.assert_allclose(again, value, rtol=1e-6)
    close(same, grads)
    close(more, parts)
    for name, (total, weight) in metrics.items():
        np.testing.assert_allclose(totals[name], (total, weight), rtol=1e-5)
    if not task.encode:
        assert statistics["sums"].shape == (1, WIDTH) and stacked["sums"].shape == (4, WIDTH)
        np.testing.assert_allclose(stacked["sums"].sum(0), statistics["sums"][0], rtol=1e-4)


@pytest.mark.parametrize("task, batch", [(Pairs(), pairs()), (Words(), words())],
                         ids=["encode", "no encode"])  # fmt: skip
@pytest.mark.parametrize("accumulate", [1, 4])
def test_sources_are_measured_apart_and_add_up(task, batch, accumulate):
    batch = {**batch, "source": np.arange(16, dtype=np.int32) % 3}
    variables = {"params": start(), "state": {}, "teachers": {}}
    _, _, (parts, metrics, _) = jax.jit(
        lambda batch, rng: steps.gradients(
            task, variables, variables["params"], batch, rng, jnp.int32(0), accumulate, "abc"
        ),
        compiler_options=QUICK,
    )(batch, jax.random.key(3))
    name = "a_to_b" if task.encode else "right"
    for kind in (name, "loss" if len(parts) == 1 else "loss/words"):
        each = [metrics[f"{kind}/{source}"] for source in "abc"]
        total, weight = np.sum(each, axis=0)
        assert all(0 < w < weight for _, w in each)
        if kind == name:
            np.testing.assert_allclose((total, weight), metrics[name], rtol=1e-5)
        else:
            part = parts["pairs" if task.encode else "words"]
            np.testing.assert_allclose(total / weight, part, rtol=1e-5)


def test_words_are_summed_over_the_batch_not_averaged_over_micro_batches():
    """Micro-batch 0 of 4 holds all the long rows: a mean of means is far off."""
    batch = words()
    value, _, (parts, metrics, _) = gradients(Words(), batch, 4)
    logits, loss = logits_and_loss(batch)
    mask = batch["mask"]
    exact = (loss * mask).sum() / mask.sum()
    np.testing.assert_allclose(parts["words"], exact, rtol=1e-5)
    folded, counts = ((x.reshape(4, 4, -1)).sum((0, 2)) for x in (loss * mask, mask))
    assert abs((folded / counts).mean() - exact) > 1e-2 * exact
    size = np.square(logits).mean((1, 2)).mean()
    np.testing.assert_allclose(value, exact + 0.1 * size, rtol=1e-5)
    right = ((logits.argmax(-1) == batch["y"]) * mask).sum()
    np.testing.assert_allclose(metrics["right"], (right, mask.sum()))


def test_recomputed_encodings_see_the_same_noise():
    """GradCache's gradient is that of a plain forward pass with the same keys."""
    task, batch = Pairs(), pairs()
    task.noise = 0.5
    _, grads, _ = gradients(task, batch, 4)

    def plain(params):
        variables, parts = {"params": params}, []
        for i, key in enumerate(jax.random.split(jax.random.key(3), 4)):
            part = jax.tree.map(lambda x, i=i: x[i::4], batch)
            parts.append(task.encode(variables, part, key, train=True))
        order = np.arange(16).reshape(4, 4).T.ravel()  # the inverse of taking every fourth row
        encoded = {n: jnp.concatenate([p[n] for p in parts])[order] for n in parts[0]}
        part = task.loss(variables, batch, encoded, None, 0, train=True).parts["pairs"]
        return jnp.sum(part.values * part.weights) / jnp.sum(batch["weight"])

    batch = jax.tree.map(jnp.asarray, batch)
    close(grads, jax.jit(jax.grad(plain))(start()))


def test_rows_of_weight_zero_change_nothing():
    batch, other = pairs(), pairs()
    other["first"][3], other["second"][8] = 9, 9
    value, grads, _ = gradients(Pairs(), batch, 1)
    again, same, _ = gradients(Pairs(), other, 1)
    np.testing.assert_allclose(value, again, rtol=1e-6)
    close(grads, same)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="16 rows does not divide into 3 micro-batches"):
        gradients(Words(), words(), 3)


def test_noise_is_drawn_before_the_split_and_by_step():
    """`prepare` sees the whole batch once: micro-batches change nothing; steps differ."""
    results = []
    for accumulate in (1, 4):
        plan, step = planned(Words(), words(), SGD, accumulate=accumulate)
        first, report = step(plan.init(), words())
        second, again = step(first, words())
        results.append((second, report["loss"], again["loss"]))
    (one, *losses), (four, *same) = results
    np.testing.assert_allclose(losses, same, rtol=1e-6)
    close(one.params, four.params)
    np.testing.assert_allclose(one.state["sums"], four.state["sums"], rtol=1e-4)
    _, repeated = step(first, words())
    assert repeated["loss"] == again["loss"]  # randomness is a function of the step alone


def test_teachers_average_state_and_report():
    slow = dataclasses.replace(SGD, match="head/.*", learning_rate=0.01, name="head")
    plan, step = planned(Words(), words(), slow, SGD, ema=0.9)
    state = plan.init()
    equal(state.teachers["ema"], state.params)
    followed = ["blocks/up/bias", "blocks/up/kernel"]
    assert list(tree.flatten(state.teachers["momentum"])) == followed
    average, momentum, sums = jax.device_get((*state.teachers.values(), state.state["sums"]))
    for number in range(3):
        batch = words(seed=number)
        state, report = step(state, batch)
        decay = min(0.9, (1 + number) / (10 + number))
        params = jax.device_get(state.params)
        average = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, average, params)
        up = {"blocks": {"up": params["blocks"]["up"]}}
        momentum = jax.tree.map(lambda a, p: 0.75 * a + 0.25 * p, momentum, up)
        sums = 0.5 * sums + (batch["x"] * batch["mask"][..., None]).sum((0, 1))
    close(state.teachers["ema"], average, 1e-6)
    close(state.teachers["momentum"], momentum, 1e-6)
    np.testing.assert_allclose(state.state["sums"], sums, atol=0.5)  # prepare's noise is in it
    assert np.abs(state.teachers["ema"]["head"]["kernel"] - params["head"]["kernel"]).max() > 1e-4
    names = {"loss", "loss/words", "loss/size", "right", "gradient_norm", "finite",
             "learning_rate/head", "learning_rate/1"}  # fmt: skip
    assert set(report) == names
    np.testing.assert_allclose(report["loss"], report["loss/words"] + 0.1 * report["loss/size"])
    assert report["learning_rate/head"] == np.float32(0.01)


def test_frozen_parameters_stay_carry_nothing_and_clip_nothing():
    frozen = Group(match="blocks/up/.*", optimizer="frozen")
    plan, step = planned(Words(), words(), frozen, ADAM, clip_norm=1.0)
    state = first = plan.init()
    for _ in range(3):
        state, report = step(state, words())
    rates = [name for name in report if name.startswith("learning_rate")]
    assert rates == ["learning_rate"]  # of the one group that is trained
    equal(state.params["blocks"]["up"], first.params["blocks"]["up"])
    assert np.abs(np.asarray(state.params["head"]["kernel"] - first.params["head"]["kernel"])).max()
    names = {jax.tree_util.keystr(path)
             for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer)
             if leaf.ndim}  # fmt: skip
    assert names and not any("'up'" in name for name in names)

    @jax.jit
    def everything(state, batch):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), state.step), 3)
        batch = Words().prepare(batch, keys[0], state.step)
        return steps.gradients(
            Words(), state.variables, state.params, batch, keys[1], state.step, 1
        )[1]

    # the norm that clipping sees, and the one that is shown, are those of the trained parameters
    grads = tree.flatten(everything(state, words()))
    _, report = step(state, words())
    squares = {path: float(np.square(np.asarray(g)).sum()) for path, g in grads.items()}
    trained = sum(s for path, s in squares.items() if "/up/" not in path)
    np.testing.assert_allclose(report["gradient_norm"], np.sqrt(trained), rtol=1e-5)
    assert sum(squares.values()) > 1.001 * trained


def test_clipping_scales_the_whole_gradient():
    update = {}
    for limit in (0.0, 1e-2):
        plan, step = planned(Words(), words(), SGD, clip_norm=limit)
        first = plan.init()
        state, report = step(first, words())
        update[limit] = jax.tree.map(np.subtract, *jax.device_get((state.params, first.params)))
        assert report["gradient_norm"] > 1e-2  # shown as it was before
    factor = 1e-2 / float(report["gradient_norm"])
    close(update[1e-2], jax.tree.map(lambda x: x * factor, update[0.0]), 1e-3)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_that_is_not_finite_changes_the_counter_alone(accumulate):
    warm = dataclasses.replace(ADAM, warmup=10)
    plan, step = planned(Words(), words(), warm, ema=0.9, accumulate=accumulate)
    good, bad = words(), words()
    bad["x"][5, 0, 2] = np.nan
    before, _ = step(plan.init(), good)
    after, report = step(before, bad)
    assert report["finite"] == 0 and not np.isfinite(report["loss"])
    for name in ("params", "state", "teachers", "optimizer"):
        equal(getattr(after, name), getattr(before, name))
    assert (int(after.step), int(after.skipped)) == (2, 1)
    done, report = step(after, good)
    assert report["finite"] == 1 and (int(done.step), int(done.skipped)) == (3, 1)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(done.params)))
    # the schedule stands where the updates stand, in what is shown and in what is done
    np.testing.assert_allclose(report["learning_rate"], 1e-2 * 2 / 11, rtol=1e-5)


def test_an_infinite_gradient_of_a_finite_loss_is_caught():
    class Root(Words):
        def loss(self, variables, batch, encoded, rng, step, *, train):
            loss = super().loss(variables, batch, encoded, rng, step, train=train)
            bias = variables["params"]["blocks"]["up"]["bias"]
            root = jnp.sqrt(jnp.sum(jnp.square(bias - jax.lax.stop_gradient(bias))))  # sqrt at 0
            part = loss.parts["size"]
            new = part._replace(values=part.values + root)
            return loss._replace(parts={**loss.parts, "size": new})

    plan, step = planned(Root(), words(), SGD)
    first = plan.init()
    state, report = step(first, words())
    assert np.isfinite(report["loss"]) and report["finite"] == 0
    equal(state.params, first.params)
