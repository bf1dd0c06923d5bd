"""Conversations from a JSONL file: read as they are meant, or named with the line."""

import json
import re

import pytest
from PIL import Image

from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Sequential
from mmjax.data.source import CorruptExample, DataError
from mmjax.processors import dialogue
from mmjax.readers import conversations, manifest

EXAMPLE = "experiments/own_data/conversations.jsonl"
ASKED = {"role": "user", "content": "what is it"}
SAID = {"role": "assistant", "content": "a cat"}


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
    return tmp_path


def written(folder, *rows, name="talk.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def opened(path, **fields):
    return conversations.open(conversations.Config(path=path, **fields))


def row(image=None, turns=(ASKED, SAID)):
    named = {} if image is None else {"image": image}
    return {**named, "conversation": list(turns)}


def test_one_picture_several_or_none(folder):
    source = opened(written(folder, row("a.png"), row(["a.png", "b.png"]), row(), row([])))
    assert [len(source[number]["image"]) for number in range(4)] == [1, 2, 0, 0]
    assert source[1]["image"][1] == (folder / "b.png").read_bytes()
    assert source.column("image").tolist() == [("a.png",), ("a.png", "b.png"), (), ()]
    assert source.column("conversation")[0] == [ASKED, SAID]
    assert source.locate(1) == "talk.jsonl, line 2"


def test_llavas_form(folder):
    turns = [{"from": "human", "value": "<image>\nwhat"}, {"from": "gpt", "value": "a cat"}]
    source = opened(written(folder, {"id": "7", "image": "a.png", "conversations": turns}))
    assert source[0]["id"] == "7"
    made = dialogue.AsConversation()(source[0])["conversation"]
    assert made == [{"role": "user", "content": "<image>\nwhat"}, SAID]
    with pytest.raises(CorruptExample, match="turn 1 is from 'bot'; there are human, gpt, system"):
        dialogue.AsConversation()({"conversation": [turns[0], {"from": "bot", "value": ""}]})


def test_rows_of_one_first_picture_are_in_one_split(folder):
    rows = [row(image) for image in ("a.png", ["a.png", "b.png"], ["b.png"])] * 5
    path = written(folder, *rows, *[row() for _ in range(40)])
    first = set()
    for split in ("train", "validation", "test"):
        try:
            names = opened(path, split=split, validation=0.3, test=0.3).column("image")
        except DataError:
            continue  # it has no rows
        shown = {paths[0] for paths in names if paths}
        assert not shown & first
        first |= shown
    assert first == {"a.png", "b.png"}


@pytest.mark.parametrize("rows, message", [
    ([row("a.png"), row("no.png")], r"1 of 2 rows with files .*/no\.png \(line 2\)"),
    ([row(["a.png", "no.png"])], r"1 of 1 rows with files .*/no\.png \(line 1\)"),
    ([{"images": "a.png", "conversation": [ASKED]}], "no column 'image' .*did you mean image='ima"),
    ([{"image": "a.png", "text": "a"}], "no column 'conversation'"),
    ([[row("a.png")]], "one JSON list"),
])  # fmt: skip
def test_what_is_refused_at_once(folder, rows, message):
    with pytest.raises(DataError, match=message):
        opened(written(folder, *rows))


def test_files_are_a_manifests_alone(folder):
    column = dict(image=manifest.Column(kind="files"))
    with pytest.raises(DataError, match="columns.image: only a manifest has a column of files"):
        manifest.declared(manifest.Config(path="a", columns=column))


FAULTS = {  # line 2 on: what is wrong with it -> the reason
    "no such file: .*no.png": row("no.png"),
    r"'image' is \['a.png', 3\]: the file path is 3": row(["a.png", 3]),
    "the file is an address, https://a/b.png": row("https://a/b.png"),
    "turn 1 has the role 'bot'; there are user": row(turns=[ASKED, {"role": "bot", "content": ""}]),
    "2 pictures, but <image> stands 1 times": row(
        ["a.png", "b.png"], [{"role": "user", "content": "is <image> a cat"}, SAID]
    ),
    "1 pictures, but <image> stands 2 times": row(
        "a.png", [{"role": "user", "content": "<image><image>"}, SAID]
    ),
    "3 pictures, more than max_images=2": row(["a.png", "b.png", "c.png"]),
    "the conversation has 36 tokens, more than max_length=30": row(
        turns=[{"role": "user", "content": "cat " * 30}, SAID]
    ),
    "a conversation is a list of turns": {"conversation": {"a": 1}},
    "nothing in 'conversation'": {"image": "a.png", "conversation": None},
}  # fmt: skip


def test_faults_are_counted_with_their_line(folder):
    path = written(folder, row("a.png"), *FAULTS.values(), row())
    source = opened(path, check_files=0)
    config = dialogue.Config(
        image_size=8, patch_size=4, max_images=2, max_length=30, tokenizer="words", vocab_size=40
    )
    processor = dialogue.build(config, lambda: [source], None)
    plan = Sequential(len(source), 12, processor.shape(source))
    arrays, corrupt = Pipeline([source], plan, processor.evaluate, seed=0).batch(0)
    assert arrays["weight"].tolist() == [1, *[0] * len(FAULTS), 1]
    assert arrays["image_mask"].sum(1).tolist() == [1, *[0] * (len(FAULTS) + 1)]
    assert [one.where for one in corrupt] == [
        f"talk.jsonl, line {line}" for line in range(2, 2 + len(FAULTS))
    ]
    for one, reason in zip(corrupt, FAULTS, strict=True):
        assert re.search(reason, one.reason), one.reason


def test_the_example_is_right():
    source = opened(EXAMPLE)
    config = dialogue.Config(image_size=8, patch_size=4, max_images=3, max_length=200)
    processor = dialogue.build(config, lambda: [source], None)
    batch = processor.encode([source[row] for row in range(len(source))])
    assert batch["image_mask"].sum(1).max() == 3
    assert not batch["image_mask"][-1].any()
