"""The config layer: what it accepts, and that every refusal says what would be right."""

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from ml_collections import ConfigDict, config_dict

from mmjax import config
from mmjax.config import ConfigError, Spec


@dataclasses.dataclass(frozen=True)
class Group:
    pattern: str  # regex of parameter paths
    learning_rate: float | None = None  # peak; None: the optimizer's own
    betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    kind: Literal["adamw", "lion", "muon"] = "adamw"
    # Largest global norm of the gradient;
    # None leaves gradients as they are.
    clip_norm: float | None = 1.0
    groups: tuple[Group, ...] = ()  # first match wins
    warmup: int = 0  # steps from zero to the peak,
                     # counted from the start

    def __post_init__(self):
        if self.warmup < 0:
            raise ValueError(f"warmup must be >= 0 steps, and is {self.warmup}")


@dataclasses.dataclass(frozen=True)
class Run:
    steps: int  # optimizer steps
    model: Spec
    optimizer: Optimizer = Optimizer()
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)  # of the mixture
    remat: bool = True  # recompute activations
    note: str | int = ""
    size: int | tuple[int, int] = 224  # pixels
    ema: Optimizer | None = None
    extra: Any = None
    table: Mapping[str, Group] = dataclasses.field(default_factory=dict)


TREE = {"steps": 10, "model": {"name": "clip", "width": 192}}


def build(**changes):
    return config.build(Run, {**TREE, **changes})


def refusal(**changes) -> str:
    with pytest.raises(ConfigError) as caught:
        build(**changes)
    return str(caught.value)


def test_build_fills_defaults_and_nests():
    run = build(
        optimizer=dict(groups=(dict(pattern="image/.*"), dict(pattern=".*", learning_rate=1))),
        weights=dict(emoji=1, own=0.5),
        size=(224, 160),
        table=dict(a=dict(pattern="x")),
    )
    assert run.model == Spec("clip", {"width": 192})
    assert run.optimizer.groups[0] == Group("image/.*")
    assert type(run.optimizer.groups[1].learning_rate) is float
    assert type(run.weights["emoji"]) is float
    assert run.size == (224, 160) and run.ema is None and run.table["a"].pattern == "x"
    assert build(ema={}).ema == Optimizer()


def test_build_takes_config_dicts_built_objects_and_a_bare_name():
    assert config.build(Run, ConfigDict(TREE)) == build()
    assert config.build(Run, build()) == build()
    assert build(model="clip").model == Spec("clip")
    assert build(optimizer=Optimizer(warmup=3)).optimizer.warmup == 3


def test_build_reads_back_what_to_dict_and_json_made():
    run = build(optimizer=dict(groups=(dict(pattern="a", betas=(0.8, 0.9)),)), size=(1, 2))
    assert config.build(Run, config.to_dict(run)) == run
    assert config.build(Run, json.loads(json.dumps(config.to_dict(run)))) == run


def test_unknown_key_names_path_nearest_field_and_its_help():
    message = refusal(optimizer=dict(clip_nrom=2.0))
    assert "config.optimizer.clip_nrom = 2.0" in message
    assert "Did you mean clip_norm: float or None = 1.0" in message
    assert "# Largest global norm of the gradient; None leaves gradients as they are." in message
    assert "it has kind, clip_norm, groups, warmup" in message


def test_unknown_key_that_belongs_elsewhere():
    assert "Did you mean config.optimizer.clip_norm?" in refusal(clip_norm=1.0)
    assert "Did you mean config.optimizer.warmup?" in refusal(warmup=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (dict(steps=True), "config.steps = True (bool) is not int."),
        (dict(steps=1e3), "config.steps = 1000.0 (float) is not int. Write 1000."),
        (dict(steps=None), "config.steps = None is not int."),
        (dict(remat=1), "config.remat = 1 (int) is not bool."),
        (dict(remat="true"), "'true' (str) is not bool. Write True.\n  remat: bool = True  # r"),
        (dict(weights=dict(a="x")), "config.weights.a = 'x' (str) is not float."),
        (dict(weights=(1,)), "is not Mapping[str, float]"),
        (dict(note=1.5), "is not str or int. Write it in quotes: '1.5'."),
        (dict(size=(1, 2, 3)), "config.size = (1, 2, 3) (tuple) is not tuple[int, int]."),
        (dict(size="big"), "config.size = 'big' (str) is not int or tuple[int, int]."),
        (dict(optimizer=dict(kind="adanw")), "'adamw' or 'lion' or 'muon'. Did you mean 'adamw'?"),
        (dict(optimizer=dict(clip_norm=True)), "config.optimizer.clip_norm = True (bool) is not"),
        (dict(optimizer=3), "config.optimizer = 3 is not a sub-tree"),
        (dict(optimizer=dict(groups=dict())), "config.optimizer.groups = {} (a sub-tree) is not"),
        (dict(optimizer=dict(groups=(dict(learning_rate=1.0),))), "groups.0.pattern is missing"),
        (
            dict(optimizer=dict(groups=(dict(pattern="", betas=(1, "x")),))),
            "config.optimizer.groups.0.betas.1 = 'x' (str) is not float.",
        ),
        (dict(optimizer=dict(warmup=-1)), "config.optimizer: warmup must be >= 0 steps"),
        (dict(ema=dict(clip=1)), "config.ema.clip = 1"),
        (dict(model=dict(width=1)), "has no name"),
    ],
)
def test_wrong_values_are_refused_with_their_place(changes, expected):
    assert expected in refusal(**changes)


def test_missing_field_shows_its_help():
    with pytest.raises(ConfigError, match="steps is missing.*\n  steps: int  # optimizer steps"):
        config.build(Run, {"model": "clip"}, where="")


def test_help_continues_below_and_is_inherited():
    @dataclasses.dataclass(frozen=True)
    class Longer(Optimizer):
        decay: float = 0.0  # pull towards zero

    with pytest.raises(ConfigError, match="the peak, counted from the start"):
        config.build(Longer, {"warmup": "x"})
    with pytest.raises(ConfigError, match="# pull towards zero"):
        config.build(Longer, {"decay": "x"})


def test_classes_without_source_still_refuse_clearly():
    bare = dataclasses.make_dataclass("Bare", [("width", int, 3)])
    with pytest.raises(ConfigError, match="Did you mean width: int = 3"):
        config.build(bare, {"wdth": 3})


# Files. Each test writes its own, so that nothing here depends on configs/.

BASE = '''
from ml_collections import ConfigDict

def get_config():
    config = ConfigDict(dict(
        steps=100,  # optimizer steps
        note=None,
        path="a.jsonl",
        sizes=(1, 2),
        optimizer=dict(  # everything about updates
            clip_norm=1.0,  # largest global norm
            groups=(dict(pattern="a", rate=0.1), dict(pattern="b", rate=0.2)),
        ),
        data=dict(train=dict(name="emoji", split="train"), weights=dict()),
    ))
    config.seed = 0  # of everything random
    return config
'''
CHILD = '''
from mmjax.config import relative

VARIANTS = {
    "smoke": dict(steps=2, optimizer=dict(clip_norm=None)),
    "own": {"data": dict(train=dict(name="manifest", path="x")), "optimizer.groups.1.rate": 9.0},
    "test_split": dict(data=dict(train=dict(name="emoji", split="test"))),
}

def get_config():
    config = relative(__file__, "../base.py")
    config.steps = 1000
    config.optimizer.momentum = 0.5
    return config
'''


@pytest.fixture
def files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "inner" / "child.py").write_text(CHILD)
    return tmp_path


def load(files, arguments="", *overrides, schema=None):
    return config.load(f"{files}/inner/child.py{arguments}", overrides, schema=schema)


def test_a_child_changes_its_base_from_any_working_directory(files, monkeypatch):
    monkeypatch.chdir("/")
    loaded = load(files)
    assert isinstance(loaded, ConfigDict)
    assert loaded.steps == 1000 and loaded.optimizer.clip_norm == 1.0 and loaded.seed == 0
    monkeypatch.chdir(files)
    assert config.load("inner/child.py") == loaded


def test_variants_then_arguments_then_overrides(files):
    loaded = load(files, ":smoke,steps=3,sizes=(4, 5)", "steps=4")
    assert loaded.steps == 4 and loaded.sizes == (4, 5) and loaded.optimizer.clip_norm is None
    assert loaded.optimizer.groups[0]["rate"] == 0.1


def test_a_variant_with_another_name_replaces_the_sub_tree(files):
    own = load(files, ":own")
    assert own.data.train.to_dict() == {"name": "manifest", "path": "x"}
    assert own.data.weights.to_dict() == {}
    assert own.optimizer.groups == (dict(pattern="a", rate=0.1), dict(pattern="b", rate=9.0))
    assert load(files, ":test_split").data.train.split == "test"


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("optimizer.clip_norm=2", "optimizer.clip_norm", 2.0),
        ("optimizer.clip_norm=None", "optimizer.clip_norm", None),
        ("note=hello, you", "note", "hello, you"),
        ("note=3", "note", 3),
        ("path=2024", "path", "2024"),
        ("path=None", "path", None),
        ("path='None'", "path", "None"),
        ("path=b=c.jsonl", "path", "b=c.jsonl"),
        ("sizes=[3]", "sizes", (3,)),
        ("sizes.1=7", "sizes", (1, 7)),
        ("data.train.anything=1e-3", "data.train.anything", 1e-3),
        ("data.weights.emoji=0.5", "data.weights.emoji", 0.5),
        ("data.train={'name': 'folder'}", "data.train.name", "folder"),
    ],
)
def test_overrides(files, override, path, value):
    found = load(files, "", override)
    for key in path.split("."):
        found = found[key]
    assert found == value and type(found) is type(value)


def test_an_override_inside_a_tuple_of_sub_trees(files):
    loaded = load(files, ":optimizer.groups.0.rate=1")
    assert loaded.optimizer.groups[0] == dict(pattern="a", rate=1.0)
    assert loaded.optimizer.groups[1] == dict(pattern="b", rate=0.2)


@pytest.mark.parametrize(
    ("arguments", "override", "expected"),
    [
        (":smokey", None, "has the variants smoke, own, test_split. Did you mean 'smoke'?"),
        ("", "stpes=1", "Did you mean steps?  # optimizer steps"),
        ("", "sed=1", "Did you mean seed?  # of everything random"),
        ("", "optimizer.clip_nrom=1", "Did you mean optimizer.clip_norm?  # largest global norm"),
        ("", "optimiser.clip_norm=1", "Did you mean optimizer?  # everything about updates"),
        ("", "clip_norm=1", "Did you mean optimizer.clip_norm?"),
        ("", "data.steps=1", "Did you mean steps?  # optimizer steps"),
        ("", "optimizer.groups.2.rate=1", "optimizer.groups has 2 elements, numbered from 0"),
        ("", "steps.more=1", "steps is 1000, which has no parts"),
        ("", "steps", "'steps' is not key=value"),
        ("", "sizes=(1, 2", "(1, 2 is not a Python literal"),
        (":sizes=(1", None, "left open"),
    ],
)
def test_refused_arguments(files, arguments, override, expected):
    with pytest.raises(ConfigError) as caught:
        load(files, arguments, *([override] if override else []))
    assert expected in str(caught.value)


def test_a_schema_admits_fields_left_at_their_defaults(files):
    @dataclasses.dataclass(frozen=True)
    class Small:
        steps: int = 1  # optimizer steps
        seed: int = 0

    (files / "small.py").write_text("def get_config(): return dict(steps=5)")
    path = f"{files}/small.py"
    assert config.load(path, ["seed=3"], schema=Small).seed == 3
    with pytest.raises(ConfigError, match="there is no such key; the config has steps"):
        config.load(path, ["seed=3"])
    with pytest.raises(ConfigError, match="Did you mean steps: int = 1  # optimizer steps"):
        config.load(path, ["stps=3"], schema=Small)
    with pytest.raises(ConfigError, match="steps = 1.5"):
        config.load(path, ["steps=1.5"], schema=Small)


def test_refused_files(files):
    with pytest.raises(ConfigError, match=r"chld.py does not exist.*Near it: .*child.py"):
        config.load(f"{files}/inner/chld.py:smoke")
    with pytest.raises(ConfigError, match="with its .py before the colon"):
        config.load(f"{files}/inner/child:smoke")
    with pytest.raises(ConfigError, match="is a folder"):
        config.load(files)
    (files / "empty.py").write_text("")
    with pytest.raises(ConfigError, match=r"defines get_config\(\)"):
        config.load(files / "empty.py")
    (files / "none.py").write_text("def get_config(): pass")
    with pytest.raises(ConfigError, match="returned None"):
        config.load(files / "none.py")
    (files / "broken.py").write_text("import no_such_module_anywhere")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        config.load(files / "broken.py")


def test_placeholders_and_references_become_values(files):
    tree = ConfigDict(dict(a=2))
    tree.b = tree.get_ref("a") * 2
    tree.c = config_dict.placeholder(int)
    tree.d = config_dict.required_placeholder(str)
    assert config.to_dict(tree) == dict(a=2, b=4, c=None, d=None)


def test_fingerprint_and_difference():
    a = dict(x=1, y=dict(z=(1, 2), w=None), s=Spec("clip", {"width": 1}))
    b = dict(s=dict(name="clip", width=1), y=ConfigDict(dict(w=None, z=(1, 2))), x=1)
    assert config.fingerprint(a) == config.fingerprint(b)
    assert config.fingerprint(a) == config.fingerprint(json.loads(json.dumps(config.to_dict(a))))
    assert len(config.fingerprint(a)) == 64 and config.difference(a, b) == []
    changed = dict(a, x=2, y=dict(z=(1, 3)), groups=(dict(rate=1),))
    assert config.fingerprint(a) != config.fingerprint(changed)
    assert config.difference(a, changed) == [
        "x: 1 -> 2",
        "y.z: (1, 2) -> (1, 3)",
        "y.w: None -> (absent)",
        "groups.0.rate: (absent) -> 1",
    ]
    with pytest.raises(ConfigError, match="cannot be saved"):
        config.fingerprint(dict(f=len))


def test_annotations_are_not_silently_ignored():
    @dataclasses.dataclass(frozen=True)
    class Odd:
        width: typing.Annotated[int, "pixels"] = 1

    assert config.build(Odd, {"width": 2}).width == 2
    with pytest.raises(ConfigError, match="is not int"):
        config.build(Odd, {"width": "x"})
