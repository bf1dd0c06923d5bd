"""One device, eight devices, and every layout of them train the same model.

Over 10 steps on real batches: the loss to 1e-5; each tensor's gradient, at equal parameters, to
1e-5 of its norm (tensors below 1e-6 of the global norm count as zero, and a scalar's gradient below
a tenth of the loss as that much: it sums over all pairs and passes through zero); the parameters
after plain SGD to 1e-5 of their norm. Under Adam, rounding in gradients that ought to be zero grows
to order one, so parameters cannot be compared there. The one device compares pairs in the plain
form.
"""

import functools
import math

import jax
import numpy as np
import pytest
from toy import QUICK, mesh

from mmjax import tree
from mmjax.config import build, load
from mmjax.run.assembly import Run
from mmjax.run.options import Options
from mmjax.training import optimizer, sharding, state, step

pytestmark = pytest.mark.slow
STEPS, ROWS = 10, 32
CASES = [
    ("softmax", dict(data=8)),
    ("softmax", dict(data=1, fsdp=8)),
    ("softmax", dict(data=1, tensor=2)),
    ("softmax", dict(data=2, fsdp=2, tensor=2, form="ring")),
    ("sigmoid", dict(data=4, tensor=2, accumulate=2, form="ring")),
]
TINY = dict(width=16, heads=2, hidden=32, layers=2, unroll=1, dtype="float32")
# The trace of so small a momentum is the gradient itself: each step leaves it in its state. The
# rate is low: a scalar whose gradient passes through zero would be compared by its rounding.
SGD = optimizer.Group(optimizer="sgd", learning_rate=5e-4, schedule="constant", b1=1e-30)


@functools.cache
def run(loss, form="plain"):
    """The emoji run with a tiny float32 model."""
    more = {"softmax": [], "sigmoid": ["model.bias_init=-10.0"]}[loss]
    config = load("configs/contrastive/clip_emoji.py:smoke", [
        f"model.image.transformer={TINY}", f"model.text.transformer={TINY}", "model.embedding=16",
        f"task.loss={loss!r}", f"task.form={form!r}", f"data.batch_size={ROWS}",
        "data.processor.vocab_size=512", *more,
    ], schema=Options)  # fmt: skip
    return Run(build(Options, config))


@functools.cache
def batches():
    """The first batches of the emoji run: the same for both losses."""
    one = run("softmax")
    names = one.shapes
    return [{name: one.pipeline.batch(number).arrays[name] for name in names}
            for number in range(STEPS)]  # fmt: skip


class Layout:
    """The training of a loss on some devices, laid out in some way."""

    def __init__(self, loss, accumulate=1, form="plain", **sizes):
        where, one = mesh(math.prod(sizes.values()), **sizes), run(loss, form)
        sizes = sharding.Config(**{axis: where.shape[axis] for axis in sharding.AXES})
        config = optimizer.Config((SGD,), 0.0, accumulate)
        self.plan = state.specify(
            one.task, one.shapes, config, where, sizes, steps=STEPS, seed=0, ema=0.9
        )
        self.rows, self.where = sharding.batch_sharding(where), where
        everywhere = sharding.replicated(where)
        self.step = jax.jit(
            step.make_step(self.plan, accumulate),
            out_shardings=(self.plan.shardings, everywhere),
            compiler_options=QUICK,
        )

    def __call__(self, state, batch):
        """(state after, loss, gradients) as numpy, from a state as numpy."""
        with jax.set_mesh(self.where):
            state = jax.device_put(state, self.plan.shardings)
            after, report = self.step(state, jax.device_put(batch, self.rows))
        after = jax.device_get(after)
        return after, float(report["loss"]), dict(_traces(after.optimizer))


def _traces(optimizer_state):
    """(parameter path, gradient) of every parameter."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(optimizer_state):
        keys = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
        if any(getattr(key, "name", "") == "trace" for key in path):
            yield "/".join(keys[1:]), leaf


@functools.cache
def undivided(loss):
    """The run on one device: states before each step and after the last, losses, gradients."""
    layout = Layout(loss, data=1)
    states, losses, gradients = [jax.device_get(layout.plan.init())], [], []
    for batch in batches():
        after, value, grads = layout(states[-1], batch)
        states.append(after)
        losses.append(value)
        gradients.append(grads)
    return states, losses, gradients


def worst(found, right, floor=0.0, scalar=0.0):
    """The largest distance of a tensor, in norms of the right one; those below `floor` are zero,
    and a scalar is at least `scalar`."""
    worst, where = 0.0, ""
    for path, value in right.items():
        size, distance = np.linalg.norm(value), np.linalg.norm(found[path] - value)
        if not np.ndim(value):
            size = max(size, scalar)
        if size < floor:
            assert np.linalg.norm(found[path]) < 2 * floor, path
        elif distance > worst * size:
            worst, where = distance / size, path
    return worst, where


def norm(tensors):
    """Of all tensors together."""
    return np.sqrt(sum(np.square(one).sum() for one in tensors.values()))


@pytest.mark.parametrize("loss, sizes", CASES, ids=lambda x: x if isinstance(x, str) else " ".join(
    f"{name}={size}" for name, size in x.items()))  # fmt: skip
def test_layouts_agree(loss, sizes):
    states, losses, gradients = undivided(loss)
    divided, own = Layout(loss, **sizes), states[0]
    for number, batch in enumerate(batches()):
        own, value, _ = divided(own, batch)
        assert abs(value - losses[number]) <= 1e-5 * abs(losses[number]), number
        _, value, grads = divided(states[number], batch)
        assert abs(value - losses[number]) <= 1e-5 * abs(losses[number]), number
        assert grads.keys() == tree.flatten(own.params).keys()
        right = gradients[number]
        terms = abs(losses[number]) / 10
        distance, where = worst(grads, right, floor=1e-6 * norm(right), scalar=terms)
        assert distance <= 1e-5, (number, where)
    for name in ("params", "teachers"):
        found, right = (tree.flatten(getattr(s, name)) for s in (own, states[-1]))
        # what began at zero and has no gradient, such as the key biases, is rounding alone
        distance, where = worst(found, right, floor=1e-6 * norm(right))
        assert distance <= 1e-5, (name, where)


def test_the_run_learns():
    """What is compared moves: the gradients are those that were taken, and the loss falls."""
    states, losses, gradients = undivided("softmax")
    before, after = (tree.flatten(s.params) for s in (states[4], states[5]))
    for path, grad in gradients[4].items():
        np.testing.assert_allclose(after[path], before[path] - 5e-4 * grad, rtol=1e-5, atol=1e-6)
    assert losses[-1] < losses[0] and len(set(losses)) == STEPS
