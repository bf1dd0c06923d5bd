"""Bad input as a user meets it: one message that says what, where and what would be right.

What can be mended ends with exit status 2 and without a traceback; nothing that was there is lost.
"""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import time

import haste
import jax
import numpy as np
import pytest
from own_run import OWN, ROOT, TINY, command, huge_png, listed, rows, trained
from PIL import Image

from mmjax import main
from mmjax.tokenizers import bpe
from mmjax.training.checkpoint import CheckpointError, Checkpoints
from mmjax.training.writer import Writer, read


@pytest.fixture
def refused(capsys):
    """A function: runs a command that must end with status 2, and returns its message."""

    def run(arguments):
        capsys.readouterr()
        assert main.main([str(argument) for argument in arguments]) == 2
        message = capsys.readouterr().err
        assert "Traceback" not in message and message.strip(), message
        return message

    return run


@pytest.fixture(scope="module", autouse=True)
def compile_cache(tmp_path_factory):
    """Compiled programs of this file in a folder of their own."""
    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """40 pictures with captions."""
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = rng.integers(256, size=(4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(folder / f"{i}.png")
    listed(folder, rows())
    return folder


@pytest.fixture(scope="module")
def finished(good, tmp_path_factory):
    """The work directory of a good run of three steps."""
    folder = tmp_path_factory.mktemp("finished")
    assert trained(good, folder).finished
    return folder


@pytest.fixture(scope="module")
def spoilt(good, tmp_path_factory):
    """The same 40 with six that cannot be used, each in its own way."""
    folder = tmp_path_factory.mktemp("spoilt") / "photos"
    shutil.copytree(good, folder)
    lines = rows()
    Image.effect_noise((64, 64), 50).save(folder / "1.jpg")
    (folder / "1.jpg").write_bytes((folder / "1.jpg").read_bytes()[:500])
    lines[1]["image"] = "1.jpg"
    (folder / "2.png").write_text("this is no picture\n")
    huge_png(folder / "3.png")
    lines[4]["text"] = "   "
    lines[5] = b'{"image": "5.png", "text": "caf\xe9"}'
    (folder / "6.png").unlink()
    listed(folder, lines)
    return folder


REASONS = {
    1: "broken or truncated image",
    2: "no image format we know; the file begins b'this is no p'",
    3: "refused by its header: Image size (2500000000 pixels)",
    4: "empty caption",
    5: "invalid UTF-8: byte 0xe9 at position 3",
    6: "no such file",
}
LENIENT = {"data.train.own.check_files": 0, "data.max_corrupt_share": 0.2}


def test_corrupt_examples_are_counted_named_and_left_out(spoilt, tmp_path):
    """Six of 40 rows at every step, and the run goes on without them."""
    run = trained(spoilt, tmp_path / "run", LENIENT)
    assert run.finished
    named = read(run.workdir / "corrupt.jsonl")
    assert [row["step"] for row in named] == [step for step in (1, 2, 3) for _ in REASONS]
    for step in (1, 2, 3):
        found = {row["index"]: row for row in named if row["step"] == step}
        assert found.keys() == REASONS.keys()
        for index, reason in REASONS.items():
            assert reason in found[index]["reason"]
            assert found[index]["where"].startswith(f"list.jsonl, line {index + 1} (")
            assert found[index]["source"] == "own"
    metrics = read(run.workdir / "metrics.jsonl")
    assert [row["step"] for row in metrics] == [1, 2, 3]
    assert all(0 < row["train/loss"] < 10 for row in metrics)


@pytest.mark.slow
def test_too_many_corrupt_examples_stop_the_run(spoilt, tmp_path, refused):
    strict = {**LENIENT, "data.max_corrupt_share": 0.1}
    message = refused(command(spoilt, tmp_path, strict))
    assert "TooManyCorrupt: 12 of 80 examples are corrupt" in message
    assert "max_corrupt_share=0.1" in message
    assert "list.jsonl, line 2 (1.jpg): broken or truncated image" in message
    assert [row["step"] for row in read(tmp_path / "metrics.jsonl")] == [1]
    assert len(read(tmp_path / "corrupt.jsonl")) == 6
    assert (tmp_path / "checkpoints" / "1").is_dir()  # nothing that was done is lost
    assert "12 of 80 examples are corrupt" in refused(command(spoilt, tmp_path, strict))
    assert trained(spoilt, tmp_path, LENIENT).finished  # a limit that was raised lets it go on
    assert [row["step"] for row in read(tmp_path / "corrupt.jsonl")] == [1] * 6 + [2] * 6 + [3] * 6


def test_corrupt_examples_in_an_evaluation(spoilt, tmp_path, capsys):
    pairs = dict(source=dict(name="@own", split="all"), evaluator=dict(name="retrieval"))
    run = trained(spoilt, tmp_path, {**LENIENT, "test": {"pairs": pairs}})
    # 33 pictures have a caption, and one of 33 is right by chance... of those that can be read
    assert run.result["chance/pairs/image_to_text/r1"] == pytest.approx(1 / 34)
    told = capsys.readouterr().out
    assert "note: pairs leaves out 6 corrupt of 40 examples" in told
    assert "list.jsonl, line 2 (1.jpg): broken or truncated image" in told


def test_missing_files_are_refused_at_the_start(spoilt, tmp_path, refused):
    message = refused(command(spoilt, tmp_path))
    assert "DataError: 1 of 40 images named in" in message and "6.png (line 7)" in message
    assert "set root, or check_files=0" in message
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("changes, parts", [
    ({"data.train.own.path": "nowhere/list.jsonl"}, ["no manifest nowhere/list.jsonl; in "]),
    ({"data.train.own.text": "txt"}, ["no column 'txt' (text='txt'); did you mean text='text'?"]),
    ({"data.train.own.image": "file"}, ["no column 'file'", "It has: image, text"]),
    ({"data.batch_size": 48}, ["48 rows of the data, which has only 40", "(data.batch_size)"]),
    ({"data.batch_size": 20}, ["data.batch_size=20 is not a multiple of 8 devices"]),
    ({"data.train.own.split": "training"}, ["'training' is none of train, validation, test, all"]),
    ({"data.processor.tokenizer": "none.json"}, ["none.json"]),
    ({"optimizer.groups.1.warmup": 3}, ["a warm-up of 3 steps in a run of 3"]),
    ({"optimizer.groups.0.match": "blocks/.*"}, ["'blocks/.*' matches no parameter"]),
    ({"execution.mesh.data": 3}, ["mesh data=3, fsdp=1, tensor=1 does not fit 8 device(s)"]),
    ({"execution.mesh.rules": {"head": "tensr"}}, ["'tensr'; the mesh has data, fsdp, tensor"]),
    ({"model.text.vocab_size": 7}, ["model.text.vocab_size is 7, but the data needs"]),
    ({"model.variant": "B/23"}, ["model.variant: clip has no 'B/23'; it has tiny/8, S/16"]),
    ({"model.image.transformer.heads": 3}, ["width 16 is not a multiple of the 3 heads"]),
    ({"task.name": "contrastiv"}, ["task.name", "contrastive"]),
    ({"task.loss": "sigmoid"}, ["needs a logit bias: set model.bias_init"]),
    ({"checkpoint.metric": "validation/r1"}, ["measured by no validation"]),
    ({"warm_start": "nowhere"}, ["nowhere is no work directory with checkpoints"]),
], ids=lambda x: next(iter(x)) if isinstance(x, dict) else "")  # fmt: skip
def test_refused_before_training(good, tmp_path, refused, changes, parts):
    message = refused(command(good, tmp_path / "run", changes))
    for part in parts:
        assert part in message
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.parametrize("content, part", [
    ("", "has no rows"), ("\n\n", "has no rows"), ("image,text\n", "has no rows"),
    ('{"image": "0.png", "text"\n', "line 1"),
], ids=["nothing", "blank lines", "header alone", "broken"])  # fmt: skip
def test_manifests_without_rows(good, tmp_path, refused, content, part):
    path = tmp_path / ("list.csv" if content.startswith("image") else "list.jsonl")
    path.write_text(content)
    message = refused(command(good, tmp_path / "run", {"data.train.own.path": str(path)}))
    assert f"DataError: {path}" in message and part in message


@pytest.mark.parametrize("argument, parts", [
    ("--config.train.stepz=5", ["train.stepz", "Did you mean steps", "length of the run"]),
    ("--config.optimizer.clipnorm=5", ["optimizer.clipnorm", "clip_norm", "largest global grad"]),
    ("--config.train.steps=many", ["train.steps", "many", "int"]),
    ("--config.train.steps=2.5", ["train.steps", "2.5", "int"]),
    ("--config.optimizer.groups.0.optimizer=adam", ["optimizer.groups", "'adam'", "adamw"]),
    ("--config.model.image.patchsize=4", ["model.image.patchsize", "patch_size"]),
    ("--config.data.processor.augmentation.crop=5", ["data.processor.augmentation.crop", "5"]),
    ("--processes=here", ["--processes='here'", "host:port,count,number"]),
])  # fmt: skip
def test_mistyped_keys_and_values(good, tmp_path, refused, argument, parts):
    message = refused([*command(good, tmp_path), argument])
    for part in parts:
        assert part in message


@pytest.mark.parametrize("config, parts", [
    (OWN.replace("smoke", "smok"), ["smok", "smoke"]),
    ("configs/contrastive/clip_own.py", ["clip_own.py", "clip_own_data.py"]),
    ("", ["--config is missing"]),
])  # fmt: skip
def test_unknown_variants_and_files(good, tmp_path, refused, config, parts):
    message = refused(command(good, tmp_path, config=config))
    for part in parts:
        assert part in message


def test_more_classes_than_prompts(good, tmp_path, refused):
    """Found at the start, not at the first validation."""
    shutil.copytree(good, tmp_path / "photos")
    lines = [{**row, "label": i % 4} for i, row in enumerate(rows())]
    listed(tmp_path / "photos", lines)
    zero_shot = dict(name="zero_shot", class_names=("a", "b", "c"))
    test = {"classes": dict(source=dict(name="@own", split="all"), evaluator=zero_shot)}
    message = refused(command(tmp_path / "photos", tmp_path / "run", {"test": test}))
    assert "test.classes: 10 labels have no class name; example 3 has label 3" in message
    assert "the 3 classes are labels 0 to 2" in message
    test["classes"]["evaluator"]["class_names"] = ("a",)
    message = refused(command(tmp_path / "photos", tmp_path / "run", {"test": test}))
    assert "at least 2 class names, not 1" in message
    assert not (tmp_path / "run" / "checkpoints").exists()


def snapshot(folder):
    """Every file of a work directory and its content."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*")
            if path.is_file()}  # fmt: skip


def test_work_directory_of_another_config(good, finished, tmp_path, refused):
    before = snapshot(finished)
    other = {"seed": 5, "optimizer.clip_norm": 0.5}
    message = refused(command(good, finished, other))
    assert "holds a run with another config" in message
    assert "seed" in message and "5" in message and "optimizer.clip_norm" in message
    assert "give another --workdir" in message
    assert snapshot(finished) == before
    # what changes no number may change
    assert trained(good, finished, {"execution.threads": 0}).finished
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(command(good, tmp_path / "file"))
    assert "is no work directory" in refused(["--mode=evaluate", f"--workdir={tmp_path}"])


def test_other_data_than_was_trained_on(good, finished, tmp_path, refused):
    folder, photos = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(good, photos)
    shutil.copytree(finished, folder)
    (folder / "result.json").unlink()
    listed(photos, [{**row, "text": "other words"} for row in rows()])
    change = {"data.train.own.path": str(photos / "list.jsonl")}
    config = json.loads((folder / "config.json").read_text())
    config["data"]["train"]["own"]["path"] = change["data.train.own.path"]
    (folder / "config.json").write_text(json.dumps(config))
    message = refused(command(photos, folder))
    assert "CheckpointError: the data is not what step 3 was trained on" in message
    assert "Restore the data, or start anew in another --workdir" in message


def test_another_tokenizer_in_the_work_directory(good, finished, tmp_path, refused):
    """It is named, and not the data, which is what it was."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "result.json").unlink()
    (folder / "tokenizer.json").unlink()
    words = [f"word{number}" for number in range(600)]
    bpe.train(words, 300).save(folder / "tokenizer.json")
    message = refused(command(good, folder))
    named = f"CheckpointError: {folder / 'tokenizer.json'} is not the one that step 3 was trained"
    assert named in message and "the data is not" not in message


def test_checkpoint_of_another_model(good, finished, tmp_path, refused):
    """Checkpoints that were copied to where they do not belong: every tensor is named."""
    folder = tmp_path / "run"
    wider = {"model.image.transformer": {**TINY, "hidden": 24}}
    assert main.main([*command(good, folder, wider), "--mode=show"]) == 0
    folder.mkdir()
    shutil.copytree(finished / "checkpoints", folder / "checkpoints")
    shutil.copy(finished / "tokenizer.json", folder)
    config = json.loads((finished / "config.json").read_text())
    config["model"]["image"]["transformer"]["hidden"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    before = snapshot(folder / "checkpoints")
    message = refused(command(good, folder, wider))
    assert "CheckpointError" in message and "3/params is of another model" in message
    for name, need, found in (
        ("up/kernel", "(1, 16, 24)", "(1, 16, 16)"),
        ("up/bias", "(1, 24)", "(1, 16)"),
        ("down/kernel", "(1, 24, 16)", "(1, 16, 16)"),
    ):
        path = f"image/transformer/blocks/mlp/{name}"
        assert f"misshapen {path}: needs {need}, found {found}" in message
    assert snapshot(folder / "checkpoints") == before


def test_damaged_checkpoint(good, finished, tmp_path, refused):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "result.json").unlink()
    for file in (folder / "checkpoints" / "3" / "training" / "d").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    message = refused(command(good, folder))
    assert "checkpoints/3 is damaged; without that folder the run goes on from step 2" in message
    training = folder / "checkpoints" / "3" / "training"
    shutil.rmtree(training)
    shutil.copytree(folder / "checkpoints" / "2" / "training", training)  # whole, and another's
    with pytest.raises(CheckpointError, match="3 is damaged; .*not what was saved: training/"):
        Checkpoints(folder / "checkpoints").load("training")
    shutil.rmtree(folder / "checkpoints" / "3")
    assert trained(good, folder).finished
    assert (folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()


def test_steps_that_are_not_finite(good, tmp_path, refused):
    """One alone is skipped and named; three in a row stop the run, and say where to look."""
    poison = {"task": {"name": "toy.Poisoned", "steps": (1, 4, 5, 6)}, "train.steps": 9,
              "checkpoint.every": 2}  # fmt: skip
    arguments = command(good, tmp_path, poison)
    message = refused(arguments)
    metrics = read(tmp_path / "metrics.jsonl")
    assert [row["train/loss"] == "nan" for row in metrics] == [
        False, True, False, False, True, True, True,
    ]  # fmt: skip
    assert "step 2 was not finite (loss nan, gradient norm nan) and changed nothing" in message
    assert "NotFinite: 3 steps in a row were not finite, the last one 7 with loss nan" in message
    assert "(source:row): own:" in message and message.count("own:") >= 40
    assert "The last good checkpoint is step 6" in message
    assert "Lower the learning rate, or look at the examples: --mode=inspect --step=6" in message
    # nothing was lost and nothing was spoilt: the same command comes to the same end
    again = refused(arguments)
    assert "NotFinite: 3 steps in a row were not finite, the last one 7 with" in again


@pytest.mark.slow
def test_no_room_for_a_line_of_metrics(good, tmp_path, refused, monkeypatch):
    written = Writer._line

    def line(self, file, step, values):
        if step == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder / file))
        written(self, file, step, values)

    monkeypatch.setattr(Writer, "_line", line)
    message = refused(command(good, tmp_path))
    assert f"PathError: --workdir={tmp_path} (" in message and "metrics.jsonl): " in message
    assert "no room is left" in message
    assert "Complete checkpoints are kept" in message
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"1", "2"}
    monkeypatch.undo()
    assert trained(good, tmp_path).finished


@pytest.mark.slow
def test_disk_full(good, tmp_path):
    """Files may no longer grow once a checkpoint is there: it survives, and the message says so."""
    cache = {**os.environ, "MMJAX_CACHE": str(tmp_path / "cache"), "XLA_FLAGS": haste.FLAGS}
    long = {"train.steps": 100_000, "train.log_every": 1000, "checkpoint.every": 5}
    arguments = [sys.executable, "-m", "mmjax.main", *command(good, tmp_path / "run", long)]
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=cache, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 120
    while not any(path.name.isdigit() for path in checkpoints.glob("*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 2, message
    assert "Traceback" not in message
    assert "CheckpointError: a checkpoint could not be written in" in message
    kept = max(int(path.name) for path in checkpoints.glob("*") if path.name.isdigit())
    assert f"(step {kept} is complete and kept)" in message
    # with room again, the same command goes on from there
    short = [*arguments, "--config.train.steps=100000"]
    process = subprocess.Popen(
        short, cwd=ROOT, env=cache, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while "going on from step" not in (line := process.stdout.readline()):
        assert line, "the run ended"
    process.kill()
    process.wait()
    assert f"going on from step {kept}" in line
