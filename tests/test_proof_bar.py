"""The main job reaches its bars from the command line, in the time that the README says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "mmjax.main", "--config=configs/contrastive/clip_emoji.py"]


def run(workdir: Path, cache: Path, *overrides: str) -> dict:
    """The result of a run from the command line; the compile cache is the test's own."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run(
        [*COMMAND, f"--workdir={workdir}", *overrides],
        cwd=ROOT,
        env={**environment, "MMJAX_CACHE": str(cache)},
        timeout=1500,
        check=True,
    )
    return json.loads((workdir / "result.json").read_text())


@pytest.mark.slow
def test_clip_emoji_reaches_its_bars(tmp_path):
    """Floors somewhat below the measured numbers, see experiments/emoji/README.md."""
    result = run(tmp_path / "run", tmp_path / "cache")
    assert result["train_seconds"] <= 8 * 60
    assert result["first_step_seconds"] <= 20
    assert result["thumbnail_neighbour/unseen_style/image_to_text/r1"] == pytest.approx(
        0.4216, abs=1e-3
    )
    assert result["unseen_style/image_to_text/r1"] >= 0.50
    assert result["unseen_style/image_to_text/r5"] >= 0.70
    assert result["unseen_concept/image_to_text/r5"] >= 0.25
    again = run(tmp_path / "again", tmp_path / "cache", "--config.train.steps=60",
                "--config.train.evaluate_every=0")  # fmt: skip
    assert again["first_step_seconds"] <= 8, "the second start finds its programs compiled"
