"""A task of tasks: each trains in a mix as it does alone, and what is absent costs nothing."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import QUICK, Hardest, Pairs, Words, pairs, planned, words

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.tasks.base import Teacher
from mmjax.tasks.mixed import Config, Mixed, build
from mmjax.training.gradients import gradients
from mmjax.training.optimizer import Group


class QuietWords(Words):
    """`Words` without noise: what is drawn in a mix is drawn with another key than alone."""

    def prepare(self, batch, rng, step):
        return batch

    @property
    def predict(self):
        def count(variables, batch, keys, factor=1):
            return {"n": factor * jnp.ones(len(keys)), "state": variables["state"]["sums"]}

        return {"count": count}


TASKS = {"pairs": Pairs(), "words": QuietWords(), "hard": Hardest()}


def batches():
    return {"pairs": pairs(16), "words": words(8), "hard": pairs(16, seed=1)}


@functools.cache
def start():
    return nn.unbox(jax.jit(Mixed(TASKS).init)(jax.random.key(7), batches()))


def differentiated(task, batch, state, accumulate, sources=()):
    variables = {"params": start()["params"], "state": state, "teachers": {}}
    return jax.jit(
        lambda v, batch, rng: gradients(
            task, v, v["params"], batch, rng, jnp.int32(0), accumulate, sources
        ),
        compiler_options=QUICK,
    )(variables, batch, jax.random.key(3))


@pytest.mark.parametrize("names, accumulate", [
    (("pairs", "words", "hard"), 4),
    pytest.param(("pairs", "words", "hard"), 1, marks=pytest.mark.slow),
    pytest.param(("pairs", "words"), 1, marks=pytest.mark.slow),
    pytest.param(("words",), 4, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_task_trains_in_a_mix_as_it_does_alone(names, accumulate):
    """Losses, metrics and the sum of the gradients, with rows of very different numbers."""
    weights = {"pairs": 1.0, "words": 0.3, "hard": 2.0}
    mixed = Mixed({name: TASKS[name] for name in names}, {name: weights[name] for name in names})
    batch = {name: batches()[name] for name in names}
    state = {name: start()["state"][name] for name in names}
    value, grads, (parts, metrics, _) = differentiated(mixed, batch, state, accumulate)
    total = 0.0
    expected = {}
    for name in names:
        alone, own, (own_parts, own_metrics, _) = differentiated(
            TASKS[name], batch[name], state[name], accumulate
        )
        total += weights[name] * alone
        for part, loss in own_parts.items():
            np.testing.assert_allclose(parts[f"{name}/{part}"], loss, rtol=1e-6)
        for metric, measured in own_metrics.items():
            np.testing.assert_allclose(metrics[f"{name}/{metric}"], measured, rtol=1e-6)
        for path, grad in tree.flatten(own).items():
            expected[path] = expected.get(path, 0) + weights[name] * grad
    np.testing.assert_allclose(value, total, rtol=1e-6)
    for path, grad in tree.flatten(grads).items():
        np.testing.assert_allclose(grad, expected[path], rtol=1e-4, atol=1e-6, err_msg=path)


def test_each_task_starts_as_it_does_alone_and_shares_parameters():
    alone = nn.unbox(jax.jit(Words().init)(jax.random.key(7), words(8)))
    jax.tree.map(np.testing.assert_array_equal, start()["params"], alone["params"])
    assert start()["state"].keys() == TASKS.keys()

    class Other(Words):
        def init(self, rng, batch):
            variables = super().init(rng, batch)
            return {"params": {"head": {"kernel": variables["params"]["head"]["kernel"].unbox().T}}}

    with pytest.raises(ValueError, match=r"'b' has head/kernel of shape \(4, 6\), another .*6, 4"):
        Mixed({"a": Words(), "b": Other()}).init(jax.random.key(0), {"a": words(), "b": words()})
    with pytest.raises(ValueError, match=r"absent: \['words'\]"):
        Mixed(TASKS).init(jax.random.key(0), {"pairs": pairs(), "hard": pairs()})


def test_an_absent_sub_batch_costs_nothing():
    """Its task is not in the program, its state stays, and the others train as they do alone."""
    mixed = Mixed({"pairs": Pairs(), "words": QuietWords()})
    whole = {"pairs": pairs(), "words": words()}
    plan, step = planned(mixed, whole)
    alone, step_alone = planned(Pairs(), pairs())
    cost = step.lower(plan.init(), {"pairs": whole["pairs"]}).cost_analysis()["flops"]
    cost_alone = step_alone.lower(alone.init(), whole["pairs"]).cost_analysis()["flops"]
    cost_of_both = step.lower(plan.init(), whole).cost_analysis()["flops"]
    assert cost < 1.01 * cost_alone < 0.8 * cost_of_both
    state, report = step(plan.init(), {"pairs": whole["pairs"]})
    right, expected = step_alone(alone.init(), whole["pairs"])
    np.testing.assert_allclose(report["loss"], expected["loss"], rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        jax.device_get(state.params),
        jax.device_get(right.params),
    )
    assert not np.any(state.state["words"]["sums"])
    state, report = step(state, whole)
    assert np.any(state.state["words"]["sums"])
    assert {"loss/pairs/pairs", "loss/words/words", "loss/words/size"} <= set(report)


@pytest.mark.parametrize("accumulate", [2])
def test_sources_of_sub_batches_are_measured_apart(accumulate):
    mixed = Mixed({"pairs": Pairs(), "words": QuietWords()})
    batch = {"pairs": pairs(), "words": words(8)}
    for part in batch.values():
        part["source"] = np.arange(len(part["weight"]), dtype=np.int32) % 2
    state = {name: start()["state"][name] for name in batch}
    sources = {"pairs": ("photos", "drawings"), "words": ("books",)}
    _, _, (parts, metrics, _) = differentiated(mixed, batch, state, accumulate, sources)
    names = [name for name in metrics if name.endswith(("photos", "drawings", "books"))]
    assert sorted(names) == [
        "loss/pairs/pairs/drawings", "loss/pairs/pairs/photos",
        "pairs/a_to_b/drawings", "pairs/a_to_b/photos",
    ]  # fmt: skip
    total = sum(metrics[f"loss/pairs/pairs/{name}"][0] for name in sources["pairs"])
    np.testing.assert_allclose(total / 14, parts["pairs/pairs"], rtol=1e-5)


def test_a_whole_step_with_three_optimizers_accumulates_exactly():
    groups = [
        Group(match="blocks/up/.*", optimizer="sgd", name="up", schedule="constant"),
        Group(match="blocks/.*", optimizer="lion", name="down", schedule="constant"),
        Group(optimizer="adamw", name="head", schedule="constant"),
    ]
    mixed = Mixed(TASKS)
    results = []
    for accumulate in (1, 4):
        plan, step = planned(mixed, batches(), *groups, accumulate=accumulate)
        state, report = step(plan.init(), batches())
        rates = {name for name in report if name.startswith("learning_rate")}
        assert rates == {"learning_rate/up", "learning_rate/down", "learning_rate/head"}
        results.append((report["loss"], state.state["words"]["sums"]))
    np.testing.assert_allclose(*[loss for loss, _ in results], rtol=1e-6)
    np.testing.assert_allclose(*[sums for _, sums in results], rtol=1e-4)


def test_predict_functions_are_prefixed_and_bound_once():
    mixed = Mixed(TASKS)
    count = mixed.predict["words/count"]
    assert count is mixed.predict["words/count"]
    keys = jax.random.split(jax.random.key(0), 8)
    assert count(start(), words(8), keys, factor=2)["n"].sum() == 16


def test_what_does_not_fit_is_explained():
    with pytest.raises(ConfigError, match="is empty"):
        build(Config(), nn.Module(), {})
    with pytest.raises(ConfigError, match="'text', which is no task; there are pairs"):
        build(Config(weights={"text": 2.0}), nn.Module(), {"pairs": Pairs()})
    with pytest.raises(ConfigError, match="a part 'texts', and no task"):
        Mixed(TASKS).prepare({"texts": words()}, jax.random.key(0), jnp.int32(0))

    class Slow(Words):
        teachers = {"momentum": Teacher(0.5)}

    with pytest.raises(ConfigError, match="'b' declares the teacher 'momentum'"):
        Mixed({"a": Words(), "b": Slow()})
