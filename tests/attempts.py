"""Runs of mmjax.main as processes of their own: started, watched, killed, compared."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import haste
import numpy as np

from mmjax.training.checkpoint import Checkpoints
from mmjax.training.writer import read

ROOT = Path(__file__).resolve().parent.parent
SMOKE = "configs/contrastive/clip_emoji.py:smoke"


class Attempt:
    """One start of a run."""

    def __init__(self, folder, cache, *flags, devices=1, config=SMOKE):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.begun = folder, time.time_ns()
        xla = f"--xla_force_host_platform_device_count={devices} {haste.FLAGS}"
        command = [sys.executable, "-m", "mmjax.main", f"--config={config}", f"--workdir={folder}"]
        self.log = folder.parent / f"{folder.name}-{self.begun}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*command, *flags], cwd=ROOT, stdout=log, stderr=log,
                env={**os.environ, "MMJAX_CACHE": str(cache), "XLA_FLAGS": xla},
            )  # fmt: skip

    def new(self, pattern):
        """Files and folders of the work directory that this attempt made or changed."""
        try:
            return [path for path in self.folder.glob(pattern)
                    if path.stat().st_mtime_ns >= self.begun]  # fmt: skip
        except FileNotFoundError:  # renamed or deleted while we looked
            return []

    def steps(self):
        """The last step that metrics.jsonl tells of."""
        rows = read(self.folder / "metrics.jsonl")
        return rows[-1]["step"] if rows else 0

    def until(self, condition, seconds=150):
        """Waits for a condition; False if the run ended before."""
        deadline = time.monotonic() + seconds
        try:
            while not condition():
                if self.process.poll() is not None:
                    return False
                assert time.monotonic() < deadline, self.output()
                time.sleep(0.004)
        except BaseException:
            self.process.kill()
            raise
        return True

    def kill(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            os.kill(self.process.pid, number)

    def end(self, status=0, seconds=300):
        """Waits for the end; all that the run said."""
        try:
            assert self.process.wait(seconds) == status, self.output()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        return self.output()

    def output(self):
        return self.log.read_text()


# A shorter run in float32, without evaluations: bfloat16 rounds differently on other devices.
EXACT = (
    "--config.model.image.transformer.dtype=float32",
    "--config.model.text.transformer.dtype=float32",
    "--config.train={'steps': 20, 'evaluate_every': 0, 'log_every': 1}",
    "--config.checkpoint={'metric': '', 'every': 8, 'latest': 3}",
    "--config.validation={}",
    "--config.test={}",
)


def back_to(step, folder, copy):
    """A copy of a finished run that ended after the checkpoint of this step."""
    shutil.copytree(folder, copy)
    (copy / "result.json").unlink()
    for path in (copy / "checkpoints").iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)
    return copy


def arrays(folder, step=None):
    """Everything in a checkpoint, as numpy: {item/path: array}."""
    import jax

    found = {}
    reader = Checkpoints(folder / "checkpoints", read_only=True)
    steps = [path for path in (folder / "checkpoints").iterdir() if path.name.isdigit()]
    for item in ("params", "teachers", "training"):
        if not any((path / item).exists() for path in steps):
            continue  # a run without averages
        leaves = jax.tree_util.tree_leaves_with_path(reader.load(item, step))
        found |= {item + jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    return found


def result(folder):
    """result.json without the seconds, which no two runs share."""
    values = json.loads((folder / "result.json").read_text())
    return {name: value for name, value in values.items() if not name.endswith("_seconds")}


def same(folder, other, least=50):
    """Bit for bit: metrics, result, parameters, teachers, optimizer; and the same pictures.

    least: arrays that are compared, at least so many.
    """
    assert (folder / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert result(folder) == result(other)
    drawn = [sorted(path.relative_to(one) for path in one.glob("pictures/**/*"))
             for one in (folder, other)]  # fmt: skip
    assert drawn[0] == drawn[1]
    first, second = arrays(folder), arrays(other)
    assert first.keys() == second.keys() and len(first) > least
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def close(folder, other, tolerance=1e-5):
    """The same steps, and losses to `tolerance`."""
    first, second = (read(one / "metrics.jsonl") for one in (folder, other))
    assert [row["step"] for row in first] == [row["step"] for row in second]
    for one, two in zip(first, second, strict=True):
        if "train/loss" in one:
            difference = abs(one["train/loss"] - two["train/loss"])
            assert difference <= tolerance * abs(two["train/loss"]), one["step"]
