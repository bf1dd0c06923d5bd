import json
import re

import numpy as np
import pytest
from PIL import Image

from mmjax.report import document as report
from mmjax.report import media

RESULT = {
    "unseen/image_to_text/r1": 0.56,
    "chance/unseen/image_to_text/r1": 0.0054,
    "thumbnail_neighbour/unseen/image_to_text/r1": 0.42,
    "unseen/image_to_text/median_rank": 1.0,
    "validation/unseen/image_to_text/r1": 0.61,
    "train_seconds": 431.0,
    "first_step_seconds": 14.2,
    "parameters": 1_234_567,
}


@pytest.fixture
def workdir(tmp_path):
    def put(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    rows = [{"step": step, "train/loss": 1 / (step + 1)} for step in range(5)]
    put("metrics.jsonl", "\n".join(json.dumps(row) for row in rows) + '\n{"step": 5, "train/lo')
    put("result.json", RESULT)
    put("config.json", {"name": "clip <emoji>", "train": {"steps": 5}, "seed": 0})
    put("environment.json", {"versions": {"jax": "0.10"}})
    put("command.txt", "python -m mmjax.main --config=configs/clip.py:smoke,data.path=a/l.jsonl\n")
    row = {"where": "my\udcff.jsonl, row 3", "reason": "truncated <JPEG>"}
    put("corrupt.jsonl", "\n".join([json.dumps(row)] * 3))
    put("timing.jsonl", json.dumps({"step": 5, "examples_per_second": 238.5}))
    for step in range(1, 10):
        picture = Image.fromarray(np.full((20, 40, 3), 20 * step, np.uint8))
        path = tmp_path / "pictures" / f"{step:08d}" / "unseen" / "image_to_text.png"
        path.parent.mkdir(parents=True)
        picture.save(path)
    return tmp_path


def test_everything_is_in_one_file(workdir):
    path = report.write(workdir)
    page = path.read_text(encoding="utf-8")
    assert path == workdir / "report.html" and not list(workdir.glob("*.part"))
    assert "<h1>clip &lt;emoji&gt;</h1>" in page
    assert "finished · step 4 of 5 · 7 min 11 s of training" in page
    assert "R@1" in page and ">0.560<" in page and "1,234,567" in page
    for baseline, value in (("chance", "0.005"), ("thumbnail neighbour", "0.420")):
        assert f"<i>{baseline}</i> {value}" in page
        assert page.count(f"<i>{baseline}</i>") == 1  # beside the test alone
    assert "Validation, on which" in page and page.index(">0.560<") < page.index(">0.61<")
    assert "<svg" in page and "14.2 s" in page and "238" in page
    assert "1 example could not be used (3 times)" in page and "truncated &lt;JPEG&gt;" in page
    assert "--config=configs/clip.py:smoke" in page and "versions:\n  jax: 0.10" in page
    assert "step 9" in page and 3 <= page.count("data:image/webp") <= 1 + media.EARLIER
    # Nothing is fetched and nothing runs.
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)


def test_tags_are_closed(workdir):
    page = report.write(workdir).read_text(encoding="utf-8")
    for tag in ("table", "tr", "td", "figure", "section", "details", "div", "svg", "text", "main"):
        opened = len(re.findall(rf"<{tag}[ >]", page))
        assert opened == page.count(f"</{tag}>"), tag


def test_a_work_directory_in_any_state(workdir, tmp_path_factory):
    empty = tmp_path_factory.mktemp("clip_run")
    page = report.write(empty).read_text(encoding="utf-8")
    assert "<h1>clip_run" in page and "Nothing has been written" in page
    (workdir / "pictures/00000009/unseen/image_to_text.png").write_bytes(b"\x89PNG cut")
    (workdir / "config.json").write_text('{"name": "cu')
    (workdir / "result.json").unlink()
    with open(workdir / "metrics.jsonl", "w") as out:
        row = {"step": 4, "validation/seen/image_to_text/r1": 0.25, "train/loss": "nan"}
        out.write(json.dumps(row) + "\n[1, 2]\n\x00\xff\n")
    page = report.write(workdir).read_text(encoding="utf-8")
    assert f"<h1>{workdir.name}</h1>" in page and "not finished · step 4<" in page
    assert "So far, at step 4" in page and ">0.25<" in page
    assert "step 8" in page and "step 9" not in page  # the newest picture that can be read


@pytest.mark.parametrize(
    "seconds, shown", [(3.21, "3.2 s"), (65, "1 min 5 s"), (7322, "2 h 2 min"), (float("nan"), "?")]
)
def test_durations(seconds, shown):
    assert report._duration(seconds) == shown
