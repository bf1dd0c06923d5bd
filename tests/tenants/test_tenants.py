"""Seven systems to come, as a user's own packages would plug in: by full import paths alone.

* Each goes through training, a kill in the middle, evaluation, show, inspect, plan, restore,
  compare, report and export. None of them changes a file of mmjax.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from attempts import back_to, same

import mmjax
from mmjax import config as configs
from mmjax.commands import inspect, show
from mmjax.conversion.formats.files import CheckpointFileError
from mmjax.run.options import Options

ROOT = Path(__file__).resolve().parents[2]
TENANTS = ("vlm", "video", "sounds", "speech", "mae", "diffusion", "mixed")
QUICK = ("vlm",)  # the others go the same way among the slower proofs


# five recordings make no batch for eight devices: heads and letters are cut in two instead
CHANGES = {"speech": ("execution.mesh.tensor=2",)}


def config(name):
    changes = CHANGES.get(name, ())
    return configs.load(ROOT / f"tests/tenants/{name}/config.py", changes, schema=Options)


def marked(name):
    return name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[marked(name) for name in TENANTS])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    trained = mmjax.train(config(request.param), folder)
    assert trained.finished
    return request.param, trained


def test_a_tenant_trains_is_evaluated_and_reported(run):
    name, trained = run
    numbers = {key: value for key, value in trained.result.items() if "/" in key}
    assert numbers and all(np.isfinite(value) for value in numbers.values()), numbers
    page = (trained.workdir / "report.html").read_text()
    evaluation = next(key.split("/")[0] for key in numbers)
    assert evaluation in page
    measured = mmjax.evaluate(trained.workdir, split="test")
    for key, value in measured.items():
        assert trained.result[key] == pytest.approx(value, abs=1e-6), key


def test_a_killed_tenant_goes_on_bit_for_bit(run, tmp_path):
    name, trained = run
    copy = back_to(2, trained.workdir, tmp_path / "copy")
    mmjax.train(config(name), copy)
    same(trained.workdir, copy, least=10)


def test_a_tenant_is_shown_and_inspected(run, capsys):
    name, trained = run
    text = show.show(config(name))
    assert "parameters" in text and "batch: " in text
    picture = inspect.inspect(config(name), trained.workdir, step=3)
    out = capsys.readouterr().out
    assert "loss with checkpoint" in out and "NOT FINITE" not in out
    # what is said and not seen has no picture
    assert (picture is None) == (name == "speech")
    assert picture is None or picture.exists()


def test_a_tenant_is_restored_and_asked(run):
    name, trained = run
    restored = mmjax.restore(trained.workdir)
    function = next(iter(restored.run.task.predict))
    part = restored.run.part(function.partition("/")[0] if "/" in function else "")
    source = next(iter(part.sources.values()))
    out = restored.predict(function, [source[0], source[1]])
    assert all(len(value) == 2 for value in out.values())
    again = restored.predict(function, [source[0], source[1]])
    for key, value in out.items():
        np.testing.assert_array_equal(value, again[key])
    asked_as_a_checkpoint_is(name, dataclasses.replace(restored, part=part.name), source[0])


def asked_as_a_checkpoint_is(name, restored, row):
    """By the fields that its processor takes, and the arguments that nobody prepares for it."""
    more = {
        "mae": {"order": np.arange(4)[None]},
        "diffusion": {"time": np.zeros(1, np.float32), "label": np.zeros(1, np.int32)},
    }.get(name, {})
    fields = {field: row[field] for field in restored.takes}
    said = restored(**fields, **more, hidden_states=True)
    assert all(np.isfinite(one).all() for one in jax.tree.leaves(said.output))
    assert bool(said.hidden_states) == (name != "diffusion")
    assert f"takes       {', '.join(fields)}" in repr(restored)


def test_tenants_are_compared(run, tmp_path):
    name, trained = run
    shutil.copytree(trained.workdir, tmp_path / "other")
    found = mmjax.compare([trained.workdir], [tmp_path / "other"])
    assert found
    for metric, values in found.items():
        assert values["ours"] == values["theirs"], metric


def test_a_tenant_is_exported_and_loaded(run, tmp_path):
    name, trained = run
    part = "pairs" if name == "mixed" else ""
    written = mmjax.export(trained.workdir, tmp_path / "model", part=part)
    loaded = mmjax.load(tmp_path / "model")
    assert loaded.config == written.config
    chex.assert_trees_all_equal(loaded.params, written.params)
    assert type(loaded.processor) is type(written.processor)
    described = json.loads((tmp_path / "model" / "config.json").read_text())
    assert described["model"] == ("whisper" if name == "speech" else f"tenants.{name}.model")


def test_a_file_does_not_import_a_tenant(tmp_path):
    """Only what a program has imported by itself is found by the name in a file."""
    text = {"model_type": "mmjax", "model": "tenants.nobody.model", "config": {}}
    (tmp_path / "config.json").write_text(json.dumps(text))
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointFileError, match="import tenants.nobody"):
        mmjax.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", TENANTS)
def test_a_tenant_is_planned_for_eight_devices(name):
    command = [sys.executable, "-m", "mmjax.main", "--mode=plan", "--devices=8"]
    command.append(f"--config=tests/tenants/{name}/config.py")
    command += [f"--config.{change}" for change in CHANGES.get(name, ())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "memory of one device" in done.stdout
