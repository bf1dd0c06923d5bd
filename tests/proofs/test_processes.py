"""Two processes are one run: same numbers, same examples, checkpoints in common, one clean stop.

On CPUs, with gloo between them: one process with two devices against two with a device each.
"""

import json
import os
import shutil
import signal
import socket

import numpy as np
import pytest
from attempts import Attempt, result

from mmjax.run import workdir
from mmjax.training.checkpoint import Checkpoints
from mmjax.training.writer import read

TINY = dict(width=32, heads=2, hidden=32, layers=1, unroll=1, dtype="float32")
SGD = dict(optimizer="sgd", learning_rate=0.01, schedule="constant")  # Muon takes long to compile
SMALL = [
    f"--config.model.image.transformer={TINY}", f"--config.model.text.transformer={TINY}",
    "--config.model.embedding=16", "--config.data.batch_size=32", "--config.ema=0.5",
    "--config.data.processor.vocab_size=512", f"--config.optimizer.groups=({SGD},)",
    "--config.execution.tensorboard=False",
]  # fmt: skip
SPLIT = dict(name="emoji", split="test/unseen_concept")
TEST = dict(source=SPLIT, evaluator=dict(name="retrieval"))
SHORT = [*SMALL, "--config.train.steps=8", "--config.train.evaluate_every=4",
         f"--config.test={dict(unseen_concept=TEST)}"]  # fmt: skip
LONG = [*SMALL, "--config.train.steps=100", "--config.validation={}", "--config.test={}",
        "--config.checkpoint.metric="]  # fmt: skip
TENSOR = ["--config.execution.mesh.data=1", "--config.execution.mesh.tensor=2"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled programs of this file's runs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def alone(cache, tmp_path_factory):
    """A run of one process."""
    folder = tmp_path_factory.mktemp("one") / "run"
    Attempt(folder, cache, *SHORT, devices=2).end()
    return folder


@pytest.fixture(scope="module")
def together(cache, tmp_path_factory):
    """The same run as two processes, and what they said."""
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, ended(two(folder, cache, SHORT))


def two(folder, cache, flags):
    """Starts a run as two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [Attempt(folder, cache, *flags, f"--processes=127.0.0.1:{port},2,{number}")
            for number in range(2)]  # fmt: skip


def ended(attempts, statuses=(0, 0), seconds=200):
    """Waits for both to end with these statuses; what each said. None is left behind."""
    try:
        return [
            attempt.end(status, seconds)
            for attempt, status in zip(attempts, statuses, strict=True)
        ]
    finally:
        for attempt in attempts:
            attempt.kill()


def equal(folder, other):
    """Same lines, same names; every number, evaluations' too, to 1e-5 of its size."""
    first, second = (read(one / "metrics.jsonl") for one in (folder, other))
    assert [list(row) for row in first] == [list(row) for row in second]
    for one, two in zip(first, second, strict=True):
        np.testing.assert_allclose(list(one.values()), list(two.values()), rtol=1e-5, atol=1e-7)
    one, two = result(folder), result(other)
    assert list(one) == list(two) and len(one) > 30
    np.testing.assert_allclose(list(one.values()), list(two.values()), rtol=1e-5)


def cut(folder, copy):
    """A copy of a run as if it had been killed after its checkpoint of step 4."""
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "checkpoints" / "8")
    for name in ("result.json", "report.html"):
        (copy / name).unlink()
    assert Checkpoints(copy / "checkpoints", read_only=True).steps() == (4,)


@pytest.mark.slow
def test_two_processes_train_as_one(alone, together):
    """Losses, learning from the same examples, evaluations, the files and who writes them."""
    folder, (said, silent) = together
    equal(alone, folder)
    rows = [row["step"] for row in read(folder / "metrics.jsonl") if "train/loss" in row]
    assert rows == list(range(1, 9)), "a line a step, by one process"
    names = [sorted(str(path.relative_to(one)) for path in one.rglob("*")
                    if "checkpoints" not in path.parts) for one in (alone, folder)]  # fmt: skip
    assert names[0] == names[1], "no file of process 1, none half written"
    about = [Checkpoints(one / "checkpoints", read_only=True).about(8) for one in (alone, folder)]
    assert about[0]["data"] == about[1]["data"]
    assert (alone / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert json.loads((folder / "environment.json").read_text())["processes"] == 2
    assert (folder / "report.html").read_text().endswith("</html>\n")
    assert "held out" in said and "report:" in said
    assert [line for line in silent.splitlines() if "[Gloo]" not in line] == []


@pytest.mark.slow
@pytest.mark.parametrize("written_by", ["one", "two"])
def test_checkpoint_of_one_continued_by_the_other(written_by, alone, together, cache, tmp_path):
    """Step 4 of the one, steps 5 to 8 of the other: the numbers of the undisturbed run."""
    copy = tmp_path / "run"
    if written_by == "one":
        cut(alone, copy)
        said = ended(two(copy, cache, SHORT))[0]
    else:
        cut(together[0], copy)
        said = Attempt(copy, cache, *SHORT, devices=2).end()
    assert "going on from step 4" in said
    equal(copy, alone)
    assert Checkpoints(copy / "checkpoints", read_only=True).steps() == (4, 8)


@pytest.mark.slow
def test_processes_that_cut_parameters_read_the_same_rows(alone, cache, tmp_path):
    """A mesh with `tensor` over the processes: each holds half of the model, and sees every row."""
    ended(two(tmp_path / "run", cache, [*SHORT, *TENSOR]))
    equal(tmp_path / "run", alone)


@pytest.mark.slow
def test_both_are_refused_where_another_run_trains(cache, tmp_path):
    """At once, with the same message: none waits for the other."""
    with workdir.locked(tmp_path / "run"):
        attempts = two(tmp_path / "run", cache, SHORT)
        try:
            said = [attempt.end(2, seconds=60) for attempt in attempts]
        finally:
            for attempt in attempts:
                attempt.kill()
    for one in said:
        assert f"ConfigError: process {os.getpid()} on " in one and "stop it, or give" in one
        assert "Traceback" not in one


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, to, statuses",
    [
        (signal.SIGTERM, (0, 1), (143, 143)),
        # who did not get the signal itself is told of a SIGTERM
        (signal.SIGINT, (1,), (143, 130)),
        (signal.SIGUSR1, (1,), (143, 138)),
    ],
)
def test_signal_stops_both_at_one_step(number, to, statuses, cache, tmp_path):
    """SIGTERM to both, or another signal to one: both save one checkpoint, and can go on."""
    attempts = two(tmp_path / "run", cache, LONG)
    assert attempts[0].until(lambda: attempts[0].steps() >= 2), attempts[0].output()
    for one in to:
        attempts[one].kill(number)
    said = ended(attempts, statuses, seconds=60)
    (step,) = Checkpoints(tmp_path / "run" / "checkpoints", read_only=True).steps()
    assert 2 <= step < 100 and f"saved at step {step};" in said[0]
    assert not (tmp_path / "run" / "result.json").exists()
    assert attempts[0].steps() == step
    if number != signal.SIGTERM:
        return
    said = ended(two(tmp_path / "run", cache, LONG))
    assert f"going on from step {step}" in said[0]
    assert [row["step"] for row in read(tmp_path / "run" / "metrics.jsonl")] == [*range(1, 101)]
    assert result(tmp_path / "run")["steps"] == 100
