import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmjax.evaluation import base
from mmjax.evaluation.base import Evaluator, Result
from mmjax.evaluation.retrieval import Retrieval

ROWS, WIDTH = 37, 16


def embed(variables, batch, rng):
    def unit(x):
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    image = unit(batch["image"] @ variables["image"])
    return {"image": image, "text": unit(batch["text"] @ variables["text"])}


@dataclasses.dataclass(frozen=True)
class Mean(Evaluator):
    predict: str = "embed"

    def records(self, predict, variables, batch, prepared):
        return {"value": predict(variables, batch)["image"][:, 0], "noise": batch["image"][:, 1]}

    def finish(self, rows):
        return Result({"mean": float(rows["value"].mean())}, queries=rows)


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
        results.append(base.run(Retrieval(), embed, variables, stream, put=put))
    first = results[0]
    assert 0.1 < first.metrics["image_to_text/r1"] < 1
    for result in results[1:]:
        assert result.metrics == first.metrics
        for name in first.queries:
            np.testing.assert_array_equal(result.queries[name], first.queries[name])


def test_compiles_once_for_all_batches_and_evaluations(variables, data):
    traced = []

    def counted(variables, batch, rng):
        traced.append(batch["image"].shape)
        return embed(variables, batch, rng)

    evaluator = Mean()
    for _ in range(2):
        base.run(evaluator, counted, variables, batches(data, 8, pad=False))
    assert traced == [(8, WIDTH)]


def test_rows_without_weight_are_dropped_and_the_rest_is_in_order(variables, data):
    def corrupt(stream):
        for batch in stream:
            batch["weight"][batch["index"] == 5] = 0
            yield batch

    order = np.random.default_rng(0).permutation(ROWS)
    rows = base.run(Mean(), embed, variables, corrupt(batches(data, 8, order=order))).queries
    assert rows["index"].tolist() == [i for i in range(ROWS) if i != 5]
    np.testing.assert_array_equal(rows["noise"], np.delete(data["image"][:, 1], 5))
    assert "weight" not in rows


def test_sources_are_kept_apart(variables, data):
    def two(stream):
        for batch in stream:
            yield batch | {"source": np.full(len(batch["weight"]), 1, np.int32)}
            yield batch

    rows = base.run(Mean(), embed, variables, two(batches(data, 8))).queries
    assert rows["source"].tolist() == [0] * ROWS + [1] * ROWS
    with pytest.raises(ValueError, match="several sources"):
        columns = {"style": np.zeros(ROWS)}
        base.run(Mean(), embed, variables, two(batches(data, 8)), columns=columns)


def test_columns_are_joined_by_index(variables, data):
    style = np.array(["noto", "fluent"])[np.arange(ROWS) % 2]
    order = np.random.default_rng(0).permutation(ROWS)
    stream = batches(data, 8, order=order)
    rows = base.run(Mean(), embed, variables, stream, columns={"style": style}).queries
    np.testing.assert_array_equal(rows["style"], style)


def test_what_cannot_be_right_is_refused(variables, data):
    def twice(stream):
        for batch in stream:
            yield batch
            yield batch

    with pytest.raises(ValueError, match="37 examples came more than once.* example 0 of source 0"):
        base.run(Mean(), embed, variables, twice(batches(data, 8)))
    with pytest.raises(ValueError, match="there is no batch"):
        base.run(Mean(), embed, variables, [])
    none = [batch | {"weight": batch["weight"] * 0} for batch in batches(data, 8)]
    with pytest.raises(ValueError, match="all 40 rows have weight 0"):
        base.run(Mean(), embed, variables, none)
    with pytest.raises(ValueError, match="no 'index'; it has image"):
        base.run(Mean(), embed, variables, [{"image": data["image"], "weight": np.ones(ROWS)}])

    @dataclasses.dataclass(frozen=True)
    class Short(Mean):
        def records(self, predict, variables, batch, prepared):
            return {"value": predict(variables, batch)["image"].mean(0)}

    with pytest.raises(ValueError, match="one row per example: not so for value"):
        base.run(Short(), embed, variables, batches(data, 16))


def test_randomness_differs_by_batch_and_repeats_by_seed(variables, data):
    def noisy(variables, batch, rng):
        return {"image": jax.random.normal(rng, (len(batch["weight"]), 2))}

    def values(seed):
        return base.run(Mean(), noisy, variables, batches(data, 8), seed=seed).queries["value"]

    assert len(np.unique(values(0))) == ROWS
    np.testing.assert_array_equal(values(0), values(0))
    assert (values(0) != values(1)).all()
