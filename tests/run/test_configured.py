"""What the data needs goes into the configs of models and tasks that have such fields."""

import dataclasses
import sys
import types

import pytest

from mmjax.config import ConfigError, Spec
from mmjax.processors.base import AtLeast
from mmjax.run.assembly import largest
from mmjax.run.configured import configured


@dataclasses.dataclass(frozen=True)
class Tower:
    vocab_size: int = 100  # ids
    width: int = 8  # D


@dataclasses.dataclass(frozen=True)
class Config:
    side: int = 32  # pixels
    text: Tower = Tower(50, 16)  # reads
    label: int | None = None  # a class


VARIANTS = {"wide": Config(text=Tower(50, 64))}


@pytest.fixture(autouse=True)
def part(monkeypatch):
    module = types.ModuleType("a_part")
    module.Config = Config
    module.VARIANTS = VARIANTS
    monkeypatch.setitem(sys.modules, "a_part", module)
    monkeypatch.setattr("mmjax.registry.find", lambda *arguments, **named: module)


def made(sizes=None, **fields):
    return configured("room", Spec("a_part", fields), "model", sizes)[1]


def test_sizes_go_in_and_leave_the_rest_as_it_is():
    found = made({"side": 48, "text.vocab_size": AtLeast(70)})
    assert found == Config(48, Tower(70, 16))  # the default tower's width stays
    assert type(found.text.vocab_size) is int
    assert made({"text.vocab_size": AtLeast(70)}, variant="wide").text == Tower(70, 64)


def test_a_path_that_the_config_lacks_is_left_out():
    assert made({"audio.bins": 80, "text.bins": 3}) == Config()


def test_what_is_stated_has_to_do():
    assert made({"text.vocab_size": AtLeast(70)}, text={"vocab_size": 90}).text.vocab_size == 90
    with pytest.raises(ConfigError, match="model.text.vocab_size is 60, .* needs at least 70"):
        made({"text.vocab_size": AtLeast(70)}, text={"vocab_size": 60})
    with pytest.raises(ConfigError, match="model.side is 64, but the data needs 48; leave it out"):
        made({"side": 48}, side=64)


def test_parts_that_share_a_model_agree_on_its_sizes():
    assert largest(AtLeast(3), AtLeast(5)) == 5 and largest(None, 4) == 4 and largest(4, 4) == 4
    with pytest.raises(ConfigError, match="need 4 and 5 of one size"):
        largest(4, 5)


def test_an_unknown_variant_lists_those_that_there_are():
    with pytest.raises(ConfigError, match="model.variant: a_part has no 'tall'; it has wide"):
        made(variant="tall")
