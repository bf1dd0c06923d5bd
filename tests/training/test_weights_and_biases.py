"""Weights & Biases as a writer, with a stand-in for its package: what its documented calls get."""

import sys
import types

import numpy as np
import pytest
from PIL import Image

from mmjax.config import ConfigError
from mmjax.training import weights_and_biases
from mmjax.training.writer import Writer, read
from mmjax.transforms.audio import Sound


class Run:
    """https://docs.wandb.ai/ref/python/sdk/classes/run"""

    id = "abc123"

    def __init__(self):
        self.rows = []
        self.axes = []
        self.finished = False

    def define_metric(self, name, step_metric=None):
        self.axes.append((name, step_metric))

    def log(self, data):
        self.rows.append(data)

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """The package as far as mmjax calls it; `started` holds what `init` was told."""
    module = types.ModuleType("wandb")
    module.started = []
    module.runs = []

    def init(**settings):
        module.started.append(settings)
        module.runs.append(Run())
        return module.runs[-1]

    class Table:
        def __init__(self, columns):
            self.columns = columns
            self.data = []

        def add_data(self, *row):
            self.data.append(row)

    module.init = init
    module.Table = Table
    module.Image = lambda data: ("image", data.size)
    module.Audio = lambda data, sample_rate: ("audio", data.shape, sample_rate)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def writer(folder, project="team/birds", step=-1):
    return Writer(folder, step, tensorboard=False, wandb=project)


def test_curves_and_pictures_go_to_a_page_of_the_run(wandb, tmp_path):
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "config.json").write_text('{"seed": 3}')
    made = writer(folder)
    made.metrics(1, {"train/loss": 0.5})
    made.timing(1, {"step_seconds": 0.25})
    made.media(1, "sheet", Image.new("RGB", (4, 2)))
    made.media(1, "clip", np.zeros((5, 6, 8, 3), np.uint8))
    made.media(1, "sound", Sound(np.zeros(16, np.float32), 8000))
    made.media(1, "words", "a cat")
    made.close()
    (told,) = wandb.started
    assert (told["entity"], told["project"], told["name"]) == ("team", "birds", "first")
    assert told["config"] == {"seed": 3} and told["resume"] == "allow" and told["id"] is None
    (run,) = wandb.runs
    assert run.axes == [("step", None), ("*", "step")]
    assert run.rows[:2] == [
        {"train/loss": 0.5, "step": 1},
        {"timing/step_seconds": 0.25, "step": 1},
    ]
    assert run.rows[2]["sheet"] == ("image", (4, 2)) and run.rows[3]["clip"] == ("image", (8, 6))
    assert run.rows[4]["sound"] == ("audio", (16,), 8000)
    assert run.rows[5]["words"].data == [("a cat",)]
    assert run.finished
    # the files are there all the same
    assert read(folder / "metrics.jsonl") == [{"step": 1, "train/loss": 0.5}]


def test_a_run_that_goes_on_keeps_its_page(wandb, tmp_path):
    for step in (-1, 1):
        writer(tmp_path, "birds", step).close()
    first, second = wandb.started
    assert (first["entity"], first["id"]) == (None, None)
    assert second["id"] == Run.id and second["resume"] == "allow"


def test_a_package_that_is_not_installed_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not there
    with pytest.raises(ConfigError, match="wandb is not installed: pip install wandb, or leave"):
        writer(tmp_path)
    with pytest.raises(ConfigError, match="execution.wandb"):
        weights_and_biases.package()
