"""Where a run starts: other runs, checkpoints, parts of them; and checkpoints without the frozen
part."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from flax.linen import unbox

import mmjax
from mmjax import config as configs
from mmjax import tree
from mmjax.conversion import bert as family
from mmjax.conversion import load
from mmjax.models import bert
from mmjax.run import warm_start
from mmjax.run.assembly import Run
from mmjax.run.options import Options
from mmjax.run.restore import restore
from mmjax.training.checkpoint import CheckpointError, Checkpoints

SMALL = dict(width=16, layers=2, heads=2, hidden=24)
WORDS = dict(
    transformer=dict(SMALL, norm="post", norm_epsilon=1e-12), vocab_size=30_522, context_length=24,
    pool="mean",
)  # fmt: skip
FROZEN = dict(match="text/.*", optimizer="frozen")
SPECIAL = {"start": "[CLS]", "end": "[SEP]", "pad": "[PAD]", "tokenizer": "bert"}


def options(**changes):
    config = configs.load(
        "configs/contrastive/clip_emoji.py:smoke,train.steps=2,train.evaluate_every=2,"
        "data.batch_size=8,execution.tensorboard=False,model.embedding=16,ema=0.9",
        schema=Options,
    )
    config.model.image.transformer = dict(SMALL, layers=1)
    config.model.text = dict(name="bert", **WORDS)
    config.data.processor.update(SPECIAL)
    config.validation, config.test, config.checkpoint.metric = {}, {}, ""
    config.optimizer.groups = (FROZEN, dict(learning_rate=1e-2))
    for key, value in changes.items():
        config[key] = value
    return configs.build(Options, config)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A BERT as the hub keeps it."""
    body = dataclasses.replace(bert.BODY, **SMALL)
    config = bert.Config(**{**WORDS, "transformer": body, "pool": "dense"})
    model = family.model(config)
    params = jax.jit(model.init)(jax.random.key(7), np.ones((1, 4), int))["params"]
    folder = tmp_path_factory.mktemp("hub")
    load.save(load.Loaded("bert", model, unbox(params), None, config), folder)
    return folder


@pytest.fixture(scope="module")
def locked(hub, tmp_path_factory):
    """A run on a locked text tower, whose checkpoints hold the rest."""
    folder = tmp_path_factory.mktemp("locked")
    made = options(warm_start={"text": str(hub)}, checkpoint=dict(trained_only=True))
    assert mmjax.train(made, folder).finished
    return folder


def test_a_checkpoint_goes_under_a_prefix(hub, capsys):
    run = Run(options(warm_start={"text": str(hub)}))
    with jax.set_mesh(run.mesh):
        state, drawn = warm_start.begin(run), run.spec.init()
    theirs = tree.flatten(load.load(hub).params)
    found, before = tree.flatten(state.params), tree.flatten(drawn.params)
    for path in tree.flatten(drawn.params["text"]):
        assert np.array_equal(found[f"text/{path}"], theirs[path]), path
    assert np.array_equal(found["image_head/kernel"], before["image_head/kernel"])
    assert not any(path.startswith("text/") for path in tree.flatten(state.teachers["ema"]))
    out = capsys.readouterr().out
    assert "warm_start['text'] from" in out and "extra     pooler/ (2 tensors)" in out


@pytest.mark.slow
def test_frozen_parameters_are_not_written(locked, hub):
    kept = Checkpoints(locked / "checkpoints", read_only=True)
    assert not any(path.startswith("text/") for path in tree.flatten(kept.load("params")))
    assert not any(path.startswith("text/") for path in tree.flatten(kept.load("teachers")))
    back, theirs = restore(locked).params, tree.flatten(load.load(hub).params)
    assert np.array_equal(back["text"]["tokens"], theirs["tokens"])
    raw = restore(locked, weights="raw").params
    assert np.array_equal(raw["image_head"]["kernel"], kept.load()["image_head"]["kernel"])
    # a run that starts there gets all of it
    again = warm_start.offered(str(locked))
    assert tree.compare(raw, again).complete
    assert np.array_equal(again["text"]["tokens"], theirs["tokens"])
    assert tree.compare(raw["text"], warm_start.offered(f"{locked}#text")).complete


@pytest.mark.slow
def test_other_frozen_parameters_are_refused(locked, hub, tmp_path):
    moved = tmp_path / "hub"
    shutil.copytree(hub, moved)
    loaded = load.load(moved)
    params = jax.tree.map(np.array, loaded.params)
    params["tokens"][5, [0, 1]] = params["tokens"][5, [1, 0]]
    load.save(dataclasses.replace(loaded, params=params), moved)
    run = Run(options(warm_start={"text": str(moved)}, checkpoint=dict(trained_only=True)))
    with jax.set_mesh(run.mesh), pytest.raises(CheckpointError, match="other frozen parameters"):
        warm_start.checkpoints(run, locked, read_only=True).restore(
            run.spec.shapes, run.spec.shardings
        )


@pytest.mark.slow
@pytest.mark.parametrize("source, message", [
    ({"text": "{empty}"}, "no work directory with checkpoints, no folder with a checkpoint"),
    ({"words": "{hub}"}, "this model has no part 'words'; it has image, image_head, text, "),
    ({"text": "{hub}#encoder"}, "has no part 'encoder'; it has embedding_norm, pooler, transform"),
    ({"image": "{hub}"}, "nothing in .* fits this model"),
    ({"text": "{hub}#transformer"}, "nothing in .* fits"),
    ("{hub}", "nothing in .* fits this model"),
    ({"text/transformer": "{hub}#transformer", "text": "{locked}#text"}, None),
    ({"": "{cut}"}, "freezes what no source gives, .*: text/types"),
])  # fmt: skip
def test_sources(source, message, hub, locked, tmp_path, monkeypatch):
    places = dict(hub=hub, locked=locked, empty=tmp_path, cut="cut")
    fill = lambda text: text.format(**places)  # noqa: E731
    source = fill(source) if isinstance(source, str) else {k: fill(v) for k, v in source.items()}
    if source == {"": "cut"}:
        given = tree.flatten(warm_start.offered(str(locked)))
        del given["text/types"]
        monkeypatch.setattr(warm_start, "offered", lambda *_: tree.unflatten(given))
    run = Run(options(warm_start=source))
    with jax.set_mesh(run.mesh):
        if message is None:
            warm_start.begin(run)
        else:
            with pytest.raises(CheckpointError, match=message):
                warm_start.begin(run)
