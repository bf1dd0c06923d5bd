"""One evaluation of a config: which rows, what reaches predict, what is refused before training.

A set, an evaluator and predict functions of this file are named by their full paths, as a user's
own package would.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from mmjax.config import ConfigError, Spec, build, load
from mmjax.data.source import InMemory
from mmjax.evaluation.base import Evaluator, Result
from mmjax.run.assembly import Run
from mmjax.run.evaluations import EvaluationRun, evaluate, named
from mmjax.run.options import Evaluation, Options
from mmjax.training.state import State


class Numbers:
    """A data set: row i holds the number i."""

    @dataclasses.dataclass(frozen=True)
    class Config:
        count: int = 20

    @staticmethod
    def open(config):
        return InMemory([{"number": i, "label": i % 3} for i in range(config.count)])


class Noise:
    """An evaluator: the mean of what predict gives, and which rows it saw."""

    @dataclasses.dataclass(frozen=True)
    class Config(Evaluator):
        predict: str = "noise"
        forbidden: bool = False  # refused by `check`

        def check(self, context):
            if self.forbidden:
                raise ConfigError("this must not be")

        def records(self, predict, variables, batch, prepared):
            return {"value": predict(variables, batch)["value"], "number": batch["number"]}

        def finish(self, rows, context):
            return Result({"mean": float(rows["value"].mean())}, queries=rows)


def noise(variables, batch, keys, scale=1.0):
    drawn = jax.vmap(lambda key: jax.random.uniform(key))(keys)
    offset = variables["teachers"].get("slow", 0.0) if "teachers" in variables else 0.0
    return {"value": scale * drawn + offset}


class Direct(EvaluationRun):
    """Reads rows without a processor."""

    @functools.cached_property
    def predict(self):
        return noise

    share = (0, 1)

    def put(self, batch):
        return batch

    def pipeline(self, source):
        return source

    def read(self, pipeline, corrupt):
        size = self.options.batch_size
        for start in range(0, len(pipeline), size):
            index = np.arange(start, min(start + size, len(pipeline)))
            number = np.array([pipeline[int(i)]["number"] for i in index])
            yield {"number": number, "index": index, "weight": np.ones(len(index), np.float32)}


HERE = "evaluation.test_evaluations"


def asked(baseline=None, batch_size=8, **fields):
    options = Evaluation(
        Spec(f"{HERE}.Numbers"),
        Spec(f"{HERE}.Noise", fields),
        baseline=baseline and Spec(baseline),
        batch_size=batch_size,
    )
    return Direct("numbers", None, options)


def test_rows_are_drawn_once_and_keep_their_noise():
    whole = asked()({})
    assert sorted(whole.queries["number"]) == list(range(20))
    few = asked(rows=5)({})
    more = asked(rows=9, batch_size=3)({})
    assert len(few.queries["number"]) == 5 and len(more.queries["number"]) == 9
    np.testing.assert_array_equal(few.queries["number"], more.queries["number"][:5])
    np.testing.assert_array_equal(few.queries["value"], more.queries["value"][:5])


def test_arguments_reach_predict():
    assert asked(arguments={"scale": 2.0})({}).metrics["mean"] == pytest.approx(
        2 * asked()({}).metrics["mean"]
    )


def test_a_tasks_teachers_reach_predict():
    options = load("configs/contrastive/clip_emoji.py:smoke", schema=Options)
    run = Run(build(Options, options))
    params = {"weight": np.float32(1)}
    state = State(0, params, {}, {"slow": np.float32(3)}, (), 0)
    found = evaluate(run, {"numbers": asked()}, state, "validation/")
    alone = asked()({}).metrics["mean"]
    assert found == {"validation/numbers/mean": pytest.approx(alone + 3)}


def test_what_cannot_be_is_refused_before_training():
    with pytest.raises(ConfigError, match="^validation.numbers: this must not be"):
        asked(forbidden=True).check_data("validation.numbers")
    with pytest.raises(ConfigError, match=r"numbers.baseline: it learns from|there is no run"):
        asked(baseline="majority").check_data("validation.numbers")
    with pytest.raises(ConfigError, match="'texts' measures no baseline|no config"):
        asked(baseline="texts").check_data("validation.numbers")
    with pytest.raises(ConfigError, match="arguments.guidance: predict 'noise' takes scale"):
        asked(arguments={"guidance": 1.0}).check("validation.numbers")
    wrong = Direct("numbers", None, Evaluation(Spec(f"{HERE}.Numbers"), Spec("thumbnails")))
    with pytest.raises(ConfigError, match="numbers.evaluator.name: 'thumbnails' is no evaluator"):
        wrong.check_data("validation.numbers")


def test_names_of_numbers_and_their_baselines():
    baselines = {"chance": {"a/r1": 0.1}, "majority": {"a/r1": 0.2}}
    result = Result({"a/r1": 0.5, "a/r5": 0.7}, baselines)
    assert list(named("seen", result).items()) == [
        ("seen/a/r1", 0.5), ("chance/seen/a/r1", 0.1), ("seen/a/r5", 0.7),
        ("majority/seen/a/r1", 0.2),
    ]  # fmt: skip
