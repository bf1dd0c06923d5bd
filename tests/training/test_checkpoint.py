"""Checkpoints: what is kept, restored on other meshes, refused by name, survived by a kill."""

import json
import shutil

import jax
import numpy as np
import pytest
from toy import SGD, Pairs, Words, mesh, pairs, planned, words

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.training.checkpoint import CheckpointError, Checkpoints, Config, warm_start
from mmjax.training.optimizer import Group

ADAM = Group(learning_rate=1e-2, schedule="constant")


def equal(first, second):
    """Bit for bit, whatever the shardings."""
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


@pytest.fixture(scope="module")
def trained():
    """(plan, state after two steps) of `Words` with Adam and two teachers."""
    plan, step = planned(Words(), words(), ADAM, ema=0.9)
    state = plan.init()
    for _ in range(2):
        state, _ = step(state, words())
    return plan, state


@pytest.fixture(scope="module")
def small():
    """A state of few tensors, quickly saved."""
    _, step = planned(Pairs(), pairs(), SGD)
    return planned(Pairs(), pairs(), SGD)[0].init()


def at(state, step):
    return state.replace(step=np.int32(step))


def filled(folder, state, config, values):
    """A folder into which steps with these metrics were saved; None: no evaluation."""
    checkpoints = Checkpoints(folder, config)
    for step, value in values.items():
        metrics = None if value is None else {config.metric or "m": value, "other": 1.0}
        checkpoints.save(at(state, step), metrics, {"data": "fingerprint"})
    checkpoints.close()
    return Checkpoints(folder, config)


VALUES = {10: 0.1, 20: 0.7, 25: None, 30: 0.3, 40: 0.7, 50: 0.2, 55: None, 60: 0.1}


@pytest.mark.parametrize("config, kept, best", [
    (Config(latest=2), (55, 60), None),
    (Config(latest=1, keep_every=20), (20, 40, 60), None),
    (Config(latest=2, metric="m"), (40, 55, 60), 40),  # the later of equals
    (Config(latest=1, best=2, metric="m"), (20, 40, 60), 40),
    (Config(latest=1, metric="m", higher_is_better=False), (60,), 60),
    (Config(latest=1, best=3, metric="m", higher_is_better=False), (10, 50, 60), 60),
], ids=["latest", "every", "best", "two best", "lowest", "three lowest"])  # fmt: skip
def test_what_is_kept(tmp_path, small, config, kept, best):
    checkpoints = filled(tmp_path / "whole", small, config, VALUES)
    assert checkpoints.steps() == kept and checkpoints.latest() == kept[-1]
    assert checkpoints.best() == best
    # begun anew after every second save, as a run that is killed: the same
    for first in range(0, len(VALUES), 2):
        part = dict(list(VALUES.items())[first : first + 2])
        checkpoints = filled(tmp_path / "parts", small, config, part)
    assert checkpoints.steps() == kept and checkpoints.best() == best


def test_what_is_written_beside_the_arrays(tmp_path, small):
    checkpoints = filled(tmp_path, small, Config(metric="m"), {10: 0.5, 20: None})
    about = {"data": "fingerprint", "metrics": {"m": 0.5, "other": 1.0}}
    assert checkpoints.about(10) == about
    assert checkpoints.about(20)["metrics"] == {}
    with pytest.raises(ConfigError, match="checkpoint.metric 'm' is not among the metrics: n"):
        checkpoints.save(at(small, 30), {"n": 1.0})


def test_everything_comes_back_bit_for_bit(tmp_path, trained):
    plan, state = trained
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state)
    checkpoints.close()
    back = Checkpoints(tmp_path).restore(plan.shapes, plan.shardings)
    equal(back, state)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    # as numpy, whatever the model: for warm starts and conversion
    loaded = Checkpoints(tmp_path, read_only=True).load("params")
    equal(loaded, state.params)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(loaded))


@pytest.mark.parametrize("sizes", [dict(data=8), dict(data=1, fsdp=2, tensor=2), dict(fsdp=2)],
                         ids=["data", "fsdp x tensor", "fsdp of 2"])  # fmt: skip
def test_restored_on_another_mesh(tmp_path, trained, sizes):
    plan, state = trained
    checkpoints = Checkpoints(tmp_path / "one")
    checkpoints.save(state)
    checkpoints.close()
    where = mesh(int(np.prod(list(sizes.values()))), **{"data": 1, **sizes})
    other, _ = planned(Words(), words(), ADAM, ema=0.9, where=where)
    there = Checkpoints(tmp_path / "one").restore(other.shapes, other.shardings)
    equal(there, state)
    kernel, moment = "blocks/up/kernel", "blocks/down/kernel"
    cut = tree.flatten(there.params)[kernel].sharding
    assert cut == tree.flatten(other.shardings.params)[kernel]
    assert cut.num_devices == where.size
    # and the way back
    checkpoints = Checkpoints(tmp_path / "many")
    checkpoints.save(there)
    checkpoints.close()
    equal(Checkpoints(tmp_path / "many").restore(plan.shapes, plan.shardings), state)
    assert moment in tree.flatten(there.teachers["ema"])


def test_parameters_alone(tmp_path, trained):
    """By another optimizer's run; and the average's values, as arrays of the host."""
    plan, state = trained
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state)
    checkpoints.close()
    other, _ = planned(Words(), words(), SGD, ema=0.9)
    reader = Checkpoints(tmp_path, read_only=True)
    equal(reader.restore(other.shapes, other.shardings, training=False).params, state.params)
    equal(reader.load("params"), state.params)
    equal(reader.load("teachers")["ema"], state.teachers["ema"])


def test_every_tensor_that_does_not_fit_is_named(tmp_path, trained):
    plan, state = trained
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state)
    checkpoints.wait()
    flat = tree.flatten(plan.shapes.params)
    flat["head/bias"] = jax.ShapeDtypeStruct((4,), np.float32)
    flat["head/kernel"] = jax.ShapeDtypeStruct((6, 5), np.float32)
    del flat["blocks/down/kernel"]
    wrong = plan.shapes.replace(params=tree.unflatten(flat))
    with pytest.raises(CheckpointError) as error:
        checkpoints.restore(wrong, plan.shardings)
    text = str(error.value)
    assert "2/params is of another model" in text
    assert "missing   head/bias" in text and "extra     blocks/down/kernel" in text
    assert "misshapen head/kernel: needs (6, 5), found (6, 4)" in text
    other, _ = planned(Words(), words(), SGD, ema=0.9)
    with pytest.raises(CheckpointError, match="2/training is of another model(.|\n)*extra .*mu/"):
        checkpoints.restore(other.shapes, other.shardings)
    without, _ = planned(Pairs(), pairs(), ADAM, ema=0.9)
    with pytest.raises(CheckpointError, match="teachers(.|\n)*extra     momentum/blocks/up/kernel|"
                                              "training(.|\n)*extra     state/sums"):  # fmt: skip
        checkpoints.restore(without.shapes, without.shardings)


def test_absent_and_damaged_checkpoints(tmp_path, small):
    plan, _ = planned(Pairs(), pairs(), SGD)
    with pytest.raises(CheckpointError, match="no complete checkpoint in"):
        Checkpoints(tmp_path).restore(plan.shapes, plan.shardings)
    checkpoints = filled(tmp_path, small, Config(), {10: None, 20: None})
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 15 .* there are \(10, 20\)"):
        checkpoints.restore(plan.shapes, plan.shardings, 15)
    for part in ("_METADATA", "d"):  # the shapes, or the numbers
        for file in (tmp_path / "20" / "params").rglob("*"):
            if file.is_file() and part in (file.name, file.parent.name):
                file.write_bytes(file.read_bytes()[:8])
        with pytest.raises(CheckpointError, match="20 is damaged; without .* from step 10: "):
            Checkpoints(tmp_path).restore(plan.shapes, plan.shardings)
        shutil.copytree(tmp_path / "10" / "params", tmp_path / "20" / "params", dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "20" / "params")
    with pytest.raises(CheckpointError, match="20 holds no 'params'"):
        Checkpoints(tmp_path).restore(plan.shapes, plan.shardings)
    assert Checkpoints(tmp_path).restore(plan.shapes, plan.shardings, 10).step == 10


def test_half_a_save_and_half_a_deletion_are_no_checkpoints(tmp_path, small):
    """What a kill leaves: a temporary folder, and a folder on its way out."""
    filled(tmp_path, small, Config(), {10: None, 20: None})
    half = tmp_path / "25.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "20", half)
    shutil.rmtree(half / "params")
    shutil.copytree(tmp_path / "10", tmp_path / "deleted" / "5")
    reader = Checkpoints(tmp_path, read_only=True)  # somebody looks while the run goes on
    assert reader.steps() == (10, 20) and half.exists()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == (10, 20)
    checkpoints.save(at(small, 30))
    checkpoints.close()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"20", "30"}
    assert json.loads((tmp_path / "30" / "about" / "metadata").read_text())["metrics"] == {}


def test_nothing_is_deleted_while_a_save_goes_on(tmp_path, small, monkeypatch):
    """At its end Orbax moves an old checkpoint into the folder that `_delete` takes away."""
    going_on = []
    delete = Checkpoints._delete

    def watched(self):
        if hasattr(self, "manager"):
            going_on.append(self.manager.is_saving_in_progress())
        delete(self)

    monkeypatch.setattr(Checkpoints, "_delete", watched)
    filled(tmp_path, small, Config(latest=1), {10: None, 20: None, 30: None})
    assert going_on == [False] * 4  # before each save, and at the end


def test_warm_start_reports_what_matched(trained):
    _, state = trained
    offered = {**tree.flatten(jax.device_get(state.params)), "other/kernel": np.ones((2, 2))}
    offered["head/kernel"] = np.ones((6, 9))
    offered["blocks/up/bias"] = np.full((2, 6), 7, np.float16)
    del offered["blocks/up/kernel"]
    params, found = warm_start(state.params, tree.unflatten(offered))
    assert found.matched == ("blocks/down/kernel", "blocks/up/bias")
    assert found.report().splitlines() == [
        "2 tensors match, 1 missing, 1 extra, 1 of another shape",
        "  missing   blocks/up/kernel",
        "  extra     other/kernel",
        "  misshapen head/kernel: needs (6, 4), found (6, 9)",
    ]
    bias = params["blocks"]["up"]["bias"]
    assert bias.dtype == np.float32 and (np.asarray(bias) == 7).all()
    equal(params["head"], state.params["head"])
    equal(params["blocks"]["up"]["kernel"], state.params["blocks"]["up"]["kernel"])
