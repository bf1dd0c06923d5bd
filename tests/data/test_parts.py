"""Pipelines side by side: each part's batches are those that it has alone."""

import jax
import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.data.parts import Parts
from mmjax.data.pipeline import Pipeline, TooManyCorrupt, changes
from mmjax.data.plan import Mixture, Packed
from mmjax.data.prefetch import to_device
from mmjax.data.source import CorruptExample, InMemory


class Checked:
    """Refuses rows of label 3."""

    def __call__(self, example, rng):
        if example["label"] == 3:
            raise CorruptExample("three")
        return {**example, "text_truncated": example["label"] == 1}


def pipeline(rows, batch, name, **options):
    data = InMemory([{"label": row, "text": np.arange(2)} for row in range(rows)], name)
    plan = Mixture((rows,), batch, seed=len(name), shape={"text": (2,)})
    return Pipeline([data], plan, (Checked(),), threads=1, max_corrupt_free=9, **options)


def parts(**options):
    return Parts({"pairs": pipeline(20, 8, "photos"), "words": pipeline(30, 4, "books", **options)})


def test_every_part_has_its_own_batches():
    made = parts()
    with made.batches(2, 6) as batches:
        found = list(batches)
        statistics = batches.statistics
        assert batches.step == 6
    assert len(found) == 4
    for step, batch in enumerate(found, start=2):
        assert batch.arrays.keys() == {"pairs", "words"}
        for name, alone in made.pipelines.items():
            expected = alone.batch(step)
            for field, value in expected.arrays.items():
                assert np.array_equal(batch.arrays[name][field], value)
            own = [one for one in batch.corrupt if one.part == name]
            assert [one[:5] for one in own] == [one[:5] for one in expected.corrupt]
        assert np.array_equal(
            made.batch(step).arrays["pairs"]["label"], batch.arrays["pairs"]["label"]
        )
    assert statistics.examples == 4 * 12
    assert statistics.corrupt == sum(len(batch.corrupt) for batch in found) > 0
    assert set(statistics.truncated) == {"pairs/text", "words/text"}
    shapes = {
        name: {field: one.shape for field, one in spec.items()} for name, spec in made.spec.items()
    }
    assert shapes["pairs"]["label"] == (8,) and shapes["words"]["text"] == (4, 2)


def test_hosts_share_every_part():
    whole = parts().batch(3).arrays
    halves = [parts().batch(3, host, 2).arrays for host in range(2)]
    for name, fields in whole.items():
        for field, value in fields.items():
            both = np.concatenate([half[name][field] for half in halves])
            assert np.array_equal(both, value)


def test_sub_batches_on_the_devices():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    asked = set()

    def where(name):
        asked.add(name)
        return sharding

    with parts().batches(0, 2) as batches:
        found = list(to_device(batches, where))
    assert len(found) == 2 and {"pairs/label", "words/text_mask"} <= asked
    expected = parts().batch(1).arrays["words"]["text"]
    assert np.array_equal(found[1].arrays["words"]["text"], expected)


def test_the_fingerprint_is_of_all_parts_and_says_what_changed():
    made = parts()
    assert parts().fingerprint == made.fingerprint
    other = parts(seed=1)
    assert other.fingerprint != made.fingerprint
    assert changes(made.description, other.description) == ["words/seed: 1, was 0"]
    one = pipeline(20, 8, "photos")
    packed = Packed(Mixture((20,), 8), [np.full(20, 2)], 8, pack=4)
    two = Pipeline(one.sources, packed, (Checked(),), threads=0)
    (line,) = changes(one.description, two.description)
    assert line.startswith("plan: Packed(plan=Mixture(sizes=(20,)") and ", was Mixture(" in line
    assert Parts({"a": one, "b": two}).pack == {"a": 0, "b": 4}


def test_corrupt_examples_are_limited_part_by_part():
    before = {"words": 9}
    strict = Parts({
        "pairs": pipeline(20, 8, "photos"), "words": pipeline(30, 4, "books", max_corrupt_share=0.0)
    })  # fmt: skip
    with strict.batches(0, 40, corrupt=before) as batches:
        with pytest.raises(
            TooManyCorrupt, match="10 of .* examples are corrupt(.|\n)*books, row 3"
        ):
            list(batches)


def test_what_does_not_fit_is_explained():
    with pytest.raises(ConfigError, match="at least one part"):
        Parts({})
    with pytest.raises(ConfigError, match="'a/b' has a '/'"):
        Parts({"a/b": pipeline(20, 8, "photos")})
