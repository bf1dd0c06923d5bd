"""The train step: exact accumulation, teachers, frozen parts, statistics, the non-finite guard."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import OUT, SGD, WIDTH, Pairs, Words, forward, pairs, planned, words

from mmjax import tree
from mmjax.tasks.base import rows
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
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)),
                 first, second)  # fmt: skip


def gradients(task, batch, accumulate, seed=0):
    params = jax.tree.map(lambda x: x.value, task.init(jax.random.key(7), batch)["params"],
                          is_leaf=lambda x: hasattr(x, "value"))  # fmt: skip
    variables = {"params": params, "state": {}, "teachers": {}}
    rng = jax.random.key(seed)
    return jax.jit(
        lambda v, b: steps.gradients(task, v, v["params"], b, rng, jnp.int32(0), accumulate)
    )(variables, batch)


@pytest.mark.parametrize("task, batch", [(Pairs(), pairs()), (Words(), words())],
                         ids=["encode", "no encode"])  # fmt: skip
def test_accumulation_changes_nothing(task, batch):
    value, grads, (parts, metrics, statistics) = gradients(task, batch, 1)
    for count in (2, 4):
        again, same, (more, totals, stacked) = gradients(task, batch, count)
        np.testing.assert_allclose(again, value, rtol=1e-6)
        close(same, grads)
        close(more, parts)
        for name, (total, weight) in metrics.items():
            np.testing.assert_allclose(totals[name][0] / totals[name][1], total / weight, rtol=1e-5)
    if not task.encode:
        assert statistics["sums"].shape == (1, WIDTH) and stacked["sums"].shape == (4, WIDTH)
        np.testing.assert_allclose(stacked["sums"].sum(0), statistics["sums"][0], rtol=1e-4)


def test_words_are_summed_over_the_batch_not_averaged_over_micro_batches():
    """Micro-batch 0 of 4 holds all the long rows: a mean of means would be far off."""
    batch = words()
    value, _, (parts, _, _) = gradients(Words(), batch, 4)
    params = {k: v for k, v in Words().init(jax.random.key(7), batch)["params"].items()}
    params = jax.tree.map(lambda x: x.value, params, is_leaf=lambda x: hasattr(x, "value"))
    log = jax.nn.log_softmax(forward(params, batch["x"]))
    loss = -jnp.take_along_axis(log, batch["y"][..., None], -1)[..., 0]
    expected = jnp.sum(loss * batch["mask"]) / jnp.sum(batch["mask"])
    np.testing.assert_allclose(parts["words"], expected, rtol=1e-5)
    folded = jnp.sum((loss * batch["mask"]).reshape(4, 4, -1), (0, 2))
    means = (folded / jnp.sum(batch["mask"].reshape(4, 4, -1), (0, 2))).mean()
    assert abs(float(means - expected)) > 1e-2 * float(expected)
    size = jnp.square(forward(params, batch["x"])).mean((1, 2)).mean()
    np.testing.assert_allclose(value, expected + 0.1 * size, rtol=1e-5)


def test_recomputed_encodings_see_the_same_noise():
    """GradCache's gradient is that of a plain forward pass with the same keys."""
    task, batch, rng = Pairs(), pairs(), jax.random.key(3)
    task.noise = 0.5
    _, grads, _ = gradients(task, batch, 4, seed=3)
    params = jax.tree.map(lambda x: x.value, task.init(jax.random.key(7), batch)["params"],
                          is_leaf=lambda x: hasattr(x, "value"))  # fmt: skip

    def plain(params):
        variables, parts = {"params": params}, []
        for i, key in enumerate(jax.random.split(rng, 4)):
            part = jax.tree.map(lambda x, i=i: x[i::4], batch)
            parts.append(task.encode(variables, part, key, train=True))
        order = np.arange(16).reshape(4, 4).T.ravel()  # the inverse of taking every fourth row
        encoded = {n: jnp.concatenate([p[n] for p in parts])[order] for n in parts[0]}
        part = task.loss(variables, batch, encoded, rng, 0, train=True).parts["pairs"]
        return jnp.sum(part.values * part.weights) / rows(batch)

    close(grads, jax.jit(jax.grad(plain))(params))


def test_rows_of_weight_zero_change_nothing():
    batch = pairs()
    other = {**batch, "first": batch["first"].at[3].set(9.0), "second": batch["second"].at[8].set(9)}
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


def test_teachers_and_average_follow():
    plan, step = planned(Words(), words(), SGD, ema=0.9)
    state = plan.init()
    equal(state.teachers["ema"], state.params)
    assert list(tree.flatten(state.teachers["momentum"])) == [
        "blocks/up/bias", "blocks/up/kernel",
    ]  # fmt: skip
    average, momentum = (jax.device_get(state.teachers[n]) for n in ("ema", "momentum"))
    for number in range(3):
        state, _ = step(state, words(seed=number))
        decay = min(0.9, (1 + number) / (10 + number))
        params = jax.device_get(state.params)
        average = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, average, params)
        up = {"blocks": {"up": params["blocks"]["up"]}}
        momentum = jax.tree.map(lambda a, p: 0.75 * a + 0.25 * p, momentum, up)
    close(state.teachers["ema"], average, 1e-6)
    close(state.teachers["momentum"], momentum, 1e-6)
    assert np.abs(state.teachers["ema"]["head"]["kernel"] - params["head"]["kernel"]).max() > 1e-4


def test_frozen_parameters_stay_and_carry_nothing():
    frozen = Group(match="blocks/up/.*", optimizer="frozen")
    plan, step = planned(Words(), words(), frozen, ADAM, clip_norm=1.0)
    state = start = plan.init()
    for _ in range(3):
        state, report = step(state, words())
    equal(state.params["blocks"]["up"], start.params["blocks"]["up"])
    assert np.abs(np.asarray(state.params["head"]["kernel"] - start.params["head"]["kernel"])).max()
    names = {jax.tree_util.keystr(path)
             for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer)
             if leaf.ndim}  # fmt: skip
    assert names and not any("'up'" in name for name in names)
    # the norm that clipping sees, and the one that is shown, are those of the trained parameters
    variables = {"params": state.params, "state": state.state, "teachers": {}}
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), state.step), 3)
    batch = Words().prepare(words(), keys[0], state.step)
    _, grads, _ = steps.gradients(
        Words(), variables, state.params, batch, keys[1], state.step, 1
    )  # fmt: skip
    _, report = step(state, words())
    trained = [g for path, g in tree.flatten(grads).items() if "/up/" not in path]
    norm = float(jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in trained)))
    np.testing.assert_allclose(report["gradient_norm"], norm, rtol=1e-5)


def test_clipping_scales_the_whole_gradient():
    update = {}
    for limit in (0.0, 1e-2):
        plan, step = planned(Words(), words(), SGD, clip_norm=limit)
        start = plan.init()
        state, report = step(start, words())
        update[limit] = jax.tree.map(lambda a, b: a - b, state.params, start.params)
        assert report["gradient_norm"] > 1e-2  # shown as it was before
    factor = 1e-2 / float(report["gradient_norm"])
    close(update[1e-2], jax.tree.map(lambda x: x * factor, update[0.0]), 1e-3)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_that_is_not_finite_changes_the_counter_alone(accumulate):
    warm = dataclasses.replace(ADAM, warmup=10)
    plan, step = planned(Words(), words(), warm, ema=0.9, accumulate=accumulate)
    good, bad = words(), words()
    bad["x"] = bad["x"].at[5, 0, 2].set(jnp.nan)
    before, _ = step(plan.init(), good)
    after, report = step(before, bad)
    assert report["finite"] == 0 and not np.isfinite(report["loss"])
    for name in ("params", "state", "teachers", "optimizer"):
        equal(getattr(after, name), getattr(before, name))
    assert (int(after.step), int(after.skipped)) == (2, 1)
    done, report = step(after, good)
    assert report["finite"] == 1 and (int(done.step), int(done.skipped)) == (3, 1)
    assert jax.tree.all(jax.tree.map(lambda x: bool(jnp.isfinite(x).all()), done.params))
    # the schedule stands where the updates stand, in what is shown and in what is done
    np.testing.assert_allclose(report["learning_rate"], 1e-2 * 2 / 11, rtol=1e-5)


def test_an_infinite_gradient_of_a_finite_loss_is_caught():
    class Root(Words):
        def loss(self, variables, batch, encoded, rng, step, *, train):
            loss = super().loss(variables, batch, encoded, rng, step, train=train)
            bias = variables["params"]["blocks"]["up"]["bias"]
            root = jnp.sqrt(jnp.sum(jnp.square(bias - jax.lax.stop_gradient(bias))))
            part = loss.parts["size"]
            return loss._replace(
                parts={**loss.parts, "size": part._replace(values=part.values + root)}
            )

    plan, step = planned(Root(), words(), ADAM)
    start = plan.init()
    state, report = step(start, words())
    assert np.isfinite(report["loss"]) and report["finite"] == 0
    equal(state.params, start.params)


def test_report_names_parts_metrics_and_rates():
    slow = dataclasses.replace(SGD, match="head/.*", learning_rate=0.01)
    plan, step = planned(Words(), words(), slow, SGD)
    _, report = step(plan.init(), words())
    assert set(report) == {
        "loss", "loss/words", "loss/size", "right", "gradient_norm", "finite",
        "learning_rate", "learning_rate/1",
    }  # fmt: skip
    np.testing.assert_allclose(report["loss"], report["loss/words"] + 0.1 * report["loss/size"])
    assert report["learning_rate"] == np.float32(0.01)
    assert 0 <= report["right"] <= 1 and OUT == 4
