"""Evaluations of checkpoints that `mmjax.load` opens: known numbers, bad rows, refusals."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from commands.test_search import THINGS, Padded

import mmjax
from mmjax.config import ConfigError
from mmjax.datasets import emoji
from mmjax.datasets.easy_vqa import KINDS
from mmjax.main import main

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
SHAPES = dict(name="easy_vqa", images=True)
ZERO_SHOT = dict(name="zero_shot", class_names=KINDS)
PROBE = dict(name="linear_probe", class_names=KINDS, train=dict(SHAPES, split="train"))
RETRIEVAL = dict(name="retrieval")


def on(source, evaluator, **fields):
    return dict(source=source, evaluator=evaluator, **fields)


def test_the_numbers_are_those_of_a_run(capsys):
    """of configs/contrastive/clip_lora.py:before, where the same weights are evaluated as a run's;
    "teal" and "rectangle" are unknown words."""
    config = "configs/contrastive/clip_lora.py:before"
    flags = ["--mode=evaluate", "--model=emoji_clip", f"--config={config}", "--split=test"]
    assert main(flags) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "kinds/accuracy/top1 0.165 0.042 0.106" in said
    assert "probe/accuracy/top1 0.482 0.042 0.106" in said


@pytest.mark.slow
def test_batches_do_not_matter():
    clip = mmjax.load("emoji_clip")
    test = dict(SHAPES, split="test")
    asked = dict(kinds=on(test, ZERO_SHOT), probe=on(test, PROBE), pairs=on(test, RETRIEVAL))
    one = mmjax.evaluate_model(clip, asked)
    asked = {name: dict(which, batch_size=23) for name, which in asked.items()}
    other = mmjax.evaluate_model("emoji_clip", asked)
    assert one == pytest.approx(other) and one["kinds/accuracy/top1"] == pytest.approx(14 / 85)
    assert one["pairs/image_to_text/r5"] > one["chance/pairs/image_to_text/r5"]


def test_a_broken_picture_is_left_out_and_named(tmp_path, capsys):
    lines, drawn = [], {one.name: one.images[0] for one in emoji.concepts()}
    for number, name in enumerate(THINGS[:5]):
        (tmp_path / f"{number}.webp").write_bytes(drawn[name])
        lines.append(json.dumps({"image": f"{number}.webp", "text": name}))
    (tmp_path / "3.webp").write_bytes(b"no picture")
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    source = dict(name="manifest", path=str(tmp_path / "list.jsonl"))
    found = mmjax.evaluate_model("emoji_clip", dict(mine=on(source, RETRIEVAL, batch_size=2)))
    said = capsys.readouterr().out
    assert "mine leaves out 1 corrupt of 5 examples" in said and "line 4" in said
    assert found["mine/image_to_text/r1"] == 1 and found["chance/mine/image_to_text/r1"] == 1 / 4


@pytest.mark.parametrize("name", ["clip", "siglip2"])
def test_checkpoints_of_others(name):
    loaded = mmjax.load(GOLDEN / name)
    if loaded.processor is None:
        loaded = dataclasses.replace(loaded, processor=Padded(loaded.config))
    test = dict(SHAPES, split="test")
    found = mmjax.evaluate_model(loaded, dict(pairs=on(test, RETRIEVAL), probe=on(test, PROBE)))
    assert all(np.isfinite(value) for value in found.values())
    assert found["probe/accuracy/top1"] > found["chance/probe/accuracy/top1"]


def test_what_cannot_be_evaluated_is_said():
    with pytest.raises(ConfigError, match="no evaluations are given"):
        mmjax.evaluate_model("emoji_clip")
    with pytest.raises(ConfigError, match="a bert has no vectors"):
        one = on(dict(SHAPES, split="test"), RETRIEVAL)
        mmjax.evaluate_model(GOLDEN.parent / "bert" / "bert", dict(pairs=one))
    with pytest.raises(ConfigError, match="mine.source.*there is no run to look it up in"):
        mmjax.evaluate_model("emoji_clip", dict(mine=on(dict(name="@pairs"), RETRIEVAL)))
    with pytest.raises(ConfigError, match="mine: .* labels have no class name"):
        few = dict(name="zero_shot", class_names=("a circle", "a square"))
        mmjax.evaluate_model("emoji_clip", dict(mine=on(dict(SHAPES, split="test"), few)))
    with pytest.raises(ConfigError, match="mine.baseline: there is no run"):
        thumbnails = on(
            dict(name="emoji", split="test/unseen_style"),
            RETRIEVAL,
            baseline=dict(name="thumbnails"),
        )
        mmjax.evaluate_model("emoji_clip", dict(mine=thumbnails))
    assert main(["--mode=evaluate", "--model=emoji_clip"]) == 2
