"""A generator of clips, killed in training and in sampling: what comes out is what nobody
disturbed."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from attempts import ROOT, Attempt, same
from PIL import Image

from mmjax.commands import sample
from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample

pytestmark = pytest.mark.slow
CONFIG = "configs/text_to_video/t2v_digits.py:smoke"
TINY = (
    "--config.train={'steps': 6, 'evaluate_every': 0, 'log_every': 1}",
    "--config.checkpoint={'metric': '', 'every': 1, 'latest': 3}",
    "--config.validation={}",
    "--config.test={}",
)
PROMPT = "a two moves up slowly and goes on | an eight moves down quickly and goes on"


def sampling(run, out, *flags):
    """The words of a command that makes six samples, one at a time."""
    return [
        sys.executable, "-m", "mmjax.main", "--mode=sample", f"--workdir={run}", f"--out={out}",
        f"--prompt={PROMPT}", "--count=3", "--batch_size=1", *flags,
    ]  # fmt: skip


def test_killed_in_training_and_in_sampling(tmp_path):
    cache = tmp_path / "cache"
    whole = Attempt(tmp_path / "whole" / "run", cache, *TINY, config=CONFIG)
    whole.end()
    killed = Attempt(tmp_path / "killed" / "run", cache, *TINY, config=CONFIG)
    assert killed.until(lambda: killed.new("metrics.jsonl") and killed.steps() >= 3)
    killed.kill()
    killed.process.wait()
    Attempt(killed.folder, cache, *TINY, config=CONFIG).end()
    same(killed.folder, whole.folder)

    out = tmp_path / "grid.webp"
    process = subprocess.Popen(sampling(whole.folder, out), cwd=ROOT)
    part = out.with_name(out.name + ".part")
    while process.poll() is None and not list(part.glob("*.chunk")):
        pass
    process.kill()
    assert process.wait() < 0 and not out.exists()
    before = {path.name: path.stat().st_mtime_ns for path in part.glob("*.chunk")}
    assert 0 < len(before) < 6
    subprocess.run(sampling(whole.folder, out), cwd=ROOT, check=True)
    assert not part.exists()
    again = tmp_path / "again.webp"
    subprocess.run(sampling(whole.folder, again), cwd=ROOT, check=True)
    assert again.read_bytes() == out.read_bytes()
    with Image.open(out) as image:
        assert image.n_frames == 12 and image.width > image.height  # three seeds of two prompts
        assert np.asarray(image.convert("RGB")).std() > 0

    asked = sample.Options(workdir=str(whole.folder), out=str(out), prompt="a two moves up")
    for change, said in (
        (dict(prompt="a two goes on and goes on and goes on and goes on"), "the model reads 12"),
        (dict(prompt="elephants"), "no word that the tokenizer knows"),
        (dict(frames=13), "13 frames, and the model has at most 12"),
        (dict(size=23), "height and width must be multiple"),
        (dict(out="clip.avi"), "clips are written as"),
        (dict(prompts="some.txt"), "either --prompt"),
    ):
        with pytest.raises((ConfigError, CorruptExample), match=said):
            sample.run(dataclasses.replace(asked, **change))
