"""The index of a large set: written once, found again, never stale; and a source that shrinks."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mmjax.data import storage
from mmjax.data.source import CorruptExample, DataError
from mmjax.readers import index, lines, manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Every set is large; returns the folder of the indices."""
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path / "kept"))
    monkeypatch.setattr(index, "IN_MEMORY", 0)
    return tmp_path / "kept" / "index"


def rows(count=40):
    return [{"image": f"{at}.png", "text": [f"picture {at % 30}", "x"] if at % 2 else "étude",
             "label": ("dog", "cat")[at % 2], "group": at // 2, "id": f"n{at}"}
            for at in range(count)]  # fmt: skip


def listed(folder, data, name="own.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in data))
    return folder / name


def opened(path, **options):
    return manifest.open(manifest.Config(str(path), **{"check_files": 0, **options}))


def lights(source):
    """Everything but the images."""
    found = [source.table[at] for at in range(len(source.table))]
    columns = [source.column(name) for name in ("group", "label", "text")]
    return found, *(column.tolist() for column in columns)


def test_stored_and_in_memory_are_the_same(stored, tmp_path, monkeypatch):
    path = listed(tmp_path, rows())
    first = opened(path)
    assert len(list(stored.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(lines, "chunks", lambda *arguments: 1 / 0)  # nothing is read again
        again = opened(path)
        sent = pickle.dumps(again)
    assert len(sent) < 2000  # the path, not the rows
    monkeypatch.setattr(index, "IN_MEMORY", 1 << 20)
    memory = opened(path)
    assert lights(first) == lights(again) == lights(memory) == lights(pickle.loads(sent))
    assert first.fingerprint == again.fingerprint == memory.fingerprint
    assert lights(pickle.loads(pickle.dumps(memory))) == lights(memory)


def test_splits_share_an_index(stored, tmp_path, monkeypatch):
    path = listed(tmp_path, rows())
    parts = [opened(path, split=name) for name in ("train", "validation", "test", "all")]
    assert len(list(stored.iterdir())) == 1
    assert sum(map(len, parts[:3])) == len(parts[3]) == 40
    opened(path, text="id")
    assert len(list(stored.iterdir())) == 2


def test_a_changed_file_is_read_again_and_the_old_index_goes(stored, tmp_path):
    path = listed(tmp_path, rows())
    before = opened(path)
    listed(tmp_path, rows(30))
    after = opened(path)
    assert len(after) == 30 and after.fingerprint != before.fingerprint
    assert before.table[39].id == "n39"  # what is open stays what it was
    assert len(list(stored.iterdir())) == 1
    other = tmp_path / "moved"
    other.mkdir()
    assert opened(path.rename(other / "own.jsonl")).fingerprint == after.fingerprint


def test_a_damaged_index_is_made_again(stored, tmp_path):
    path = listed(tmp_path, rows())
    opened(path)
    (entry,) = stored.iterdir()
    for name in ("rows.arrow", "about.json", "group.npy"):
        (entry / name).write_bytes(b"")
        assert len(lights(opened(path))[0]) == 40


def test_an_interrupted_start_leaves_nothing(stored, tmp_path, monkeypatch):
    path = listed(tmp_path, rows())
    whole = lines.chunks

    def interrupted(*arguments):
        yield from whole(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lines, "chunks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(path)
    assert list(stored.iterdir()) == []
    assert len(opened(path)) == 40


def test_a_folder_that_cannot_be_written(stored, tmp_path, monkeypatch):
    path = listed(tmp_path, rows())
    (tmp_path / "kept").write_text("")
    with pytest.raises(DataError, match="cannot be written to .*kept.index: .*set MMJAX_DATA"):
        opened(path)


def test_a_file_that_changes_while_it_is_read(stored, tmp_path, monkeypatch):
    path = listed(tmp_path, rows())
    whole = lines.chunks

    def growing(*arguments):
        yield from whole(*arguments)
        listed(tmp_path, rows(41))

    monkeypatch.setattr(lines, "chunks", growing)
    with pytest.raises(DataError, match="own.jsonl changed while it was read"):
        opened(path)


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_a_manifest_that_shrinks_during_a_run(stored, tmp_path, monkeypatch, limit):
    """Its rows stay what they were; an image that goes is named."""
    monkeypatch.setattr(index, "IN_MEMORY", limit)
    data = rows(4)
    for row in data:
        Image.new("RGB", (4, 4)).save(tmp_path / row["image"])
    path = listed(tmp_path, data)
    source = opened(path, check_files=10)
    example = source[3]
    os.truncate(path, 50)
    assert source[3] == example
    (tmp_path / "3.png").unlink()
    with pytest.raises(CorruptExample, match="no such file: .*3.png"):
        source[3]
    with pytest.raises(DataError, match="line 1"):
        opened(path)


def test_progress_is_shown_of_what_takes_long(capsys):
    with storage.Progress("reading x", 100, seconds=0.0) as progress:
        progress.advance(40)
        progress.advance(60)
    assert "reading x 40/100" in capsys.readouterr().err
    with storage.Progress("reading x", 100) as progress:
        progress.advance(100)
    assert capsys.readouterr().err == ""


# VmHWM: getrusage would begin with the memory of the process that starts this one
MEASURED = """
import json, pathlib, random, re, sys, time
from mmjax.readers import manifest

start = time.monotonic()
source = manifest.open(manifest.Config(sys.argv[1], split=sys.argv[2], check_files=0))
seconds = time.monotonic() - start
rows = [random.randrange(len(source)) for _ in range(5000)]
start = time.monotonic()
assert all(source._text(int(row), source.table[int(row)].text) for row in rows)
row = (time.monotonic() - start) / len(rows)
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps([len(source), seconds, row, int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) << 10]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own figures of memory are read")
def test_five_million_rows_open_in_seconds(tmp_path):
    """500 MB of JSONL. Bounds are generous: the figures of a quiet machine are in no test."""
    count, path = 5_000_000, tmp_path / "large.jsonl"
    with open(path, "w") as file:
        for at in range(count):
            text = f"a photo of thing number {at * 7919 % 4_000_037} on a table in a room"
            file.write(f'{{"image": "{at // 1000:04d}/{at:08d}.jpg", "text": "{text}"}}\n')
    found = {}
    for split in ("train", "test", "train"):
        command = [sys.executable, "-c", MEASURED, str(path), split]
        environment = {**os.environ, "MMJAX_DATA": str(tmp_path / "kept")}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
        found.setdefault(split, []).append(json.loads(done.stdout))
    (rows, seconds, row, peak), again = found["train"]
    assert 0.79 < rows / count < 0.81 and 0.09 < found["test"][0][0] / count < 0.11
    assert seconds < 120 and peak < 1.0e9 and row < 1e-2, found
    assert again[0] == rows and again[1] < 20 and again[3] < 0.6e9, found
