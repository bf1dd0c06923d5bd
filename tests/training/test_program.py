"""What a step waits for is said, and its time is none of training."""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import toy

from mmjax.training import flops, loop
from mmjax.training.program import Program, _differences, _kind
from mmjax.training.progress import Progress


def shapes(**fields):
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in fields.items()}


def test_what_is_compiled_is_named_by_what_differs():
    usual = _kind(shapes(image=(8, 4, 4), text=(8, 48), text_mask=(8, 48)))
    short = _kind(shapes(image=(8, 4, 4), text=(8, 24), text_mask=(8, 24)))
    assert _differences(short, usual) == "text of length 24"
    assert _differences({"pairs": short}, {"pairs": usual}) == "pairs/text of length 24"
    assert _differences(_kind(shapes(sound=(8, 9))), usual) == "sound of shape 8 x 9"
    assert _differences(usual, usual) == ""


def test_a_batch_of_another_shape_is_compiled_once():
    where = toy.mesh()
    spec, _ = toy.planned(toy.Pairs(), toy.pairs(), where=where)

    def batch(rows):
        spread = jax.sharding.NamedSharding(where, jax.sharding.PartitionSpec())
        return jax.device_put(toy.pairs(rows), spread)

    def step(state, batch):
        return state.replace(step=state.step + 1), {"sum": batch["first"].sum()}

    program = Program(step, spec, shapes(**{k: v.shape for k, v in toy.pairs().items()}), where)
    other = batch(12)
    assert program.missing(batch(16)) == ""  # it waits for no thread
    assert program.missing(other).startswith("first of length 12")
    program.compile(other)
    assert program.missing(other) == ""
    state, found = program(spec.init(), other)
    assert int(state.step) == 1
    np.testing.assert_allclose(found["sum"], toy.pairs(12)["first"].sum(), rtol=1e-5)


def test_compilation_is_left_out_of_the_rate(monkeypatch):
    now = iter([0.0, 0.0, 31.0, 32.0])  # made, begun, compiled 30 of 31 seconds, the next one
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    clock = loop._Clock(10)
    clock.since = time.monotonic()
    clock.leave_out(30.0)
    clock.end()
    clock.end()
    assert clock.total == 2.0 and clock.step_seconds() == 1.0


def test_the_time_left_is_that_of_recent_steps(capsys):
    progress = Progress(100, seconds=0.0)
    progress.shown -= 1
    progress.update(10, {"loss": "0.5"}, left=75.0)
    progress.say("compiling, text of length 24")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["train 10/100  loss 0.5  1:15 left", "compiling, text of length 24"]


def test_a_cpu_has_no_stated_rate():
    assert math.isnan(flops.stated())
