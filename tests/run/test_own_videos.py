"""A user's own videos to a classifier: classes from folders, broken files named and left out."""

import json

import numpy as np
import pytest
from made_clips import encoded, webp

import mmjax
from mmjax import config as configs
from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.processors import video
from mmjax.run.options import Options

GOOD = {
    "jumps/a.mp4": encoded,
    "jumps/b.webp": webp,
    "jumps/c.gif": lambda: encoded(form="gif", codec="gif"),
    "jumps/of a varying rate.mp4": lambda: encoded(frames=6, times=[0, 10, 20, 120, 130, 140]),
    "sits/d.mkv": lambda: encoded(form="matroska"),
    "sits/e.mp4": lambda: encoded(sound=16_000),
    "sits/f.webp": lambda: webp(milliseconds=40),
    "sits/g.avi": lambda: encoded(form="avi", codec="mpeg4"),
}
BAD = {
    "jumps/cut short.mp4": (lambda: encoded()[:-700], "may be cut short"),
    "jumps/sound alone.mp4": (lambda: encoded(frames=None, sound=16_000), "sound alone"),
    "sits/without a frame.avi": (
        lambda: encoded(form="avi", codec="mpeg4", frames=0), "no frames",
    ),
    "sits/of nothing.mp4": (lambda: b"", "empty file"),
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "clips"
    for name, data in (GOOD | {name: make for name, (make, _) in BAD.items()}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data())
    return folder


def options(variant, **changes):
    config = configs.load(f"configs/video/own_data.py:{variant}", schema=Options)
    config.data.max_corrupt_share = 0.9
    config.data.batch_size = 8
    config.execution.tensorboard = False
    config.data.train.own.split = "all"
    for key, value in changes.items():
        config[key] = value
    return config


@pytest.mark.slow
def test_folders_of_videos(clips, tmp_path):
    config = options("smoke", validation={}, test={})
    config.data.train.own.path = str(clips)
    config.checkpoint.metric = ""
    assert mmjax.train(config, tmp_path / "run").finished
    rows = (tmp_path / "run" / "corrupt.jsonl").read_text().splitlines()
    found = {row["where"]: row["reason"] for row in map(json.loads, rows)}
    assert len(found) == len(BAD)
    for name, (_, reason) in BAD.items():
        (said,) = (text for where, text in found.items() if name in where)
        assert reason in said
    back = mmjax.restore(tmp_path / "run")
    answer = back.classify([clips / "sits/d.mkv", clips / "jumps/b.webp"], field="video")
    assert answer.names == ("jumps", "sits") and len(answer.best) == 2
    np.testing.assert_allclose(answer.probabilities.sum(1), 1, rtol=1e-5)


@pytest.mark.slow
def test_parts_of_videos_from_a_list(clips, tmp_path):
    """The test split of the same list is asked, and its classes have names."""
    lines = ["video,label,start,end"]
    for number in range(30):
        name = list(GOOD)[number % 3]
        label = "first" if number % 2 else "second"
        lines.append(f"{name},{label},{number / 20},{number / 20 + 0.5}")
    (clips / "list.csv").write_text("\n".join(lines) + "\n")
    held_out = dict(
        own=dict(
            source=dict(name="@own", split="all"), evaluator=dict(name="classification"),
            batch_size=8,
        )
    )  # fmt: skip
    config = options("manifest,parts,smoke", validation={}, test=held_out)
    config.data.train.own.path = str(clips / "list.csv")
    config.checkpoint.metric = ""
    trained = mmjax.train(config, tmp_path / "run")
    assert {"own/class/first", "own/class/second"} <= set(trained.result)
    pictures = list((tmp_path / "run" / "pictures").rglob("*.*"))
    assert {path.stem for path in pictures} == {"confusion", "strips", "moving"}


def test_classes_without_names_are_refused():
    config = video.Config(classes=True)
    nameless = InMemory([{"video": b"", "label": 0}], "numbers")
    with pytest.raises(ConfigError, match="have no names"):
        video.build(config, lambda: [nameless], None)
