"""Every config runs: its :smoke variant trains, evaluates and leaves a complete work directory."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.py") if p.name != "base.py")


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
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
