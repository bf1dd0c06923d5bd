"""The main job reaches its bars from the command line, in the time that the README says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import mmjax

ROOT = Path(__file__).resolve().parents[2]


def run(workdir: Path, cache: Path, *overrides: str, config: str = "clip_emoji.py") -> dict:
    """The result of a run from the command line; the compile cache is the test's own."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-m", "mmjax.main", f"--config=configs/contrastive/{config}"]
    subprocess.run(
        [*command, f"--workdir={workdir}", *overrides],
        cwd=ROOT,
        env={**environment, "MMJAX_CACHE": str(cache)},
        timeout=1800,
        check=True,
    )
    return json.loads((workdir / "result.json").read_text())


# clip_emoji in 12 steps, without evaluation
SHORT = (
    "--config.train.steps=12", "--config.train.evaluate_every=0", "--config.validation={}",
    "--config.test={}", "--config.checkpoint.metric=''",
    "--config.optimizer.groups.0.warmup=2", "--config.optimizer.groups.1.warmup=2",
)  # fmt: skip


@pytest.mark.slow
def test_clip_emoji_reaches_its_bars(tmp_path):
    """Floors somewhat below the measured numbers, see experiments/emoji/README.md.

    What takes long is bounded for what is badly wrong alone, as other machines are slower: seen on
    quiet ones with 2 cores are 4 to 18 minutes, and up to 26 s to the first step.
    """
    result = run(tmp_path / "run", tmp_path / "cache")
    assert result["train_seconds"] <= 25 * 60
    thumbnails = result["thumbnail_neighbour/unseen_style/image_to_text/r1"]
    assert thumbnails == pytest.approx(0.4216, abs=1e-3)
    assert result["unseen_style/image_to_text/r1"] >= 0.58
    assert result["unseen_style/image_to_text/r5"] >= 0.80
    assert result["unseen_concept/image_to_text/r5"] >= 0.33
    assert result["first_step_seconds"] <= 60


@pytest.mark.slow
def test_a_second_run_compiles_nothing(tmp_path):
    """All that the same config needs is in the cache; how long it takes is not asked, as that hangs
    on what else the machine does (seen: 39 s to the first step, then 15 s)."""
    cache = tmp_path / "cache"
    cold = run(tmp_path / "cold", cache, *SHORT)["first_step_seconds"]
    compiled = programs(cache)
    assert any(name.startswith("jit_step_function") for name in compiled)
    warm = run(tmp_path / "warm", cache, *SHORT)["first_step_seconds"]
    print(f"first step after {cold:.1f} s, with the compile cache {warm:.1f} s")
    assert programs(cache) == compiled


def programs(cache: Path) -> set[str]:
    """Names of what is kept in a compile cache."""
    return {path.name for path in cache.rglob("*-cache")}


@pytest.mark.slow
def test_lora_is_better_than_zero_shot_and_than_a_probe(tmp_path):
    """Seen: 0.73 beside 0.16 and 0.48, with 4.3% of the parameters trained."""
    before = run(tmp_path / "before", tmp_path / "cache", config="clip_lora.py:before")
    after = run(tmp_path / "after", tmp_path / "cache", config="clip_lora.py")
    known, probed = (before[f"{name}/accuracy/top1"] for name in ("kinds", "probe"))
    assert after["kinds/accuracy/top1"] > max(known, probed) + 0.1
    bundled = sum(leaf.size for leaf in jax.tree.leaves(mmjax.load("emoji_clip").params))
    trained = after["parameters"] - bundled
    assert trained < 0.05 * after["parameters"]
