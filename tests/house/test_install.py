"""What `pip install .` brings: the configs, the example, and a command `mmjax`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmjax.run import dispatch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("words", [["--mode=trian", "--step=1"], ["trian", "--step=1"]])
def test_the_first_word_is_the_mode(words, capsys):
    assert dispatch.run(words) == 2
    assert "there is no 'trian' in mmjax.commands. Did you mean 'train'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["show", "--help"], ["--mode=show", "--help"]])
def test_a_mode_has_help_of_its_own(words, capsys):
    with pytest.raises(SystemExit):
        dispatch.run(words)
    assert "usage: mmjax show" in capsys.readouterr().out


def test_two_modes_are_refused(capsys):
    with pytest.raises(SystemExit):
        dispatch.run(["show", "--mode=train"])
    assert "unrecognized arguments: --mode=train" in capsys.readouterr().err


@pytest.mark.slow
def test_a_wheel_brings_configs_and_a_command(tmp_path):
    """In an environment of its own, which sees the packages of this one."""

    def run(*words, cwd=tmp_path):
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(word) for word in words], cwd=cwd, env=clean, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    source = tmp_path / "source"
    for name in ("mmjax", "configs", "experiments/own_data"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-r", ROOT / name, source / name)
    for name in ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        run("cp", ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", source)
    (wheel,) = tmp_path.glob("mmjax-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(python, "-c", where).strip())
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel)
    (packages / "other.pth").write_text(run(sys.executable, "-c", where))
    empty = tmp_path / "empty"
    empty.mkdir()
    mmjax = tmp_path / "venv" / "bin" / "mmjax"
    config = "--config=configs/contrastive/clip_emoji.py:smoke"
    assert "parameters" in run(mmjax, "show", config, cwd=empty)
    module = run(python, "-m", "mmjax.main", "--mode=show", config, cwd=empty)
    assert "parameters" in module
    said = run(
        python, "-c", "import mmjax; print(mmjax.__file__)\n"
        "config = mmjax.load_config('configs/contrastive/clip_own_data.py')\n"
        "import pathlib; path = pathlib.Path(config.data.train.own.path)\n"
        "print(path.is_file() and len(list((path.parent / 'pictures').iterdir())))",
        cwd=empty,
    )  # fmt: skip
    assert said.splitlines()[0].startswith(str(packages))
    assert int(said.splitlines()[1]) >= 48
