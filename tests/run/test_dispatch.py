"""How a command ends: exit statuses, one line about a path, output in any encoding, signals."""

import contextlib
import errno
import io
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmjax import main
from mmjax.commands import prepare, train
from mmjax.errors import REASONS, PathError, about_path
from mmjax.run import dispatch, options, runtime, workdir
from mmjax.run.options import Execution

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "configs/contrastive/clip_emoji.py:smoke"


@pytest.fixture
def raising(monkeypatch):
    """A function: a command that raises this, run with these flags; its exit status."""

    def run(error, *flags):
        def broken(options):
            raise error

        monkeypatch.setattr(prepare, "run", broken)
        return dispatch.run(["--mode=prepare", *flags])

    return run


@pytest.mark.parametrize("number", REASONS)
def test_what_the_system_says_of_a_path_is_one_line(number, raising, tmp_path, capsys):
    error = OSError(number, os.strerror(number), str(tmp_path / "list" / "a.py"))
    assert raising(error, f"--config={tmp_path / 'list'}") == 2
    said = capsys.readouterr().err
    assert f"PathError: --config={tmp_path / 'list'} ({tmp_path / 'list' / 'a.py'}): " in said
    assert REASONS[number] in said and "Traceback" not in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("error", [OSError(errno.EINVAL, "no", "/a"), OSError("without number"),
                                   OSError(errno.EACCES, "of no path")])  # fmt: skip
def test_what_is_no_paths_fault_keeps_its_traceback(error, raising):
    with pytest.raises(OSError):
        raising(error)


@pytest.mark.parametrize(
    "path, flag",
    [
        ("/runs/new/run/lock", "--workdir=/runs/new/run (/runs/new/run/lock)"),
        ("/runs/new/run", "--workdir=/runs/new/run"),
        ("/runs/new", "--workdir=/runs/new/run (/runs/new)"),  # above it, and could not be made
        ("/runs/new/run2", "/runs/new/run2"),
        ("/data/out.npy.part", "--out=/data/out.npy (/data/out.npy.part)"),
        ("/elsewhere/x", "/elsewhere/x"),
    ],
)
def test_the_flag_that_named_a_path_is_found(path, flag):
    named = {"--workdir": "/runs/new/run", "--out": "/data/out.npy", "--query": "a big cat"}
    told = about_path(PermissionError(errno.EACCES, "no", path), named)
    assert isinstance(told, PathError) and str(told).startswith(f"{flag}: this user has no")


def unusable(folder):
    """Paths that no user, root neither, can make a file at."""
    (folder / "file").write_text("")
    (folder / "loop").symlink_to("loop")
    return {
        "file": folder / "file" / "x.png",
        "loop": folder / "loop" / "x.png",
        "name": folder / f"{'n' * 300}.png",
    }


REASONS_OF = {
    "file": (REASONS[errno.ENOTDIR], REASONS[errno.EEXIST]),
    "loop": (REASONS[errno.ELOOP], REASONS[errno.EEXIST]),
    "name": (REASONS[errno.ENAMETOOLONG],),
}


@pytest.mark.parametrize("kind", REASONS_OF)
def test_paths_that_cannot_be_used(kind, tmp_path, monkeypatch, capsys):
    """As a work directory, as --out, and as the folder of data."""
    path = unusable(tmp_path)[kind]
    for flag, words in (
        ("--workdir", [f"--config={CONFIG}"]),
        ("--out", ["--mode=search", "--query=a cat"]),
    ):
        assert main.main([*words, f"{flag}={path}"]) == 2
        said = capsys.readouterr().err
        assert f"PathError: {flag}={path}" in said and "Traceback" not in said
        assert said.strip().endswith(REASONS_OF[kind])
    monkeypatch.setenv("MMJAX_DATA", str(path))
    assert main.main(["--mode=prepare", "--set=tabler"]) == 2
    assert f"PathError: $MMJAX_DATA={path}" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_one_note(tmp_path, monkeypatch, capsys):
    import jax

    before = jax.config.jax_compilation_cache_dir
    folder = unusable(tmp_path)["file"]
    monkeypatch.setenv("MMJAX_CACHE", str(folder))
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        runtime.prepare(Execution())
        runtime.prepare(Execution())
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    said = capsys.readouterr().err
    assert said.count("note: compiled programs are not kept") == 1
    assert f"$MMJAX_CACHE={folder}" in said


@pytest.mark.parametrize("encoding, shown", [
    ("ascii", "\\u732b caf\\xe9 \\udcff"), ("latin-1", "\\u732b caf\xe9 \\udcff"),
    ("utf-8", "\u732b caf\xe9 \\udcff"),
])  # fmt: skip
def test_output_in_any_encoding(encoding, shown, monkeypatch):
    """A letter that the terminal lacks is shown as its escape."""
    monkeypatch.setattr(prepare, "run", lambda options: print("\u732b caf\xe9 \udcff"))
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding=encoding) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert dispatch.run(["--mode=prepare"]) == 0
        assert written.getvalue().decode(encoding) == f"{shown}\n"


def test_a_message_gives_no_orders_to_the_terminal(raising, capsys):
    assert raising(FileNotFoundError("there is no \x1b[2Jcat\r.png\nor dog.png")) == 2
    assert "there is no \\x1b[2Jcat\\r.png\nor dog.png" in capsys.readouterr().err


INTERRUPTS_ITSELF = """
import os, signal, time
os.kill(os.getpid(), signal.SIGINT)
time.sleep(30)
"""
# as a terminal starts a program, whatever the tests themselves ignore
STARTS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", "mmjax.main", "--mode=prepare"])
"""


def test_ctrl_c_during_imports(tmp_path):
    """One line, whatever is being imported."""
    (tmp_path / "jax.py").write_text(INTERRUPTS_ITSELF)
    done = subprocess.run(
        [sys.executable, "-c", STARTS], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=ROOT, capture_output=True, text=True, timeout=25,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")


@pytest.mark.parametrize("number, status", [
    (0, 0), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129),
    (signal.SIGUSR1, 138),
])  # fmt: skip
def test_a_run_that_was_stopped_is_no_success(number, status, monkeypatch, tmp_path):
    def stopped(config, folder, started):
        return train.Trained(folder, {}, not number, number)

    monkeypatch.setattr(train, "train", stopped)
    assert dispatch.run([f"--config={CONFIG}", f"--workdir={tmp_path}"]) == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_before_the_first_step(number, monkeypatch, capsys):
    before = signal.getsignal(number)
    monkeypatch.setattr(train, "run", lambda options: signal.raise_signal(number))
    with pytest.raises(SystemExit) as left:
        dispatch.run(["--mode=train"])
    assert left.value.code == 128 + number
    said = f"{number.name}: the same command goes on from the last checkpoint"
    assert said in capsys.readouterr().err
    assert signal.getsignal(number) == before


def test_the_command_can_be_pasted_into_a_shell(monkeypatch):
    words = [
        "--config=configs/x.py:data.train.own.path=my photos/list.jsonl,train.steps=150",
        "--config.test={'a': (1, 2)}", "--workdir=it's $HOME", "--config.name=",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["/somewhere/mmjax/main.py", *words])
    assert shlex.split(workdir.command_line()) == ["python", "-m", "mmjax.main", *words]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/mmjax", *words])
    assert shlex.split(workdir.command_line()) == ["mmjax", *words]


@pytest.mark.parametrize("config", [
    "configs/contrastive/clip_emoji.py",
    "configs/contrastive/clip_emoji.py:smoke",
    "configs/contrastive/clip_emoji.py:data.train.emoji.tags=2,train.steps=150",
    "configs/contrastive/clip_emoji.py:warm_start=a/list.jsonl,train.steps=150",
])  # fmt: skip
def test_a_run_is_named_after_its_config(config):
    assert options.read(config).name == "clip_emoji"
    assert options.workdir_of(config) == Path("runs/clip_emoji")
    assert options.read(config, ["name=mine"]).name == "mine"


def test_signals_are_listened_to_in_the_main_thread_alone():
    """A notebook may train in another thread, where Python sets no handlers."""
    import threading

    found = []

    def enter():
        with contextlib.suppress(ValueError), dispatch._stopped_by_signals():
            found.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [True]
