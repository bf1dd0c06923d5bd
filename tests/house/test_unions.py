"""Unions of dataclasses in a config: the `name` in a sub-tree picks the member."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import pytest

from mmjax import config
from mmjax.config import ConfigError
from mmjax.models import bert, resnet, text, vit


@dataclasses.dataclass(frozen=True)
class Plain:
    width: int = 3  # of a row


@dataclasses.dataclass(frozen=True)
class Deep:
    depth: int = 2  # rows


@dataclasses.dataclass(frozen=True)
class Towers:
    image: vit.Config | resnet.Config = vit.Config()  # the image tower
    text: text.Config | bert.Config | None = None  # the text tower
    more: tuple[vit.Config | resnet.Config, ...] = ()  # others
    named: Mapping[str, vit.Config | resnet.Config] = dataclasses.field(default_factory=dict)
    one: Plain | None = None  # of one class alone
    same: Plain | Deep = Deep()  # of classes in one file


def build(**tree):
    return config.build(Towers, tree)


def refusal(**tree) -> str:
    with pytest.raises(ConfigError) as caught:
        build(**tree)
    return str(caught.value)


def test_a_name_picks_the_member():
    assert build(image=dict(name="resnet", width=8)).image == resnet.Config(width=8)
    assert build(image=dict(name="vit", patch_size=8)).image == vit.Config(patch_size=8)
    assert build(image=resnet.Config()).image == resnet.Config()
    assert build(text=dict(name="bert")).text == bert.Config()
    assert build(text=None).text is None


@pytest.mark.parametrize("name", ["mmjax.models.resnet", "mmjax.models.resnet.Config"])
def test_a_full_path_picks_it_too(name):
    assert build(image=dict(name=name)).image == resnet.Config()


def test_without_a_name_it_is_the_class_of_the_default():
    assert build(image=dict(patch_size=8)).image == vit.Config(patch_size=8)
    assert build(image={}).image == vit.Config()
    # or of the only one that has all the keys
    assert build(text=dict(vocab_size=8, types=1)).text == bert.Config(vocab_size=8, types=1)
    message = refusal(text=dict(vocab_size=8))
    assert "config.text = {'vocab_size': 8} does not say which it is" in message
    assert "one of text, bert." in message and "# the text tower" in message


def test_inside_tuples_and_mappings():
    found = build(more=(dict(name="resnet"), dict(name="vit")), named=dict(a=dict(name="resnet")))
    assert found.more == (resnet.Config(), vit.Config())
    assert found.named == {"a": resnet.Config()}
    assert "config.more.0 = {} does not say which it is" in refusal(more=({},))


def test_classes_of_one_file_go_by_their_full_paths():
    path = f"{__name__}.Plain"
    assert build(same=dict(name=path, width=4)).same == Plain(4)
    assert build(same=dict(depth=4)).same == Deep(4)
    assert config.to_dict(build(same=Plain(4)))["same"] == {"name": path, "width": 4}
    short = __name__.rpartition(".")[2]
    assert f"config.same.name = '{short}' is none of {path}, " in refusal(same=dict(name=short))


def test_one_class_needs_no_name_and_takes_its_own():
    short = __name__.rpartition(".")[2]
    assert build(one=dict(width=4)).one == build(one=dict(name=short, width=4)).one == Plain(4)
    assert config.to_dict(Plain(4)) == config.to_dict(build(one=Plain(4)))["one"] == {"width": 4}
    assert f"config.one.name = 'plane' is none of {short}" in refusal(one=dict(name="plane"))


def test_what_is_written_is_read_back():
    towers = build(
        image=dict(name="resnet", stages=(1, 2)),
        text=dict(name="bert", pool="mean"),
        more=(dict(name="vit"), dict(name="resnet", width=3)),
        named=dict(a=dict(name="vit", patch_size=4)),
    )
    written = config.to_dict(towers)
    assert written["image"]["name"] == "resnet" and written["more"][0]["name"] == "vit"
    assert written["named"]["a"]["name"] == "vit" and "name" not in written["text"]["transformer"]
    assert config.build(Towers, written) == towers
    assert config.build(Towers, json.loads(json.dumps(written))) == towers
    assert config.difference(towers, build()) != []
    assert config.fingerprint(towers) == config.fingerprint(config.build(Towers, written))


def test_a_variant_is_a_row_of_the_members_module():
    found = build(image=dict(name="vit", variant="B/32", image_size=96, transformer=dict(layers=2)))
    row = vit.VARIANTS["B/32"]
    body = dataclasses.replace(row.transformer, layers=2)
    assert found.image == dataclasses.replace(row, image_size=96, transformer=body)
    assert build(image=dict(variant="B/32")).image == row
    assert build(text=dict(name="bert", variant="L")).text == bert.VARIANTS["L"]
    message = refusal(image=dict(name="resnet", variant="RN5"))
    assert "config.image.variant: mmjax.models.resnet has no 'RN5'; it has RN50, RN101," in message
    assert "Did you mean 'RN50'?" in message


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (
            dict(name="resnt", width=8),
            "config.image.name = 'resnt' is none of vit, resnet. Did you mean 'resnet'?",
        ),
        # a path that leads to another class is none either: the union is closed
        (dict(name="mmjax.models.text"), "is none of vit, resnet."),
        (dict(name=3), "config.image.name = 3 is none of vit, resnet."),
        (
            dict(name="resnet", patch_size=8),
            "config.image.patch_size = 8: mmjax.models.resnet.Config has no such field; it has "
            "image_size, channels, stages, width,",
        ),
        (dict(name="resnet", widht=8), "Did you mean width: int from 1 to 2147483647 = 64  # chan"),
        (dict(name="resnet", width="x"), "config.image.width = 'x' (str) is not int"),
        (
            dict(stages=(1, 2)),
            "config.image is 'vit', which has no stages; 'resnet' has. Write name='resnet'",
        ),
        (dict(patch_sze=8), "mmjax.models.vit.Config has no such field"),
        (None, "config.image = None is not a sub-tree for mmjax.models.vit.Config or a sub-tree"),
        (3, "config.image = 3 (int) is not a sub-tree for mmjax.models.vit.Config or"),
    ],
)
def test_what_is_refused(tree, expected):
    assert expected in refusal(image=tree)


def test_merged_replaces_a_sub_tree_of_another_name():
    tree = dict(image=dict(name="vit", patch_size=8, body=dict(layers=2, width=4)), rows=3)
    same = config.merged(tree, dict(image=dict(body=dict(layers=1))))
    assert same == dict(image=dict(name="vit", patch_size=8, body=dict(layers=1, width=4)), rows=3)
    other = config.merged(tree, dict(image=dict(name="resnet", width=8)))
    assert other == dict(image=dict(name="resnet", width=8), rows=3)
    assert tree["image"]["body"]["layers"] == 2
