"""Clips by every reader: folders per class, manifests with parts of a clip, tars."""

import io
import json
import tarfile

import pytest
from made_clips import encoded, numbers, webp

from mmjax.data.source import CorruptExample
from mmjax.readers import folder, manifest, webdataset
from mmjax.readers.columns import Column
from mmjax.transforms.video import DecodeVideo, Uniform

DECODE = DecodeVideo(Uniform(2))


def shown(example):
    return numbers(DECODE(example)["video"])


def test_a_folder_per_class(tmp_path):
    """A .webp is a clip where videos are asked for, and a picture elsewhere."""
    for name, data in (
        ("runs/a.mp4", encoded()), ("runs/b.gif", encoded(form="gif", codec="gif")),
        ("sits/c.webp", webp()),
    ):  # fmt: skip
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = folder.open(folder.Config(str(tmp_path / "clips"), media="video"))
    assert [one["label"] for one in source] == [0, 0, 1]
    assert [shown(one) for one in source] == [[5, 15]] * 3
    pictures = folder.open(folder.Config(str(tmp_path / "clips")))
    assert [one["id"] for one in pictures] == ["runs/b.gif", "sits/c.webp"]


def test_parts_of_a_clip_from_a_manifest(tmp_path):
    (tmp_path / "clip.mkv").write_bytes(encoded(form="matroska"))
    rows = [
        {"video": "clip.mkv", "text": "all of it", "start": 0.0, "end": 99.0},
        {"video": "clip.mkv", "text": "its end", "start": 1.0, "end": 2.0},
        {"video": "clip.mkv", "text": "its middle", "start": 0.5, "end": 0.9},
        {"video": "clip.mkv", "text": "nothing", "start": 5.0, "end": 6.0},
    ]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = dict(video=Column(), start=Column(), end=Column())
    source = manifest.open(manifest.Config(str(path), image="", columns=columns))
    assert [shown(source[row]) for row in range(3)] == [[5, 15], [12, 17], [6, 8]]
    with pytest.raises(CorruptExample, match="no frames from 5 s to 6 s: the clip has 2.0"):
        shown(source[3])


def test_clips_in_a_tar(tmp_path):
    path = tmp_path / "clips.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("a.mp4", encoded()), ("a.txt", b"a clip"), ("b.mp4", encoded()[:900]),
                           ("b.txt", b"a broken one")):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    columns = dict(video=Column(name="mp4"))
    source = webdataset.open(webdataset.Config(str(path), image="", columns=columns))
    assert shown(source[0]) == [5, 15] and source[0]["text"] == "a clip"
    with pytest.raises(CorruptExample):
        shown(source[1])
