"""`--mode=config`: every field of a config in a line."""

import dataclasses

import pytest

from mmjax import config as configs
from mmjax.main import main
from mmjax.run import fields
from mmjax.run.options import Options, read
from tests.golden import make_configs

EMOJI = "configs/contrastive/clip_emoji.py"


def listed(config):
    return {line.path: line for line in fields.lines(config)}


def leaves(tree, prefix=""):
    """The dotted paths of a resolved config."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        nested = isinstance(value, dict) or (
            isinstance(value, tuple) and value and isinstance(value[0], dict)
        )
        if nested and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key)


@pytest.mark.parametrize("path", make_configs.runs(), ids=lambda path: path.stem)
def test_every_field_of_every_config_is_listed(path):
    options = read(str(path))
    found = listed(options)
    resolved = [one for one in leaves(configs.to_dict(options)) if not one.endswith(".variant")]
    whole = tuple(f"{line.path}." for line in found.values() if line.value)  # a mapping of texts
    missing = [one for one in resolved if one not in found and not one.startswith(whole)]
    # of what is declared with its defaults alone ("columns.audio={}") the fields are listed
    missing = [one for one in missing if not any(path.startswith(f"{one}.") for path in found)]
    # the name of a member of a union says which fields follow
    assert all(one.endswith(".name") for one in missing), missing
    assert not [line.path for line in found.values() if "NO SUCH" in line.help]


def test_a_line_has_type_value_default_and_help():
    found = listed(read(f"{EMOJI}:train.steps=70"))
    assert str(found["train.steps"]) == "train.steps: int = 70 (default 1000)  # length of the run"
    assert str(found["model.image.patch_size"]) == (
        "model.image.patch_size: int = 12 (default 16)  # pixels along each edge"
    )
    # the data says how large pictures are: nothing is claimed of what the config leaves open
    assert str(found["model.image.image_size"]).startswith(
        "model.image.image_size: int (default 224)"
    )
    assert found["optimizer.groups.0.optimizer"].value == "'muon'"
    assert str(found["optimizer"]) == "optimizer:  # rules by parameter path"
    assert found["data.train.emoji.split"].help == "one of SPLITS"


def test_what_no_part_knows_is_said():
    found = listed(read(f"{EMOJI}:task.mixpu=True"))
    assert "NO SUCH FIELD" in str(found["task.mixpu"])


def test_the_command(capsys):
    assert main(["--mode=config", f"--config={EMOJI}:smoke"]) == 0
    assert "optimizer.clip_norm: float = 1.0  # largest global" in capsys.readouterr().out
    assert main(["config"]) == 0
    alone = capsys.readouterr().out
    every = [field.name for field in dataclasses.fields(Options)]
    assert [name for name in every if f"\n{name}:" not in "\n" + alone] == []
    assert "train.steps: int" in alone
