"""Checksums: one number on every mesh, and a damaged checkpoint is named, never resumed."""

import gc
import json
import logging
import shutil
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from toy import SGD, Pairs, mesh, pairs, planned

from mmjax import tree
from mmjax.training import checksums, echoes
from mmjax.training.checkpoint import CheckpointError, Checkpoints, Config

KERNEL = "blocks/up/kernel"


@pytest.fixture(scope="module")
def plan():
    return planned(Pairs(), pairs(), SGD)[0]


@pytest.fixture(scope="module")
def state(plan):
    return plan.init()


@pytest.fixture(scope="module")
def written(state, tmp_path_factory):
    """A folder with checkpoints of steps 10 and 20, to be copied."""
    folder = tmp_path_factory.mktemp("written") / "checkpoints"
    checkpoints = Checkpoints(folder, Config(metric="m"))
    for step in (10, 20):
        checkpoints.save(state.replace(step=np.int32(step)), {"m": 0.5})
    checkpoints.close()
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "checkpoints")


def changed(state, path, value):
    """The state with another first value of a parameter."""
    flat = tree.flatten(jax.device_get(state.params))
    flat[path] = np.array(flat[path])
    flat[path].flat[0] = value
    return state.replace(params=tree.unflatten(flat), step=np.int32(20))


def replaced(folder, state, item="params"):
    """Puts an item of this state into the checkpoint of step 20, as a disk that went wrong would,
    under checksums of what was there before."""
    other = Checkpoints(folder.parent / "other")
    other.save(state)
    other.close()
    shutil.rmtree(folder / "20" / item)
    shutil.copytree(folder.parent / "other" / "20" / item, folder / "20" / item)


def rewritten(folder, change):
    """Changes what is noted beside the arrays of step 20."""
    path = folder / "20" / "about" / "metadata"
    noted = json.loads(path.read_text())
    change(noted)
    path.write_text(json.dumps(noted))


def refused(folder, plan):
    """What restoring says."""
    with pytest.raises(CheckpointError) as error:
        Checkpoints(folder).restore(plan.shapes, plan.shardings)
    return str(error.value)


ROWS = np.random.default_rng(0).normal(size=(8, 4, 6)).astype(np.float32)


@pytest.mark.parametrize("cut", [
    (), ("data",), ("data", "fsdp"), (None, "tensor"), (None, None, "fsdp"), (("data", "tensor"),),
    ("tensor", "data", "fsdp"),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("block", [5, 1 << 15])
def test_one_number_on_every_mesh(cut, block, monkeypatch):
    monkeypatch.setattr(checksums, "BLOCK", block)
    expected = checksums.measure({"x": ROWS})
    assert expected.not_finite == ()
    where = NamedSharding(mesh(8, data=2, fsdp=2, tensor=2), PartitionSpec(*cut))
    assert checksums.measure({"x": jax.device_put(ROWS, where)}) == expected


def test_the_number_is_what_the_file_says():
    """Written out; checkpoints that are on disks depend on it."""
    bits = ROWS.view(np.uint32).reshape(-1).astype(object)
    total = sum((value ^ (value >> 15)) * (2 * place + 1) for place, value in enumerate(bits))
    assert checksums.measure({"x": ROWS}).checksums == {"x": total % 2**32}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32", "uint8", "bool"])
def test_a_change_of_one_value_shows(dtype):
    values = np.arange(24).reshape(4, 6).astype(jnp.dtype(dtype))
    before = checksums.measure({"x": values}).checksums
    for place in range(1, values.size):
        other = values.copy()
        other.flat[place] = 0 if other.flat[place] else 1
        assert checksums.measure({"x": other}).checksums != before
        if other.flat[place] != values.flat[0] and values.flat[place] != values.flat[0]:
            other.flat[[0, place]] = values.flat[[place, 0]]
            assert checksums.measure({"x": other}).checksums != before
    assert checksums.measure({"none": np.zeros((0, 3))}).checksums == {"none": 0}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(dtype, value):
    bad = np.ones((3, 4), jnp.dtype(dtype))
    bad[1, 2] = value
    found = checksums.measure({"good": np.ones(3), "bad": bad, "count": np.int32(1)})
    assert found.not_finite == ("bad",)


def test_a_changed_bit_is_named(folder, plan, state):
    """The lowest bit of one value, under a file that is whole in itself."""
    bits = np.asarray(tree.flatten(state.params)[KERNEL]).view(np.uint32).flat[0] ^ 1
    replaced(folder, changed(state, KERNEL, np.uint32(bits).view(np.float32)))
    message = refused(folder, plan)
    assert "20 is damaged; without that folder the run goes on from step 10: " in message
    assert message.endswith("1 of 7 arrays are not what was saved: params/blocks/up/kernel")
    with pytest.raises(CheckpointError, match="saved: params/blocks/up/kernel"):
        Checkpoints(folder).load("params")
    shutil.rmtree(folder / "20")  # as it says
    assert Checkpoints(folder).restore(plan.shapes, plan.shardings).step == 10


def test_a_changed_note_is_found(folder, plan):
    rewritten(folder, lambda noted: noted["metrics"].update(m=0.7))
    assert "what is noted in its about/ is not what was saved" in refused(folder, plan)
    with pytest.raises(CheckpointError, match="20 is damaged; .* from step 10: what is noted"):
        Checkpoints(folder, Config(metric="m")).best()


def test_checkpoints_from_before_there_were_checksums(folder, plan, state):
    def older(noted):
        del noted["checksums"], noted["crc32"]

    rewritten(folder, older)
    back = Checkpoints(folder).restore(plan.shapes, plan.shardings)
    assert back.step == 20
    jax.tree.map(np.testing.assert_array_equal, back.params, state.params)
    assert Checkpoints(folder).about(20) == {"metrics": {"m": 0.5}}
    # nothing says what was saved there, but a NaN it was not
    replaced(folder, changed(state, KERNEL, np.nan))
    message = refused(folder, plan)
    assert message.endswith("not finite (NaN or infinity): params/blocks/up/kernel")


def test_a_folder_that_is_gone_says_what_to_remove(folder, plan):
    shutil.rmtree(folder / "20" / "training")
    with pytest.raises(CheckpointError, match="20 holds no 'training'; without that folder the run "
                                              "goes on from step 10"):  # fmt: skip
        Checkpoints(folder).restore(plan.shapes, plan.shardings)
    shutil.rmtree(folder / "10")
    with pytest.raises(CheckpointError, match="it is the only one: start anew in another work"):
        Checkpoints(folder).restore(plan.shapes, plan.shardings)


def test_broken_metrics_are_named(folder):
    (folder / "20" / "metrics" / "metrics").write_text('{"value": ')
    with pytest.raises(CheckpointError, match=r"metrics is damaged: without .*/20 the run can go"):
        Checkpoints(folder, Config(metric="m"))


@pytest.fixture
def told(monkeypatch):
    """What Python reports besides, in a process that is mmjax's own; all is put back."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda said: told.append(str(said)))
    for name in ("asyncio", "absl"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "filters", list(logger.filters))
        monkeypatch.setattr(logger, "level", logger.level)
    with warnings.catch_warnings():
        echoes.silence()
        yield told


@pytest.mark.parametrize("file", ["array_metadatas/process_0", "manifest.ocdbt", "_METADATA"])
def test_one_line_is_said_of_what_cannot_be_read(folder, plan, told, caplog, file):
    """Not the 60 that TensorStore's other reads leave on the standard error output."""
    path = folder / "20" / "params" / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refused(folder, plan)
    gc.collect()
    assert told == [] and "asyncio" not in {record.name for record in caplog.records}
    assert "\n" not in message and len(message) < 600
    assert "20 is damaged; without that folder the run goes on from step 10: " in message
