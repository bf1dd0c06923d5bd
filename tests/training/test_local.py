"""Row-wise losses beside a batch-wide one: exact for any number of micro-batches, hard negatives of
the whole batch included, and never more than a micro-batch of them in memory."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import LENGTH, QUICK, Hardest, Pairs, Words, pairs

from mmjax import tree
from mmjax.objectives import contrastive
from mmjax.training.gradients import denominators, gradients
from mmjax.training.micro_batches import fold, merged, unfold


@functools.cache
def start():
    return nn.unbox(jax.jit(Pairs().init)(jax.random.key(7), pairs())["params"])


def differentiated(task, accumulate, batch=None, sources=()):
    def run(params, batch, rng):
        variables = {"params": params, "state": {}, "teachers": {}}
        return gradients(task, variables, params, batch, rng, jnp.int32(0), accumulate, sources)

    return jax.jit(run, compiler_options=QUICK)(start(), batch or pairs(), jax.random.key(3))


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_the_hardest_row_of_the_whole_batch_is_compared_with(accumulate):
    """Values and gradients of one plain pass over the whole batch."""
    task = Hardest()
    batch = jax.tree.map(jnp.asarray, pairs())
    weight = batch["weight"]

    def by_hand(params):
        encoded = task.encode({"params": params}, batch, jax.random.key(0), train=True)
        first, second = encoded["first"], encoded["second"]
        both = contrastive.softmax(first, second, jnp.float32(5), weight).loss
        logits = np.array(jax.lax.stop_gradient(first @ second.T))
        logits[np.arange(16), np.arange(16)] = -np.inf
        logits[:, np.asarray(weight) == 0] = -np.inf
        chosen = {"negative": second[logits.argmax(1)]}
        local = task.local({}, batch, {**encoded, **chosen}, None, 0, train=True).parts
        match = (local["match"].values * weight).sum() / weight.sum()
        words = (local["words"].values * weight[:, None]).sum() / weight.sum() / LENGTH
        both = (both * weight).sum() / weight.sum()
        return both + 0.5 * match + words, {"pairs": both, "match": match, "words": words}

    (right, each), expected = jax.value_and_grad(by_hand, has_aux=True)(start())
    value, grads, (parts, metrics, statistics) = differentiated(task, accumulate)
    np.testing.assert_allclose(value, right, rtol=1e-6)
    for name, part in each.items():
        np.testing.assert_allclose(parts[name], part, rtol=1e-6)
    for path, grad in tree.flatten(grads).items():
        difference = np.linalg.norm(grad - tree.flatten(expected)[path])
        assert difference <= 1e-5 * np.linalg.norm(grad), path
    assert metrics["match_right"][1] == 14
    assert statistics["loss"].shape == (1,) and statistics["local"].shape == (accumulate,)
    assert statistics["local"].sum() == statistics["loss"].sum() == 14


def test_the_negatives_carry_a_gradient_back_into_encode():
    """Without it, the gradient is another one: what is compared above is not blind to it."""

    class Cut(Hardest):
        def select(self, *arguments):
            return jax.lax.stop_gradient(super().select(*arguments))

    _, grads, _ = differentiated(Hardest(), 4)
    _, cut, _ = differentiated(Cut(), 4)
    path = "head/kernel"
    assert np.abs(tree.flatten(grads)[path] - tree.flatten(cut)[path]).max() > 1e-3


def test_row_wise_losses_of_the_whole_batch_are_never_in_memory_at_once():
    """Logits [B, L, V] take 8 MiB; four micro-batches hold a quarter of them at a time."""

    class Captions(Hardest):
        classes = 4096

    batch = pairs(128)
    logits = 128 * LENGTH * Captions.classes * 4
    temporary = {}
    for accumulate in (1, 4):

        def run(params, batch, rng, accumulate=accumulate):
            variables = {"params": params, "state": {}, "teachers": {}}
            task = Captions()
            return gradients(task, variables, params, batch, rng, jnp.int32(0), accumulate)

        compiled = jax.jit(run).lower(start(), batch, jax.random.key(3)).compile()
        temporary[accumulate] = compiled.memory_analysis().temp_size_in_bytes
    assert temporary[4] < logits < temporary[1]
    assert temporary[4] < 0.4 * temporary[1]


@pytest.mark.parametrize("accumulate", [1, 4])
def test_sources_are_measured_apart_in_both(accumulate):
    batch = {**pairs(), "source": np.arange(16, dtype=np.int32) % 2}
    _, _, (parts, metrics, _) = differentiated(Hardest(), accumulate, batch, ("a", "b"))
    for name, places in (("pairs", 14), ("match", 14), ("words", 14 * LENGTH)):
        total = sum(metrics[f"loss/{name}/{source}"][0] for source in "ab")
        np.testing.assert_allclose(total / places, parts[name], rtol=1e-5)
    assert "match_right/a" in metrics


def test_what_does_not_fit_is_explained():
    class Alone(Words):
        def local(self):
            """Has no `encode` beside it."""

    with pytest.raises(ValueError, match="Alone has `local` without `encode`"):
        differentiated(Alone(), 1)

    class Twice(Hardest):
        def local(self, *arguments, **options):
            loss = super().local(*arguments, **options)
            return loss._replace(parts={"pairs": loss.parts["match"]})

    with pytest.raises(ValueError, match="both report 'pairs'"):
        differentiated(Twice(), 1)
    with pytest.raises(ValueError, match="both return 'first'"):
        merged({"first": 1}, {"first": 2}, pairs())


def test_a_total_is_looked_up_under_the_nearest_name():
    class Totals(Words):
        def totals(self, batch):
            return {"pairs": jnp.float32(3), "pairs/image_text": jnp.float32(4)}

    one = {"weight": jnp.ones(5)}
    other = {"weight": jnp.ones(7)}
    of = denominators(Totals(), {"pairs": one, "words": {"deep": other, "flat": one}})
    expected = {
        "pairs/image_text": 4, "pairs/image_text/a": 4, "pairs/size": 3, "pairs": 3,
        "words/deep/size": 7, "words/flat/size": 5, "words/size": 12, "size": 17,
    }  # fmt: skip
    assert {name: float(of(name)) for name in expected} == expected


def test_packs_are_split_whole_and_nested_batches_each_on_its_own():
    rows = {"weight": jnp.arange(24.0), "text": jnp.arange(6 * 2).reshape(6, 2)}
    batch = {"packed": rows, "plain": {"weight": jnp.arange(9.0)}}
    packs = {"packed": 4}
    folded = fold(batch, batch, 3, packs)
    assert folded["packed"]["weight"][1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
    assert folded["packed"]["text"][1].tolist() == [[2, 3], [8, 9]]
    assert folded["plain"]["weight"][2].tolist() == [2, 5, 8]
    jax.tree.map(np.testing.assert_array_equal, unfold(folded, batch, packs), batch)
    with pytest.raises(ValueError, match="6 packs does not divide into 4 micro-batches"):
        fold(batch, batch, 4, packs)
    with pytest.raises(ValueError, match=r"shape \(6, 2\) cannot be split with a batch of 24 rows"):
        fold(rows, rows, 3)  # the pack is not named
