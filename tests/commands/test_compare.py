"""Comparisons of ratios and of numbers that are one for each run; means are in test_commands."""

import json
import math
import re

import numpy as np
import pytest

from mmjax.commands import compare as command
from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.evaluation.base import Ratio, Result

GROUPS = np.arange(40) // 2


class Asked:
    """What `compare` reads of an evaluation."""

    source = InMemory([{"group": int(group)} for group in GROUPS])


@pytest.fixture
def runs(monkeypatch):
    """{folder: (word errors, FID)} of runs that are compared without training them."""
    made = {}

    def answers(folder, split):
        errors, fid, index = made[folder]
        rate = Ratio(errors, np.full(len(errors), 10))
        result = Result({"wer": rate.value, "fid": fid}, queries={"wer": rate, "index": index})
        return 7, {"speech": (Asked(), result)}

    monkeypatch.setattr(command, "answers", answers)

    def run(name, errors, fid, index=None):
        made[name] = errors, fid, np.arange(len(errors)) if index is None else index
        return name

    return run


def test_ratios_and_numbers_of_runs(runs, tmp_path, capsys):
    errors = np.random.default_rng(0).integers(1, 9, 40)
    ours = [runs("a0", errors - 1, 10.0), runs("a1", errors - 1, 12.0)]
    theirs = [runs("b0", errors, 20.0), runs("b1", errors, 22.0)]
    found = command.compare(ours, theirs, out=tmp_path / "out.json")
    assert set(found) == {"speech/wer", "speech/fid"}
    assert found["speech/wer"]["theirs"] == pytest.approx(errors.sum() / 400)
    np.testing.assert_allclose(found["speech/wer"]["difference"], [-0.1, -0.1, -0.1])
    assert found["speech/fid"]["difference"].mean == -10
    assert found["speech/fid"]["difference"].low < -10 < found["speech/fid"]["difference"].high
    said = capsys.readouterr().out
    assert "speech/wer" in said
    assert re.search(r"test, mean over queries and runs +a0, a1 +b0, b1 +difference\n", said)
    assert json.loads((tmp_path / "out.json").read_text())["speech/fid"]["ours"] == 11


def test_a_number_of_one_run_has_no_interval(runs, tmp_path):
    errors = np.arange(40)
    found = command.compare([runs("a", errors, 1.0)], [runs("b", errors, 3.0)],
                            out=tmp_path / "out.json")  # fmt: skip
    assert math.isnan(found["speech/fid"]["difference"].low)
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["speech/fid"]["difference"] == {"mean": -2.0, "low": None, "high": None}


def test_other_queries_are_refused(runs):
    errors = np.arange(40)
    with pytest.raises(ConfigError, match="not asked the same: speech/index differs"):
        command.compare([runs("a", errors, 1.0)], [runs("b", errors, 1.0, np.arange(40)[::-1])])


@pytest.mark.parametrize(
    "folders, names",
    [
        (["runs/a0", "runs/b0"], ["a0", "b0"]),
        (["x/run", "y/run", "y/other"], ["x/run", "y/run", "y/other"]),
        (["runs/a", "runs/a/"], ["a", "a"]),
    ],
)
def test_columns_are_named_as_briefly_as_tells_runs_apart(folders, names):
    assert command._names(folders) == names
