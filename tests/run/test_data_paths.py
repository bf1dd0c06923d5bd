"""A run's data is found from wherever the run is opened."""

import json

import pytest

from mmjax import config as configs
from mmjax.data.source import DataError
from mmjax.run import workdir
from mmjax.run.assembly import Run
from mmjax.run.data_paths import reachable
from mmjax.run.options import Options

OWN = "configs/contrastive/clip_own_data.py:smoke"


def options(*changes):
    return configs.load(OWN, changes, schema=Options)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with data, in which a run was started."""
    folder = tmp_path / "project"
    (folder / "photos").mkdir(parents=True)
    rows = [{"image": f"{at}.png", "text": f"picture {at}"} for at in range(40)]
    (folder / "photos" / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.chdir(folder)
    (folder / "run").mkdir()
    changes = ("data.train.own.path=photos/list.jsonl", "data.train.own.check_files=0")
    made = configs.build(Options, options(*changes))
    workdir.claim(folder / "run", made, "a command")
    return folder


def opened(folder):
    """The sources that a run trains on and is validated on."""
    run = Run(workdir.options_of(folder))
    part = run.part()
    where = run.options.validation["pairs"].source
    return part.sources["own"], part.variation("own", where.options, "validation").options["path"]


def test_a_run_is_opened_from_elsewhere(project, tmp_path, monkeypatch):
    assert json.loads((project / "run" / "config.json").read_text())["data"]["train"]["own"][
        "path"
    ] == "photos/list.jsonl"
    here = len(opened(project / "run")[0])
    monkeypatch.chdir(tmp_path)
    source, validation = opened(project / "run")
    assert len(source) == here and validation == str(project / "photos" / "list.jsonl")
    assert workdir.asked("", str(project / "run")).data.train["own"].options["path"] == validation


def test_what_lies_elsewhere_under_the_same_path_is_not_taken(project, tmp_path, monkeypatch):
    other = tmp_path / "other" / "photos"
    other.mkdir(parents=True)
    (other / "list.jsonl").write_text('{"image": "a.png", "text": "x"}')
    monkeypatch.chdir(other.parent)
    assert len(opened(project / "run")[0]) > 1


def test_a_project_that_moves_takes_its_runs_along(project, tmp_path, monkeypatch):
    moved = project.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    assert opened(moved / "run")[1] == "photos/list.jsonl"
    workdir.claim(moved / "run", workdir.load_options(moved / "run"), "a command")  # it is its own
    assert json.loads((moved / "run" / "environment.json").read_text())["folder"] == str(moved)
    (moved / "run" / "environment.json").unlink()
    assert opened(moved / "run")[1] == "photos/list.jsonl"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no manifest photos/list.jsonl"):
        opened(moved / "run")


def test_patterns_names_and_other_fields(tmp_path):
    (tmp_path / "tars").mkdir()
    (tmp_path / "train").mkdir()
    here = str(tmp_path)
    source = {
        "path": "tars/{0000..0099}.tar", "root": "gone", "split": "train", "columns": {"a": {}},
    }  # fmt: skip
    config = {
        "model": {"path": "tars"},
        "data": {"train": {"own": source, "mnist": {"path": "mnist"}}},
        "test": {"a": {"source": {"path": f"{here}/tars"}, "probe": [{"path": "tars"}]}},
    }
    found = reachable(config, here)
    assert found["model"] == {"path": "tars"}
    own = {**source, "path": f"{here}/tars/{{0000..0099}}.tar"}
    assert found["data"]["train"] == {"own": own, "mnist": {"path": "mnist"}}
    assert found["test"]["a"]["source"] == {"path": f"{here}/tars"}
    assert found["test"]["a"]["probe"] == [{"path": f"{here}/tars"}]
