"""Files that are none, and paths that lead nowhere: a row of bad data, or one line before it."""

import errno
import json
import os
import socket
import sys
from pathlib import Path

import pytest
from PIL import Image

from mmjax.config import Spec
from mmjax.data import storage
from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Sequential
from mmjax.data.source import CorruptExample, DataError
from mmjax.readers import files, folder, index, manifest
from mmjax.run.part import open_source
from mmjax.transforms.images import DecodeImage

LONG = "x" * 300


def no_files(root):
    """Name -> reason, of what lies in a folder and can be no picture."""
    os.mkfifo(root / "pipe.png")
    (root / "device.png").symlink_to("/dev/zero")
    (root / "loop.png").symlink_to("loop.png")
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "folder").mkdir()
    (root / "link.png").symlink_to("folder")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(root)  # the path of a socket has 108 bytes
        server.bind("socket.png")
        os.chdir(here)
    return {
        "pipe.png": "it is a pipe, no plain file",
        "device.png": "it is a device, no plain file",
        "socket.png": "it is a socket, no plain file",
        "link.png": "it is a folder, no plain file",
        "loop.png": "Too many levels of symbolic links",
        "gone.png": "no such file: .*nowhere.png, to which .*gone.png links",
    }


def test_what_is_no_file_is_never_opened(tmp_path):
    reasons = no_files(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    for name, reason in {
        **reasons,
        f"{LONG}.png": "File name too long",
        "a.png/b.png": "Not a directory",
        "a\0.png": "null",
    }.items():
        with pytest.raises(CorruptExample, match=reason):
            files.read(os.path.join(tmp_path, name))


def test_a_folder_with_what_is_no_file(tmp_path):
    reasons = no_files(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for path in [*tmp_path.iterdir()]:
        path.with_suffix(".txt").write_text("a caption")
    source = folder.open(folder.Config(str(tmp_path)))
    _, corrupt = Pipeline([source], Sequential(6, 6), (DecodeImage(),), threads=0).batch(0)
    assert len(corrupt) == 5  # a folder that is linked is no file: it is passed over
    named = {one.where.split(", ")[1]: one.reason for one in corrupt}
    assert named.keys() == reasons.keys() - {"link.png"}


def test_a_manifest_with_what_is_no_file(tmp_path):
    reasons = {**no_files(tmp_path), f"{LONG}.png": "File name too long"}
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps({"image": name, "text": name}) + "\n" for name in reasons))
    with pytest.raises(DataError, match="7 of 7 images named in .* do not exist"):
        manifest.open(manifest.Config(str(path)))
    source = manifest.open(manifest.Config(str(path), check_files=0))
    for row, reason in enumerate(reasons.values()):
        with pytest.raises(CorruptExample, match=reason):
            source[row]


def test_long_names_beside_a_file(tmp_path):
    """a.json may be too long where a.jpg is not."""
    Image.new("RGB", (4, 4)).save(tmp_path / f"{'x' * 251}.png")
    with pytest.raises(DataError, match="beside"):
        columns = dict(answer=folder.Column("json.answer"))
        folder.open(folder.Config(str(tmp_path), columns=columns))


def paths(root):
    """Kind of reader, path, message."""
    (root / "file").write_text("")
    (root / "loop").symlink_to("loop")
    (root / "loop.jsonl").symlink_to("loop.jsonl")
    os.mkfifo(root / "pipe.jsonl")
    return (
        ("manifest", "loop.jsonl", "is a link that leads to no manifest"),
        ("manifest", "pipe.jsonl", "is no plain file"),
        ("manifest", "loop/list.jsonl", "no manifest"),
        ("manifest", "file/list.jsonl", "no manifest"),
        ("manifest", f"{LONG}.jsonl", "data.train.own: cannot read .*: File name too long"),
        ("folder", "loop", "is a link that leads to no folder"),
        ("folder", LONG, "data.train.own: cannot read .*: File name too long"),
        ("folder", "file/photos", "no folder"),
        ("webdataset", "loop", "a link that leads to no tar|no tar"),
        ("webdataset", f"{LONG}.tar", "data.train.own: cannot read .*: File name too long"),
    )


def test_data_that_cannot_be_reached_is_refused_in_a_line(tmp_path):
    for name, path, message in paths(tmp_path):
        with pytest.raises(DataError, match=message):
            open_source(Spec(name, {"path": str(tmp_path / path)}), "data.train.own")


@pytest.mark.parametrize("code", storage.UNREACHABLE)
def test_forbidden_data_is_refused_in_a_line(tmp_path, monkeypatch, code):
    """Whatever the user may do here: the system's answer is given by hand."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "photos" / "a.png")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "deep":
            raise OSError(code, os.strerror(code), os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=f"own: cannot read .*deep: {os.strerror(code)}"):
        open_source(Spec("folder", {"path": str(tmp_path / "photos")}), "data.train.own")


def test_faults_of_a_disk_are_not_taken_for_bad_data(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(files.os, "stat", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.read("a.png")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a file system that cannot be written")
def test_a_data_folder_that_cannot_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "IN_MEMORY", 0)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "list.jsonl").write_text('{"image": "a.png", "text": "x"}')
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for place in ("loop", "file", "file/kept", LONG, "/proc/1/kept"):
        monkeypatch.setenv("MMJAX_DATA", str(tmp_path / place))
        with pytest.raises(DataError, match="cannot be written to|cannot read"):
            open_source(Spec("manifest", {"path": str(tmp_path / "list.jsonl")}), "data.train.own")
