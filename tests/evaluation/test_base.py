import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.contexts import context
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmjax.data.source import InMemory
from mmjax.errors import NotFinite
from mmjax.evaluation import base
from mmjax.evaluation.base import Evaluator, Result
from mmjax.evaluation.retrieval import Retrieval

ROWS, WIDTH = 37, 16


def embed(variables, batch, keys):
    def unit(x):
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    image = unit(batch["image"] @ variables["image"])
    return {"image": image, "text": unit(batch["text"] @ variables["text"])}


@dataclasses.dataclass(frozen=True)
class Mean(Evaluator):
    def records(self, predict, variables, batch, prepared):
        return {"value": predict(variables, batch)["image"][:, 0], "noise": batch["image"][:, 1]}

    def finish(self, rows, context):
        return Result({"mean": float(rows["value"].mean())}, queries=rows)


@dataclasses.dataclass(frozen=True)
class Styled(Mean):
    @property
    def columns(self):
        return ("style", "absent")


def styled(style):
    rows = [{} for _ in style]
    return context(InMemory(rows, columns={"style": style}))


@pytest.fixture
def variables():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((WIDTH, 8)).astype(np.float32)
    return {"image": image, "text": image + 0.3 * rng.standard_normal((WIDTH, 8), np.float32)}


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    image = rng.standard_normal((ROWS, WIDTH)).astype(np.float32)
    text = image + 0.3 * rng.standard_normal(image.shape, np.float32)
    index = np.arange(ROWS, dtype=np.int32)
    return {"image": image, "text": text, "group": index // 2, "index": index}


def batches(data, size, *, pad=True, order=None):
    order = np.arange(ROWS) if order is None else order
    for start in range(0, ROWS, size):
        rows = order[start : start + size]
        batch = {name: value[rows] for name, value in data.items()}
        batch["weight"] = np.ones(len(rows), np.float32)
        if pad and len(rows) < size:  # as the pipeline does: rows of weight 0 that repeat others
            filled = np.resize(rows, size)
            batch = {name: value[filled] for name, value in data.items()}
            batch["weight"] = (np.arange(size) < len(rows)).astype(np.float32)
        batch["source"] = np.zeros(len(batch["weight"]), np.int32)
        yield batch


def put_on(devices):
    mesh = Mesh(np.array(devices), ("data",))
    return lambda batch: jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))


def test_the_same_numbers_on_1_and_8_devices_for_any_batch_size_and_order(variables, data):
    assert jax.device_count() == 8
    results = []
    for put, size, pad, order in [
        (None, ROWS, True, None),
        (None, 8, True, None),
        (None, 8, False, None),  # a ragged last batch
        (put_on(jax.devices()[:1]), 16, True, None),
        (put_on(jax.devices()), 8, True, None),
        (put_on(jax.devices()), 16, False, None),
        (put_on(jax.devices()), 8, True, np.random.default_rng(3).permutation(ROWS)),
    ]:
        stream = batches(data, size, pad=pad, order=order)
        results.append(base.run(Retrieval(), embed, variables, stream, context(), put=put))
    first = results[0]
    assert 0.1 < first.metrics["image_to_text/r1"] < 1
    for result in results[1:]:
        assert result.metrics == first.metrics
        for name in first.queries:
            np.testing.assert_array_equal(result.queries[name], first.queries[name])


def test_compiles_once_for_all_batches_and_evaluations(variables, data):
    traced = []

    def counted(variables, batch, keys):
        traced.append(batch["image"].shape)
        return embed(variables, batch, keys)

    evaluator = Mean()
    for _ in range(2):
        base.run(evaluator, counted, variables, batches(data, 8, pad=False), context())
    assert traced == [(8, WIDTH)]


def test_rows_without_weight_are_dropped_and_the_rest_is_in_order(variables, data):
    def corrupt(stream):
        for batch in stream:
            batch["weight"][batch["index"] == 5] = 0
            yield batch

    order = np.random.default_rng(0).permutation(ROWS)
    stream = corrupt(batches(data, 8, order=order))
    rows = base.run(Mean(), embed, variables, stream, context()).queries
    assert rows["index"].tolist() == [i for i in range(ROWS) if i != 5]
    np.testing.assert_array_equal(rows["noise"], np.delete(data["image"][:, 1], 5))
    assert "weight" not in rows


def test_sources_are_kept_apart(variables, data):
    def two(stream):
        for batch in stream:
            yield batch | {"source": np.full(len(batch["weight"]), 1, np.int32)}
            yield batch

    rows = base.run(Mean(), embed, variables, two(batches(data, 8)), context()).queries
    assert rows["source"].tolist() == [0] * ROWS + [1] * ROWS
    with pytest.raises(ValueError, match="several sources"):
        base.run(Styled(), embed, variables, two(batches(data, 8)), styled(np.zeros(ROWS)))


def test_columns_are_joined_by_index(variables, data):
    style = np.array(["noto", "fluent"])[np.arange(ROWS) % 2]
    order = np.random.default_rng(0).permutation(ROWS)
    stream = batches(data, 8, order=order)
    rows = base.run(Styled(), embed, variables, stream, styled(style)).queries
    np.testing.assert_array_equal(rows["style"], style)


def test_what_cannot_be_right_is_refused(variables, data):
    def twice(stream):
        for batch in stream:
            yield batch
            yield batch

    with pytest.raises(ValueError, match="37 examples came more than once.* example 0 of source 0"):
        base.run(Mean(), embed, variables, twice(batches(data, 8)), context())
    with pytest.raises(ValueError, match="there is no batch"):
        base.run(Mean(), embed, variables, [], context())
    none = [batch | {"weight": batch["weight"] * 0} for batch in batches(data, 8)]
    with pytest.raises(ValueError, match="all 40 rows have weight 0"):
        base.run(Mean(), embed, variables, none, context())
    with pytest.raises(ValueError, match="no 'index'; it has image"):
        nameless = [{"image": data["image"], "weight": np.ones(ROWS)}]
        base.run(Mean(), embed, variables, nameless, context())

    @dataclasses.dataclass(frozen=True)
    class Short(Mean):
        def records(self, predict, variables, batch, prepared):
            return {"value": predict(variables, batch)["image"].mean(0)}

    with pytest.raises(ValueError, match="one row per example: not so for value"):
        base.run(Short(), embed, variables, batches(data, 16), context())


def noisy(variables, batch, keys, scale=1.0, shift=0.0):
    return {"image": scale * jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys) + shift}


def test_randomness_is_of_the_row_whatever_batch_it_comes_in(variables, data):
    def values(size, seed=0, **given):
        stream = batches(data, size, **given)
        return base.run(Mean(), noisy, variables, stream, context(), seed=seed).queries["value"]

    first = values(8)
    assert len(np.unique(first)) == ROWS
    for size in (3, 16, ROWS):
        np.testing.assert_array_equal(values(size, pad=False), first)
    order = np.random.default_rng(0).permutation(ROWS)
    np.testing.assert_array_equal(values(8, order=order), first)
    assert (values(8, seed=1) != first).all()


def test_numbers_do_not_depend_on_the_batch_size():
    """A random predict over 400 rows, in batches of 100 and of 200."""
    index = np.arange(400, dtype=np.int32)
    rows = {"image": np.zeros((400, 2), np.float32), "weight": np.ones(400, np.float32)}
    whole = rows | {"index": index, "source": np.zeros(400, np.int32)}

    def mean(size):
        cuts = [slice(start, start + size) for start in range(0, 400, size)]
        stream = [{name: value[cut] for name, value in whole.items()} for cut in cuts]
        return base.run(Mean(), noisy, None, stream, context()).metrics["mean"]

    assert mean(100) == mean(200) != 0


def test_arguments_reach_predict_and_compile_once(variables, data):
    traced = []

    def counted(variables, batch, keys, **arguments):
        traced.append(arguments)
        return noisy(variables, batch, keys, **arguments)

    def values(**arguments):
        evaluator = Mean(arguments=arguments)
        means = [
            base.run(evaluator, counted, variables, batches(data, 8), context()).metrics["mean"]
            for _ in range(2)
        ]
        assert means[0] == means[1]
        return means[0]

    plain = values()
    assert values(scale=2.0) == pytest.approx(2 * plain)
    assert values(scale=1.0, shift=1.0) == pytest.approx(1 + plain)
    assert traced == [{}, {"scale": 2.0}, {"scale": 1.0, "shift": 1.0}]


@dataclasses.dataclass(frozen=True)
class Sweep(Evaluator):
    """One pass that asks predict with several settings."""

    scales: tuple[float, ...] = (1.0, 3.0)

    def records(self, predict, variables, batch, prepared):
        return {f"{s}": predict(variables, batch, scale=s)["image"][:, 0] for s in self.scales}

    def finish(self, rows, context):
        return Result({f"{s}": float(rows[f"{s}"].std()) for s in self.scales})


def test_one_evaluation_sweeps_over_settings_with_the_same_noise(variables, data):
    found = base.run(Sweep(), noisy, variables, batches(data, 8), context()).metrics
    assert found["3.0"] == pytest.approx(3 * found["1.0"])


@dataclasses.dataclass(frozen=True)
class Shown(Mean):
    """Keeps pictures of a few rows beside the numbers of all."""

    def records(self, predict, variables, batch, prepared):
        numbers = super().records(predict, variables, batch, prepared)
        return numbers | {"media": {"pixels": batch["image"]}}

    def finish(self, rows, context):
        return Result({}, media=rows["media"], queries={"value": rows["value"]})


@pytest.mark.parametrize("put", [None, put_on(jax.devices())], ids=["1", "8"])
def test_media_are_kept_of_a_few_rows_alone(variables, data, put):
    ours = context(InMemory([{}] * ROWS))
    for size in (8, 16):
        stream = batches(data, size, pad=False)
        found = base.run(Shown(keep=5), embed, variables, stream, ours, put=put)
        assert len(found.queries["value"]) == ROWS
        kept = found.media["index"]
        assert kept.tolist() == sorted(base.draw(ROWS, 5))
        np.testing.assert_array_equal(found.media["pixels"], data["image"][kept])
    assert base.run(Shown(keep=0), embed, variables, batches(data, 8), ours).media == {}


def test_the_rows_of_a_draw_begin_with_those_of_a_smaller_one():
    assert base.draw(100, 7).tolist() == base.draw(100, 30)[:7].tolist()
    assert sorted(base.draw(5, 9)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_no_number(variables, data, value):
    """Whatever is compared with a NaN is false: it would be counted as right, or as wrong."""
    spoilt = {**data, "image": data["image"].copy()}
    spoilt["image"][5] = value
    with pytest.raises(NotFinite, match="of 1 of [0-9]+ examples holds a NaN or an infinity, the "
                       "first is example 5: the model's weights"):  # fmt: skip
        base.run(Retrieval(), embed, variables, batches(spoilt, 8), context())
