"""A command's flags are the fields of its Options, and every command has both."""

import dataclasses
from typing import Literal

import pytest

from mmjax import flags, registry
from mmjax.config import ConfigError
from mmjax.run import dispatch


@dataclasses.dataclass(frozen=True)
class Options:
    config: str = ""  # a config file
    step: int | None = None  # of a checkpoint
    side: int = 256  # pixels
    names: tuple[str, ...] = ()  # commas between
    split: Literal["validation", "test"] = "validation"  # of a set
    again: bool = False  # once more
    changes: tuple[str, ...] = ()  # of the config


def parse(*words):
    return flags.parse(Options, words, name="mmjax --mode=toy")


def test_words_become_the_types_of_the_fields():
    found = parse("--step=3", "--side", "64", "--names=a,b", "--split=test", "--again")
    assert found == Options(step=3, side=64, names=("a", "b"), split="test", again=True)
    assert parse() == Options()


def test_settings_of_the_config_go_beside_it():
    found = parse("--config=x.py:smoke", "--config.train.steps=20", "--config.test={'a': 1}")
    assert found.config == "x.py:smoke"
    assert found.changes == ("train.steps=20", "test={'a': 1}")


def test_a_command_without_a_config_says_so():
    @dataclasses.dataclass(frozen=True)
    class Plain:
        side: int = 1  # pixels

    with pytest.raises(ConfigError, match="toy reads no config, so --config.a=1 changes nothing"):
        flags.parse(Plain, ["--config.a=1"], name="toy")


@pytest.mark.parametrize(
    "word, message",
    [
        ("--sied=3", "unrecognized arguments: --sied=3"),
        ("--side=x", "argument --side: invalid int value: 'x'"),
        ("--split=train", "argument --split: invalid choice: 'train'"),
    ],
)
def test_a_word_that_cannot_be_used_shows_the_usage(capsys, word, message):
    with pytest.raises(SystemExit) as left:
        parse(word)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_help_is_the_comment_beside_a_field(capsys):
    with pytest.raises(SystemExit) as left:
        parse("--help")
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert "of a checkpoint" in out and "commas between" in out


@pytest.mark.parametrize("name", registry.names(dispatch.ROOM))
def test_every_command_has_options_and_runs(name):
    module = registry.find(dispatch.ROOM, name)
    assert dataclasses.is_dataclass(module.Options) and callable(module.run)
    assert flags.parse(module.Options, [], name=name) is not None


def test_help_without_a_mode_lists_the_modes(capsys):
    with pytest.raises(SystemExit):
        dispatch.run(["--help"], about="what it is")
    out = capsys.readouterr().out
    assert "what it is" in out and "train" in out and "export" in out


def test_a_misspelt_mode_is_told_the_nearest(capsys):
    assert dispatch.run(["--mode=trian"]) == 2
    assert "Did you mean 'train'" in capsys.readouterr().err
