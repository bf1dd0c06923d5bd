"""A finished run is made longer: what its work directory accepts, and what is said of it."""


import pytest

from mmjax.config import ConfigError
from mmjax.data.pipeline import same_batches
from mmjax.run import workdir
from mmjax.run.options import read
from mmjax.training import optimizer

SMOKE = "configs/contrastive/clip_emoji.py:smoke"


def of_steps(steps, *changes):
    return read(f"{SMOKE},train.steps={steps}", changes)


@pytest.fixture
def finished(tmp_path):
    """The work directory of a run of 40 steps, as far as `claim` looks at it."""
    assert workdir.claim(tmp_path, of_steps(40), "first") == 0
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "result.json").write_text("{}")
    return tmp_path


def test_more_steps_are_accepted_and_the_result_is_kept(finished):
    assert workdir.claim(finished, of_steps(60), "again") == 40
    assert (finished / "result-00000040.json").exists()
    assert not (finished / "result.json").exists()
    assert workdir.load_options(finished).train.steps == 60
    # killed before its next checkpoint, the same command goes on
    assert workdir.claim(finished, of_steps(60), "again") == 0


@pytest.mark.parametrize(
    "options", [of_steps(30), of_steps(60, "seed=1")], ids=["fewer", "another seed"]
)
def test_fewer_steps_and_other_changes_are_refused(finished, options):
    with pytest.raises(ConfigError, match="train.steps: 40 -> (.|\n)*train.steps may be raised"):
        workdir.claim(finished, options, "other")
    assert (finished / "result.json").exists()


def test_the_same_batches_whatever_the_length():
    before = {"plan": "Mixture(sizes=(9,), batch=2, seed=0, steps=40)", "seed": 0}
    longer = {"plan": "Mixture(sizes=(9,), batch=2, seed=0, steps=60)", "seed": 0}
    assert same_batches(before, longer)
    assert not same_batches(before, {**longer, "seed": 1})
    assert not same_batches({}, longer)


def test_what_happens_to_the_learning_rate_is_said():
    groups = (
        optimizer.Group(match="a", learning_rate=1.0, schedule="linear"),
        optimizer.Group(match="b", learning_rate=0.5, schedule="constant", name="head"),
        optimizer.Group(match="c", optimizer="frozen"),
    )
    axes = {name: ("embed", "mlp") for name in "abc"}
    made = optimizer.build(optimizer.Config(groups), axes, 60)
    said = made.made_longer(40, 60, 40)
    assert said == (
        "train.steps 40 -> 60: the schedule of 60 steps from step 40 on; "
        "learning rate of group 0 0 -> 0.333, group head 0.5 -> 0.5"
    )
