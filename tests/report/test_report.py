import json
import re

import numpy as np
import pytest
from PIL import Image

from mmjax.report import document as report
from mmjax.report import media, units
from mmjax.report.files import Files
from mmjax.report.numbers import Numbers

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
        assert page.count(f"<i>{baseline}</i>") == 2  # on top and in the table, of the test alone
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


def test_what_matters_comes_first(workdir):
    page = report.write(workdir).read_text(encoding="utf-8")
    order = ["glance", "result", "curves", "samples", "corrupt", "time", "command", "config"]
    for anchor in (*order[:3], *order[4:]):  # its only picture is on top
        assert page.count(f'href="#{anchor}"') == page.count(f'id="{anchor}"') == 1
    places = [page.index(f'id="{anchor}"') for anchor in (*order[:3], *order[4:])]
    assert places == sorted(places)
    top = page[page.index('id="glance"') : page.index('id="result"')]
    assert top.count("<div class=card>") == 1 and "0.560" in top  # one evaluation, one part
    assert top.count("<b>unseen / image to text</b>, step 9.") == 1


def numbers(tmp_path, result, config=None, intervals=None):
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "config.json").write_text(json.dumps(config or {}))
    (tmp_path / "intervals.json").write_text(json.dumps(intervals or {}))
    return Numbers(Files(tmp_path))


def test_three_numbers_begin_with_the_one_that_checkpoints_are_chosen_by(tmp_path):
    result = {"a/x/r1": 0.1, "a/y/r1": 0.2, "b/x/r1": 0.3, "b/y/r1": 0.4, "chance/b/y/r1": 0.1}
    config = {"checkpoint": {"metric": "validation/b/y/r1"}}
    found = numbers(tmp_path, {**result, "c/x": 5.0}, config)
    assert found.most_important() == ["b/y/r1", "a/x/r1", "c/x"]
    result |= {"a/class/cat": 0.5}  # one class is not the evaluation
    assert numbers(tmp_path, result).most_important() == ["a/x/r1", "b/x/r1", "a/y/r1"]
    assert found.cards().count("<div class=card>") == 3


def test_a_number_below_its_baseline_is_seen(tmp_path):
    result = {"a/r1": 0.05, "chance/a/r1": 0.1, "majority/a/r1": 0.2, "a/wer": 0.9, "a/off": 0.9}
    result |= {"grey/a/wer": 0.8, "grey/a/off": 0.8, "a/median_rank": 3.0}
    result |= {"chance/a/median_rank": 9.0, "b/r1": 0.1000001, "chance/b/r1": 0.1000002}
    table = numbers(tmp_path, result).section()
    assert table.count("worse than") == 2  # of an unknown "off" nothing is said; b is as good
    assert "worse than chance and majority" in table and "worse than grey" in table
    assert table.count('class="fill low"') == 2
    assert "<b class=chance" in table and "<b class=baseline" in table
    config = {"checkpoint": {"metric": "validation/a/off", "higher_is_better": False}}
    assert numbers(tmp_path, result, config).section().count("worse than grey") == 2


def test_intervals_stand_beside_their_numbers(tmp_path):
    result = {"a/r1": 0.5, "chance/a/r1": 0.1, "a/r5": 0.7, "chance/a/r5": 0.2}
    section = numbers(tmp_path, result, intervals={"a/r1": [0.4, 0.61], "a/r5": "?"}).section()
    assert section.count("<i>95%</i>") == 1 and "0.400 to 0.610" in section
    assert '<u style="left:40.0%;width:21.0%">' in section


def test_optimizer_groups_have_names(tmp_path):
    groups = [{"optimizer": "muon"}, {"optimizer": "adamw", "match": "a"}]
    (tmp_path / "config.json").write_text(json.dumps({"optimizer": {"groups": groups}}))
    assert Files(tmp_path).optimizer_groups == {"0": "muon", "1": "adamw"}
    groups += [{"optimizer": "adamw", "match": "b"}]
    (tmp_path / "config.json").write_text(json.dumps({"optimizer": {"groups": groups}}))
    assert Files(tmp_path).optimizer_groups == {"0": "muon", "1": "adamw a", "2": "adamw b"}


@pytest.mark.parametrize(
    "key, value, shown",
    [
        ("step_seconds", 0.0451, "45.1 ms"),
        ("flops_per_second", 55.04e9, "55 GFLOP/s"),
        ("flops_per_second", 2e15, "2 PFLOP/s"),
        ("examples_per_second", 238.5, "238 /s"),
        ("share", 0.5, "0.5"),
    ],
)
def test_times_have_units(key, value, shown):
    assert units.with_unit(key, value) == shown


@pytest.mark.parametrize(
    "seconds, shown", [(3.21, "3.2 s"), (65, "1 min 5 s"), (7322, "2 h 2 min"), (float("nan"), "?")]
)
def test_durations(seconds, shown):
    assert units.duration(seconds) == shown


def test_numbers_are_short():
    shown = {0.5412: "0.541", 93: "93", 2.5e-6: "2.5e-6", 0: "0", 123456.7: "123,457", 1: "1"}
    shown |= {999.7: "1,000"}
    assert {value: units.number(value) for value in shown} == shown
