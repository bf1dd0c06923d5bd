"""What config files say, and that every one runs.

* Each config and variant resolves to its golden file, so that a change of a recipe, of the base or
  of a default shows in every run that it reaches.
* A config starts from the base or a recipe, never from another run: runs are tuned apart.
* Every `:smoke` trains, evaluates and leaves a complete work directory.
"""

import ast
import json
import math
import os
import subprocess
import sys

import pytest

import mmjax
from mmjax import config
from tests.golden import make_configs
from tests.golden.make_configs import CONFIGS, FOLDER, RECIPES, ROOT

RUNS = make_configs.runs()
RENEW = "If the runs are meant to change: python -m tests.golden.make_configs"


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


@each(RUNS)
def test_resolved_options_are_the_golden_files(path):
    problems = []
    for form in make_configs.forms(path):
        file = make_configs.golden_file(path, form)
        name = file.relative_to(ROOT)
        if file.exists():
            golden = json.loads(file.read_text(encoding="utf-8"))
            changes = config.difference(golden, make_configs.resolved(path, form))
            problems += [f"{name}: {change}" for change in changes]
        else:
            problems.append(f"{name} does not exist")
    assert not problems, "\n".join(["", *problems, RENEW])


def test_every_golden_file_has_a_config():
    expected = {
        make_configs.golden_file(path, form) for path in RUNS for form in make_configs.forms(path)
    }
    left_over = sorted(str(file) for file in set(FOLDER.rglob("*.json")) - expected)
    assert not left_over, f"of no config: {left_over}. {RENEW}"


@each(sorted([*RUNS, *RECIPES.glob("*.py")]))
def test_a_config_starts_from_no_other_run(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    starts = [
        ast.literal_eval(call.args[1]).partition(":")[0]
        for call in calls
        if ast.unparse(call.func) in ("relative", "variants")
    ]
    allowed = {CONFIGS / "base.py", *RECIPES.glob("*.py")}
    runs = [start for start in starts if (path.parent / start).resolve() not in allowed]
    assert not runs, f"starts from {runs}: move what they share to configs/recipes"


@pytest.mark.slow
@each(RUNS)
def test_smoke(path, tmp_path):
    # A command line of its own, as a user has it: one device, no hook of this process.
    command = [sys.executable, "-m", "mmjax.main", f"--config={path}:smoke"]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [*command, f"--workdir={tmp_path}/run"], cwd=ROOT, env=environment, timeout=600
    )
    assert done.returncode == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] > 0 and all(math.isfinite(v) for v in result.values())
    assert (tmp_path / "run" / "report.html").stat().st_size > 0
    if path.stem == "blip_emoji":  # it keeps a queue, which a model that is loaded does not need
        assert mmjax.load(tmp_path / "run").params
