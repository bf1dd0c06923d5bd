"""Killed, stopped and continued: the run is the one that nobody disturbed.

`clip_emoji.py:smoke` as a user starts it, in processes of its own. On the same devices and threads
everything is equal bit for bit; on others the examples are the same and the losses equal to 1e-5.
"""

import random
import shutil
import signal
import time

import pytest
from attempts import EXACT, Attempt, back_to, close, same

from mmjax.run.assembly import Run
from mmjax.run.workdir import load_options
from mmjax.training.writer import read

pytestmark = pytest.mark.slow
GRACE = 20  # seconds between SIGTERM and SIGKILL; Slurm and Kubernetes give 30


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled programs, so that a restart takes seconds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    attempt = Attempt(tmp_path_factory.mktemp("undisturbed") / "run", cache)
    attempt.end()
    return attempt.folder


def steps_from(count):
    """After so many steps of this attempt."""

    def reached(attempt):
        first = attempt.steps()
        return lambda: attempt.new("metrics.jsonl") and attempt.steps() >= first + count

    return reached


def appears(pattern):
    """When such a file is made."""
    return lambda attempt: lambda: attempt.new(pattern)


SAVE, WHOLE = "checkpoints/*.orbax-checkpoint-tmp", "checkpoints/[1-9]0"
VALIDATION, TEST = "pictures/*/validation/**/*.png", "pictures/*/test/**/*.png"
# (what it is about, the event that is waited for, seconds after it up to)
MOMENTS = [
    ("start", appears("config.json"), 3.0),
    ("first steps", steps_from(1), 0.1),
    ("validation", appears(VALIDATION), 1.0),
    ("save", appears(SAVE), 0.05),
    ("step after a save", appears(WHOLE), 0.1),
    ("some steps later", steps_from(2), 0.1),
    ("second save", appears(SAVE), 0.15),
    ("second validation", appears(VALIDATION), 1.0),
    ("deletion", appears("checkpoints/deleted/*"), 0.02),
    ("the very end", appears(TEST), 1.0),
]


def test_killed_ten_times(undisturbed, cache, tmp_path):
    rng, folder, killed = random.Random(0), tmp_path / "run", []
    for what, event, delay in MOMENTS:
        attempt = Attempt(folder, cache)
        assert attempt.until(event(attempt)), f"{what}: the run ended before it\n{attempt.output()}"
        time.sleep(rng.uniform(0, delay))
        attempt.kill()
        status = attempt.process.wait()
        killed.append((what, status, sorted(p.name for p in folder.glob("checkpoints/*"))))
    assert all(status == -signal.SIGKILL for _, status, _ in killed), killed
    Attempt(folder, cache).end()
    same(folder, undisturbed)
    # nothing half-done lies about
    names = {path.name for path in folder.glob("checkpoints/*")}
    assert names == {path.name for path in undisturbed.glob("checkpoints/*")}
    assert not list(folder.rglob("*.tmp"))


OWN = dict(name="manifest", path="experiments/own_data/pictures.jsonl")
MIXED = f"--config.data.train.own={OWN}"
FORMS = {
    "mixture": (MIXED, "--config.data.batch_size=32"),
    "buckets": (
        "--config.data.processor.pad_to=0",
        "--config.data.processor.buckets=(8, 12, 16, 24)",
    ),
    "packing": ("--config.data.processor.pack=16", "--config.data.processor.pack_length=48"),
}


@pytest.mark.parametrize("form", FORMS)
def test_killed_whatever_the_form_of_its_batches(form, cache, tmp_path):
    """A mixture of two sources, length buckets, packed captions: killed three times on other
    threads."""
    Attempt(tmp_path / "whole", cache, *FORMS[form]).end()
    folder = tmp_path / "killed"
    for what, event, delay in (MOMENTS[1], MOMENTS[3], MOMENTS[5]):
        attempt = Attempt(folder, cache, *FORMS[form], "--config.execution.threads=2")
        assert attempt.until(event(attempt)), f"{what}\n{attempt.output()}"
        time.sleep(delay / 2)
        attempt.kill()
        attempt.process.wait()
    Attempt(folder, cache, *FORMS[form]).end()
    same(folder, tmp_path / "whole")


def test_packed_captions_on_another_number_of_devices(cache, tmp_path):
    whole = Attempt(tmp_path / "whole", cache, *EXACT, *FORMS["packing"])
    whole.end()
    folder = back_to(8, whole.folder, tmp_path / "part")
    Attempt(folder, cache, *EXACT, *FORMS["packing"], devices=4).end()
    close(folder, whole.folder)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, cache):
    """A run that was told to stop between two saves: (its folder, the step it was saved at)."""
    attempt = Attempt(tmp_path_factory.mktemp("stopped") / "run", cache)
    assert attempt.until(lambda: attempt.steps() >= 12)
    begun = time.monotonic()
    attempt.kill(signal.SIGTERM)
    said = attempt.end(143, seconds=GRACE)
    assert time.monotonic() - begun < GRACE
    assert "Traceback" not in said
    step = max(int(path.name) for path in attempt.folder.glob("checkpoints/*"))
    assert f"SIGTERM: saved at step {step}; the same command goes on from there" in said
    assert attempt.steps() == step and step % 10 and not (attempt.folder / "result.json").exists()
    return attempt.folder, step


def continued(stopped, folder, cache, *flags, **how):
    shutil.copytree(stopped[0], folder)
    attempt = Attempt(folder, cache, *flags, **how)
    said = attempt.end()
    assert f"going on from step {stopped[1]}" in said
    return folder


def test_sigterm_saves_and_the_run_goes_on(undisturbed, stopped, cache, tmp_path):
    folder = continued(stopped, tmp_path / "run", cache)
    assert (folder / "metrics.jsonl").read_bytes() == (undisturbed / "metrics.jsonl").read_bytes()
    same(folder, undisturbed)


def test_other_devices(cache, tmp_path):
    whole = Attempt(tmp_path / "whole", cache, *EXACT)
    whole.end()
    folder = back_to(8, whole.folder, tmp_path / "part")
    assert "4 device(s); going on from step 8" in Attempt(folder, cache, *EXACT, devices=4).end()
    close(folder, whole.folder)


def test_other_threads_and_workers(undisturbed, stopped, cache, tmp_path):
    flags = ("--config.execution.threads=3", "--config.execution.workers=2")
    folder = continued(stopped, tmp_path / "run", cache, *flags)
    same(folder, undisturbed)


def test_the_examples_of_a_step_do_not_depend_on_the_start(stopped):
    """Ids, pixels and captions of steps 12 to 14, begun anywhere, read by any number of threads."""
    run = Run(load_options(stopped[0]), stopped[0])
    for start, threads in ((0, 3), (12, 1), (13, 0)):
        run.pipeline.threads = threads
        with run.batches(run.pipeline, start, 15) as batches:
            for number, batch in enumerate(batches, start):
                if number >= 12:
                    again = run.pipeline.batch(number).arrays
                    assert all((batch.arrays[name] == again[name]).all() for name in again)


def test_ctrl_c(cache, tmp_path):
    """One message, saved, exit 130; in a hurry, twice: exit 130, and nothing is lost."""
    attempt = Attempt(tmp_path / "run", cache)
    assert attempt.until(lambda: attempt.steps() >= 3)
    attempt.kill(signal.SIGINT)
    said = attempt.end(130)
    step = attempt.steps()
    assert said.count("SIGINT: saved") == 1 and "Traceback" not in said
    assert f"SIGINT: saved at step {step}; the same command goes on from there" in said
    assert (attempt.folder / "report.html").exists()

    attempt = Attempt(attempt.folder, cache)
    assert attempt.until(lambda: attempt.new("pictures/00000010/**/*.png"))
    attempt.kill(signal.SIGINT)
    assert attempt.until(lambda: "Ctrl-C again" in attempt.output())  # the validation goes on
    attempt.kill(signal.SIGINT)
    said = attempt.end(130)
    assert f"going on from step {step}" in said
    assert "interrupted" in said and "Traceback" not in said
    assert max(row["step"] for row in read(attempt.folder / "metrics.jsonl")) == 10


@pytest.mark.parametrize("number, status", [(signal.SIGHUP, 129), (signal.SIGUSR1, 138)])
def test_other_signals_save_and_stop_too(number, status, cache, tmp_path):
    """The connection is gone; Slurm warns that the time is over."""
    attempt = Attempt(tmp_path / "run", cache)
    assert attempt.until(lambda: attempt.steps() >= 3)
    attempt.kill(number)
    said = attempt.end(status, seconds=GRACE)
    step = attempt.steps()
    name = signal.Signals(number).name
    assert f"{name}: saved at step {step}; the same command goes on from there" in said
    assert step % 10 and (attempt.folder / "checkpoints" / str(step)).exists()


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_before_the_first_step(number, status, cache, tmp_path):
    attempt = Attempt(tmp_path / "run", cache)
    assert attempt.until(lambda: attempt.new("config.json"))
    attempt.kill(number)
    said = attempt.end(status)
    name = signal.Signals(number).name
    assert f"{name}: the same command goes on from the last checkpoint" in said
    assert "Traceback" not in said
