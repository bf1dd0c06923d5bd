"""Metric files: one line per step, cut back to the restored step, whatever a kill left behind."""

import json
import math
import threading

import pytest
from PIL import Image

from mmjax.training import board
from mmjax.training.writer import Writer, cut_back, read


def lines(path):
    return path.read_text().splitlines()


def written(folder, steps, start=-1, **values):
    writer = Writer(folder, start, tensorboard=False)
    for step in steps:
        writer.metrics(step, {"loss": 1 / step, **values})
        writer.timing(step, {"step_seconds": 0.1})
    writer.close()


def test_lines_are_whole_and_exact(tmp_path):
    written(tmp_path, [1, 2], accuracy=0.1 + 0.2)
    assert lines(tmp_path / "metrics.jsonl")[1] == (
        '{"step": 2, "loss": 0.5, "accuracy": 0.30000000000000004}'
    )
    assert read(tmp_path / "metrics.jsonl")[0]["loss"] == 1.0
    assert json.loads(lines(tmp_path / "timing.jsonl")[0]) == {"step": 1, "step_seconds": 0.1}


def test_numbers_that_json_has_not(tmp_path):
    written(tmp_path, [1], nan=math.nan, inf=math.inf)
    (row,) = read(tmp_path / "metrics.jsonl")
    assert (row["nan"], row["inf"]) == ("nan", "inf")
    json.loads(lines(tmp_path / "metrics.jsonl")[0], parse_constant=pytest.fail)


@pytest.mark.parametrize("rest", [
    "", '{"step": 4, "lo', "{", '{"step": 4}\x00\x00', "\x00\x00\x00", "4", "null", '{"loss": 1}',
    '{"step": 4, "name": "\N{LATIN SMALL LETTER E WITH ACUTE}',
])  # fmt: skip
@pytest.mark.parametrize("step", [0, 2, 3, 9])
def test_cut_back(tmp_path, step, rest):
    """Lines after the step go; so does a last line that was cut in the middle."""
    written(tmp_path, [1, 2, 3])
    path = tmp_path / "metrics.jsonl"
    whole = lines(path)
    with open(path, "ab") as file:
        file.write(rest.encode()[:-1] if rest.startswith('{"step": 4, "n') else rest.encode())
    assert [row["step"] for row in read(path)] == [1, 2, 3]
    cut_back(path, step)
    assert lines(path) == whole[: min(step, 3)]  # lines are in the order of their steps
    assert path.read_bytes().endswith(b"\n") or not path.read_bytes()
    assert {one.name for one in tmp_path.iterdir()} == {"metrics.jsonl", "timing.jsonl"}


def test_a_last_line_without_its_end_is_kept_once(tmp_path):
    written(tmp_path, [1, 2])
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    written(tmp_path, [3], start=2)
    assert [row["step"] for row in read(path)] == [1, 2, 3]


def test_going_on_writes_the_same_file(tmp_path):
    written(tmp_path / "whole", range(1, 8))
    written(tmp_path / "parts", range(1, 6))
    (tmp_path / "parts" / "corrupt.jsonl").write_text('{"step": 2}\n{"step": 5}\n')
    written(tmp_path / "parts", range(4, 8), start=3)
    one, two = (tmp_path / name / "metrics.jsonl" for name in ("whole", "parts"))
    assert one.read_bytes() == two.read_bytes()
    assert lines(tmp_path / "parts" / "corrupt.jsonl") == ['{"step": 2}']


def test_pictures_corrupt_rows_and_tensorboard(tmp_path):
    writer = Writer(tmp_path, -1)
    writer.metrics(3, {"loss": 1.0})
    writer.media(3, "validation/sheet", Image.new("RGB", (20, 10)))
    writer.corrupt(3, [{"source": "own", "index": 5, "where": "line 6", "reason": "empty caption"}])
    writer.close()
    with Image.open(tmp_path / "pictures" / "00000003" / "validation" / "sheet.png") as picture:
        assert picture.size == (20, 10)
    assert read(tmp_path / "corrupt.jsonl")[0]["reason"] == "empty caption"
    written(tmp_path, [], start=3)
    assert (tmp_path / "pictures" / "00000003").exists()
    written(tmp_path, [], start=2)  # a run that goes on from step 2 has not drawn it yet
    assert not (tmp_path / "pictures" / "00000003").exists()
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_full_disk_ends_the_file_of_tensorboard_and_not_the_run(tmp_path, monkeypatch, capsys):
    """One note; more events than its queue holds go nowhere, and nothing waits for them."""
    monkeypatch.setattr(board._Files, "open", lambda self, path: board.EventFile("/dev/full"))

    def run():
        writer = Writer(tmp_path, 0)
        for step in range(2 * board.QUEUE):
            writer.board.add_scalar("loss", 1.0, step)
        writer.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it waits for ever"
    said = capsys.readouterr().err
    assert said.count("no more is written for TensorBoard: No space left on device") == 1
    assert "Traceback" not in said


def test_tensorboard_gets_its_file(tmp_path):
    writer = Writer(tmp_path, 3)
    writer.metrics(4, {"loss": 0.5})
    writer.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()
