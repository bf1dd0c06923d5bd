"""The commands as a user meets them, on a model that trains in seconds."""

import errno
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import mmjax
from mmjax import config as configs
from mmjax import main
from mmjax.commands import evaluate as evaluate_command
from mmjax.commands import inspect, prepare, show
from mmjax.commands.evaluate import evaluate
from mmjax.config import ConfigError, Spec
from mmjax.run import dispatch, workdir
from mmjax.run.evaluations import build_evaluations
from mmjax.run.options import Evaluation, Options
from mmjax.training.writer import read

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "configs/contrastive/clip_emoji.py:smoke,train.steps=4,train.evaluate_every=2,"
    "data.batch_size=16,model.image.transformer.width=32,model.text.transformer.width=32,"
    "execution.tensorboard=False,model.embedding=32,optimizer.groups.0.warmup=1,"
    "optimizer.groups.1.warmup=1"
)


def tiny(*overrides):
    return configs.load(TINY, overrides, schema=Options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return mmjax.train(tiny(), folder, command="the command")


def test_a_work_directory_explains_itself(trained):
    folder = trained.workdir
    assert trained.finished
    for name in ("config.json", "environment.json", "tokenizer.json", "report.html"):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "command.txt").read_text() == "the command\n"
    steps = {row["step"] for row in read(folder / "metrics.jsonl")}
    assert steps == {1, 2, 3, 4}
    assert list((folder / "pictures" / "00000004").rglob("*.png"))
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["versions"]["jax"] == jax.__version__


def test_results_stand_beside_their_baselines(trained):
    result = json.loads((trained.workdir / "result.json").read_text())
    assert result == trained.result
    for name in ("unseen_style/image_to_text/r1", "unseen_concept/image_to_text/r5"):
        assert 0 <= result[name] <= 1
        assert result[f"chance/{name}"] > 0
    assert result["chance/unseen_style/image_to_text/r5"] == pytest.approx(5 / 185)
    # the thumbnail neighbour of the issue, on this split
    assert result["thumbnail_neighbour/unseen_style/image_to_text/r1"] == pytest.approx(
        0.4216, abs=1e-4
    )
    assert result["train_seconds"] > 0 and result["first_step_seconds"] > 0
    intervals = json.loads((trained.workdir / "intervals.json").read_text())
    for name in ("classes/accuracy/top1", "unseen_style/image_to_text/r1"):
        low, high = intervals[name]
        assert low <= result[name] <= high < low + 0.3


@pytest.mark.slow
def test_runs_are_compared_query_by_query(trained, tmp_path, capsys):
    """With a copy whose evaluations take the raw weights, not their average."""
    shutil.copytree(trained.workdir, tmp_path / "raw")
    config = json.loads((tmp_path / "raw" / "config.json").read_text())
    for evaluation in config["test"].values():
        evaluation["weights"] = "raw"
    del config["test"]["unseen_style"]  # not in common
    (tmp_path / "raw" / "config.json").write_text(json.dumps(config))
    asked = ["--mode=compare", "--split=test", f"--out={tmp_path / 'compared.json'}"]
    runs = [f"--workdir={trained.workdir}", f"--against={tmp_path / 'raw'},{tmp_path / 'raw'}"]
    assert main.main([*asked, *runs]) == 0
    assert "unseen_concept/text_to_image/mrr" in capsys.readouterr().out
    found = json.loads((tmp_path / "compared.json").read_text())
    assert {name.partition("/")[0] for name in found} == {"unseen_concept", "classes"}
    raw = evaluate(tmp_path / "raw", split="test")
    for name in ("unseen_concept/image_to_text/r10", "classes/accuracy/top1"):
        one = found[name]
        assert one["ours"] == pytest.approx(trained.result[name])
        assert one["theirs"] == pytest.approx(raw[name])
        assert one["difference"]["mean"] == pytest.approx(one["ours"] - one["theirs"])
        assert one["difference"]["low"] <= one["difference"]["mean"] <= one["difference"]["high"]
    assert 1 / 185 < found["unseen_concept/text_to_image/mrr"]["ours"] < 1
    config["test"] = {"classes": config["test"]["classes"]}
    config["test"]["classes"]["source"]["split"] = "validation/unseen_concept"
    (tmp_path / "raw" / "config.json").write_text(json.dumps(config))
    assert main.main([*asked, runs[0], f"--against={tmp_path / 'raw'}"]) == 2
    said = capsys.readouterr().err
    assert "the runs were not asked the same: classes/accuracy/" in said and "Traceback" not in said
    assert main.main([*asked, runs[0]]) == 2
    assert "--workdir=A,B --against=C,D" in capsys.readouterr().err


def test_a_finished_run_is_not_trained_again(trained, capsys):
    before = (trained.workdir / "metrics.jsonl").read_bytes()
    again = mmjax.train(tiny(), trained.workdir)
    assert again.result == trained.result
    assert "is finished" in capsys.readouterr().out
    assert (trained.workdir / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_stopped_and_continued_equals_undisturbed(trained, tmp_path):
    """A run of the same config that ends after a save, and goes on, writes the same lines."""
    from mmjax.training import loop

    class Interrupted(Exception):
        pass

    original = loop._Watch.look

    def look(self, step, *rest):
        if step == 3:
            raise Interrupted
        return original(self, step, *rest)

    loop._Watch.look = look
    try:
        with pytest.raises(Interrupted):
            mmjax.train(tiny(), tmp_path / "run")
    finally:
        loop._Watch.look = original
    continued = mmjax.train(tiny(), tmp_path / "run")
    assert continued.finished
    a, b = (Path(w) / "metrics.jsonl" for w in (trained.workdir, continued.workdir))
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.slow
def test_a_finished_run_is_made_longer(trained, tmp_path, capsys):
    folder = shutil.copytree(trained.workdir, tmp_path / "run")
    longer = mmjax.train(tiny("train.steps=6"), folder)
    said = capsys.readouterr().out
    assert "going on from step 4" in said
    assert "train.steps 4 -> 6: the schedule of 6 steps from step 4 on; learning rate of" in said
    assert longer.finished and longer.result["steps"] == 6
    assert json.loads((folder / "result-00000004.json").read_text()) == trained.result
    rows = [row for row in read(folder / "metrics.jsonl") if "train/loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    before = read(trained.workdir / "metrics.jsonl")
    assert read(folder / "metrics.jsonl")[: len(before)] == before
    with pytest.raises(ConfigError, match="train.steps: 6 -> 5"):
        mmjax.train(tiny("train.steps=5"), folder)


HOLD = """
import sys, time
from pathlib import Path
from mmjax.run import workdir
with workdir.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_run_at_a_time_in_a_work_directory(tmp_path, capsys):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            assert main.main([f"--config={TINY}", f"--workdir={folder}"]) == 2
        finally:
            other.kill()
    said = capsys.readouterr().err
    assert f"ConfigError: process {other.pid} on {platform.node()}, since 20" in said
    assert f"trains in {folder}: stop it, or give another --workdir" in said
    assert "Traceback" not in said
    assert [path.name for path in folder.iterdir()] == ["lock"]
    for _ in range(2):  # the one that was killed, and one that ended, keep nobody out
        with workdir.locked(folder):
            with pytest.raises(ConfigError, match=f"process {os.getpid()} .*stop it, or give"):
                with workdir.locked(folder):
                    pass
            with pytest.raises(ConfigError, match=f"process {os.getpid()} .*stop it, or give"):
                mmjax.train(tiny(), folder)
    assert (folder / "lock").read_text() == ""


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def absent(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", absent)
    with workdir.locked(tmp_path), workdir.locked(tmp_path):
        pass


def test_evaluate_repeats_the_result(trained):
    values = evaluate(trained.workdir, split="test")
    for name, value in values.items():
        assert trained.result[name] == pytest.approx(value), name


def test_restored_model_embeds_images_and_texts(trained):
    from mmjax.datasets import emoji

    restored = mmjax.restore(trained.workdir)
    example = emoji.open(emoji.Config(split="train"))[0]
    image = restored.predict("embed", [{"image": example["image"]}])["image"]
    text = restored.predict("embed", [{"text": "a dog"}, {"text": "a cat on the roof"}])["text"]
    assert image.shape == (1, 32) and text.shape == (2, 32)
    np.testing.assert_allclose(np.linalg.norm(text, axis=-1), 1, rtol=1e-5)


def test_show_lists_every_parameter(capsys):
    text = show.show(tiny("execution.mesh.fsdp=2"))
    assert "image/patch_embedding/kernel" in text and "fsdp 2" in text
    assert "text/tokens" in text and "MiB" in text
    assert capsys.readouterr().out.strip() == text.strip()


def test_inspect_shows_the_batch(trained, capsys):
    path = inspect.inspect(tiny(), trained.workdir, step=3)
    out = capsys.readouterr().out
    assert path.exists() and path.suffix == ".png"
    assert "emoji:" in out and "loss with checkpoint 2" in out and "image" in out


def test_inspect_draws_where_it_is_told_to(tmp_path, monkeypatch, capsys):
    """Without a work directory nothing is left beside the user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inspect, "_loss", lambda *arguments: "loss")
    assert inspect.inspect(tiny(), tmp_path / "run") is None
    assert not list(tmp_path.iterdir())
    assert "--out=batch.png draws one" in capsys.readouterr().out
    assert inspect.inspect(tiny(), tmp_path / "run", out="a/batch.png") == Path("a/batch.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(ConfigError, match="--out=x.xyz: a picture's name ends in .png"):
        inspect.inspect(tiny(), tmp_path / "run", out="x.xyz")


def test_thumbnails_compare_with_drawings_of_their_own_set():
    """The groups of another set in the mixture have the same numbers, and nothing to say."""
    from mmjax.config import build
    from mmjax.run.assembly import Run
    from mmjax.run.evaluations import build_evaluations

    own = "data.train.own={'name': 'manifest', 'path': 'experiments/own_data/pictures.jsonl'}"
    found = []
    for overrides in ((), (own, "data.batch_size=8")):
        run = Run(build(Options, tiny(*overrides)))
        found.append(build_evaluations(run, run.options.test)["unseen_style"].baseline())
    assert found[0] == found[1] and len(found[0]) > 2
    run = Run(build(Options, tiny(own, "data.batch_size=8", "data.train.emoji.weight=0.0")))
    with pytest.raises(ConfigError, match="unseen_style.baseline: the thumbnails .* leave"):
        build_evaluations(run, run.options.test)["unseen_style"].baseline()


def test_a_run_is_exported_and_loaded_by_its_folder(trained, tmp_path):
    written = mmjax.export(trained.workdir, tmp_path / "model", dtype="float16")
    found = mmjax.load(tmp_path / "model")
    restored = mmjax.restore(trained.workdir)
    assert found.config == restored.model.config == written.config
    kernel = found.params["image_head"]["kernel"]
    expected = np.asarray(restored.params["image_head"]["kernel"])
    np.testing.assert_array_equal(kernel, expected.astype(np.float16).astype(np.float32))
    by_run = mmjax.load(trained.workdir)  # the work directory itself, wherever a model is taken
    np.testing.assert_array_equal(by_run.params["image_head"]["kernel"], expected)
    ids = [one.processor(text="a cat")["ids"] for one in (by_run, found)]
    np.testing.assert_array_equal(*ids)
    pixels = np.full((50, 40, 3), 7, np.uint8)
    batch = found.processor(images=pixels, text="a cat")
    images, texts = jax.jit(found.model.apply)(found.variables, **batch)
    before = restored.predict("embed", [{"image": pixels, "text": "a cat"}])
    np.testing.assert_allclose(images, before["image"], atol=0.02)  # halves
    np.testing.assert_allclose(texts, before["text"].reshape(1, -1), atol=0.02)
    # a run is asked as a checkpoint is, in any form of a picture
    Image.fromarray(pixels).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    for shown in (pixels, Image.fromarray(pixels), path, str(path), path.read_bytes()):
        asked = restored.predict("embed", [{"image": shown, "text": "a cat"}])
        np.testing.assert_array_equal(asked["image"], before["image"])
    np.testing.assert_allclose(restored.encode_image(path), before["image"], atol=1e-6)
    np.testing.assert_allclose(restored.encode_text("a cat"), before["text"], atol=1e-6)
    assert repr(restored).startswith("Restored: mmjax.models.clip\n") and len(repr(restored)) < 400


def test_a_run_as_a_model_is_asked_its_own_evaluations(trained, monkeypatch):
    asked = {}
    monkeypatch.setattr(evaluate_command, "evaluate_model", lambda model, **of: asked.update(of))
    assert main.main(["--mode=evaluate", f"--model={trained.workdir}", "--split=test"]) == 0
    assert asked["config"] == workdir.load_options(trained.workdir)


@pytest.mark.slow
def test_a_linear_probe_of_a_run(trained):
    restored = mmjax.restore(trained.workdir)
    options = Evaluation(
        Spec("emoji", {"split": "validation/unseen_style"}),
        Spec("linear_probe", {"train": {"name": "@emoji", "split": "test/unseen_style"}}),
    )
    evaluator = build_evaluations(restored.run, {"probe": options})["probe"]
    found = evaluator(restored.variables)
    assert 0 < found.metrics["accuracy/top1"] <= 1
    chance, majority = (found.baselines[name]["accuracy/top1"] for name in ("chance", "majority"))
    assert majority > chance


@pytest.mark.slow
def test_warm_start_takes_what_fits(trained, tmp_path, capsys):
    unmeasured = ("validation={}", "test={}", "checkpoint.metric=''")
    config = tiny(f"warm_start={str(trained.workdir)!r}", "model.embedding=16", *unmeasured)
    mmjax.train(config, tmp_path / "warm")
    out = capsys.readouterr().out
    assert "misshapen image_head/kernel: needs (32, 16), found (32, 32)" in out


def test_the_command_line_says_what_is_wrong():
    def run(*arguments):
        command = [sys.executable, "-m", "mmjax.main", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    done = run("--config=configs/contrastive/clip_emoji.py:smok")
    assert done.returncode == 2
    assert "There is no variant 'smok'" in done.stderr and "Did you mean 'smoke'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough():
    """`| head` ends the command without a traceback."""
    command = [sys.executable, "-m", "mmjax.main", "--mode=prepare"]
    kinds = dict(cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **kinds) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_another_broken_pipe_is_a_bug(monkeypatch):
    def lost(*arguments):
        raise BrokenPipeError("a worker's")

    monkeypatch.setattr(prepare, "run", lost)
    with open(os.devnull, "w") as output, pytest.raises(BrokenPipeError, match="a worker's"):
        monkeypatch.setattr(sys, "stdout", output)
        dispatch.run(["--mode=prepare"])
