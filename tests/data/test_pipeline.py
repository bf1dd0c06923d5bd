"""The pipeline: the same batches however they are read, bad data in its place, bugs named."""

import dataclasses
import io

import jax
import numpy as np
import pytest
from PIL import Image

from mmjax.data.pipeline import CHUNK, Pipeline, TooManyCorrupt
from mmjax.data.plan import Bucketed, Mixture, Sequential
from mmjax.data.prefetch import to_device
from mmjax.data.source import CorruptExample, InMemory, Subset
from mmjax.tokenizers import bpe
from mmjax.transforms.images import ColorJitter, DecodeImage, Normalize, RandomAffine
from mmjax.transforms.text import ChooseCaption, Tokenize, text_lengths, text_shape

TEXTS = ("a red fox", "a small green bird that flies over water", "fish", "two blue fish")
TOKENIZER = bpe.train(list(TEXTS) * 3, 400)
TOKENIZE = Tokenize(TOKENIZER, 12)
RANDOM = (
    DecodeImage(),
    RandomAffine(8, (0.7, 1.2), degrees=20.0, flip=0.5),
    ColorJitter(0.4, 0.4, 0.4, 0.1),
    Normalize(),
    ChooseCaption(),
    TOKENIZE,
)


def picture(number):
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def source(rows=40, bad=(), name="memory", several=True):
    examples = [
        {
            "image": b"no picture" if row in bad else picture(row),
            "text": (TEXTS[row % 4], TEXTS[row % 3]) if several else TEXTS[row % 4],
            "label": row % 5,
            "id": f"row{row}",
        }
        for row in range(rows)
    ]
    return InMemory(examples, name)


def pipeline(data, batch=16, plan=None, transforms=RANDOM, **options):
    plan = plan or Mixture((len(data),), batch, seed=1)
    plan = Bucketed(plan, [text_lengths(data, TOKENIZE)], (4, 8, 12))
    return Pipeline([data], plan, transforms, **{"seed": 5, "threads": 0, **options})


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]), name


def test_fields_of_a_batch():
    made = pipeline(source())
    arrays, corrupt = made.batch(0)
    assert not corrupt
    length = arrays["text"].shape[1]
    kinds = {name: (value.dtype.name, value.shape) for name, value in arrays.items()}
    assert kinds == {
        "image": ("float32", (16, 8, 8, 3)),
        "text": ("int32", (16, length)),
        "text_mask": ("bool", (16, length)),
        "text_truncated": ("bool", (16,)),
        "label": ("int32", (16,)),
        "group": ("int32", (16,)),
        "weight": ("float32", (16,)),
        "index": ("int32", (16,)),
        "source": ("int32", (16,)),
    }
    assert {name: (one.dtype.name, one.shape) for name, one in made.spec.items()} == {
        **kinds, "text": ("int32", (16, 12)), "text_mask": ("bool", (16, 12))
    }  # fmt: skip
    lengths = arrays["text_mask"].sum(1)
    ends = arrays["text"][np.arange(16), lengths - 1]
    assert (ends == TOKENIZER.special["<end>"]).all()
    assert (arrays["text"][~arrays["text_mask"]] == TOKENIZER.special["<pad>"]).all()


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_any_number_of_hosts_and_threads(threads, hosts):
    rows = CHUNK + 32  # more than a chunk
    made = pipeline(source(rows), batch=rows, threads=threads)
    parts = []
    for host in range(hosts):
        with made.batches(3, 6, host, hosts) as batches:
            parts.append([arrays for arrays, _ in batches])
    for number in range(3):
        whole = {
            name: np.concatenate([part[number][name] for part in parts]) for name in parts[0][0]
        }
        same(whole, pipeline(source(rows), batch=rows).batch(3 + number).arrays)


def test_worker_processes():
    made = pipeline(source(40, bad=(3,)), batch=16, threads=1, workers=2)
    with made.batches(2, 7) as batches:
        found = list(batches)
    assert len(found) == 5
    for number, batch in enumerate(found):
        expected = pipeline(source(40, bad=(3,))).batch(2 + number)
        same(batch.arrays, expected.arrays)
        assert batch.corrupt == expected.corrupt


def test_nothing_that_is_remembered_shows():
    fresh, warm = pipeline(source(), cache_bytes=0), pipeline(source())
    for step in (0, 1, 2, 0, 7):
        same(fresh.batch(step).arrays, warm.batch(step).arrays)


def test_the_cache_keeps_to_its_limit_and_decodes_once():
    class Counting(InMemory):
        reads = 0

        def __getitem__(self, index):
            type(self).reads += 1
            return super().__getitem__(index)

    for limit, again in ((1 << 20, 0), (0, 40), (20 * 1300, 20)):
        data = Counting(source(40).examples)
        made = pipeline(data, plan=Sequential(40, 40), cache_bytes=limit)
        made.batch(0)
        Counting.reads = 0
        made.batch(0)
        assert abs(Counting.reads - again) <= 4


def test_randomness_is_of_the_example_and_the_visit():
    arrays = [pipeline(source(), batch=40).batch(step).arrays for step in range(2)]
    order = [np.argsort(one["index"]) for one in arrays]
    a, b = (one["image"][rows] for one, rows in zip(arrays, order, strict=True))
    assert not any(np.array_equal(x, y) for x, y in zip(a, b, strict=True))  # another visit
    small = pipeline(source(), batch=8).batch(0).arrays  # another batch size, the same visit
    for row in range(8):
        assert np.array_equal(small["image"][row], a[small["index"][row]])
    other = pipeline(source(), batch=8, seed=6).batch(0).arrays
    assert not np.array_equal(small["image"], other["image"])


def test_a_corrupt_example_keeps_its_place():
    bad = (3, 17)
    clean, dirty = pipeline(source(), batch=40), pipeline(source(bad=bad), batch=40)
    expected, (arrays, corrupt) = clean.batch(1).arrays, dirty.batch(1)
    lost = np.isin(arrays["index"], bad)
    assert lost.sum() == 2
    assert np.array_equal(arrays["weight"], ~lost)
    assert not arrays["image"][lost].any() and not arrays["text_mask"][lost].any()
    for name in ("image", "text", "label"):
        assert np.array_equal(arrays[name][~lost], expected[name][~lost])
    assert np.array_equal(arrays["index"], expected["index"])
    assert {one[:4] for one in corrupt} == {
        (1, 0, row, f"memory, row {row} (row{row})") for row in bad
    }
    assert all("no image format we know" in one.reason for one in corrupt)


def test_a_chunk_of_nothing_but_corrupt_examples():
    data = source(200, bad=range(CHUNK), several=False)
    made = pipeline(data, plan=Sequential(200, 200))
    arrays, corrupt = made.batch(0)
    assert len(corrupt) == CHUNK and arrays["weight"].sum() == 200 - CHUNK
    assert arrays["image"].shape == (200, 8, 8, 3)


def test_no_good_example_at_all():
    made = pipeline(source(20, bad=range(20)), batch=5)
    with pytest.raises(ValueError, match="none of the 20 examples.*\n.*row 0 .*no image format"):
        made.batches()


def test_too_many_corrupt_examples_stop_the_run():
    made = pipeline(source(40, bad=range(6)), batch=20, max_corrupt_share=0.1, max_corrupt_free=2)
    with pytest.raises(
        TooManyCorrupt, match=r"of \d+ examples .*max_corrupt_share=0.1.*\n  memory, row"
    ):
        for _ in made.batches():
            pass
    patient = pipeline(
        source(40, bad=range(6)), batch=20, max_corrupt_share=0.2, max_corrupt_free=9
    )
    with patient.batches(0, 10) as batches:
        assert sum(len(corrupt) for _, corrupt in batches) == 30
        assert (batches.statistics.examples, batches.statistics.corrupt) == (200, 30)


def test_corrupt_examples_are_counted_on_where_a_run_goes_on():
    """Begun at any step, it stops where the run that nobody disturbed does."""
    made = pipeline(
        source(40, bad=range(6)), batch=20, max_corrupt_share=0.149, max_corrupt_free=14
    )
    counts, stops = [0], []
    for start in range(3):
        with made.batches(start, corrupt=counts[start]) as batches:
            with pytest.raises(TooManyCorrupt, match="mend them, or raise it") as caught:
                for batch in batches:
                    if not start:
                        counts.append(counts[-1] + len(batch.corrupt))
            stops.append((batches.step, str(caught.value).partition(",")[0]))
    assert len(counts) > 3 and len(set(stops)) == 1, (counts, stops)


@dataclasses.dataclass(frozen=True)
class Broken:
    row: str

    def __call__(self, example, rng):
        if example["id"] == self.row:
            raise KeyError("a bug")
        return example


@pytest.mark.parametrize("threads", [0, 2])
def test_a_bug_stops_the_run_and_names_the_row(threads):
    made = pipeline(source(), transforms=(*RANDOM, Broken("row7")), threads=threads)
    with pytest.raises(KeyError) as caught:
        for _ in made.batches():
            pass
    assert any("row 7" in note and "step" in note for note in caught.value.__notes__)


def test_truncation_is_counted():
    data = source(several=False)
    tokenize = Tokenize(TOKENIZER, 6)
    plan = Mixture((40,), 20, shape={"text": (6,)})
    made = Pipeline([data], plan, (DecodeImage(), Normalize(), tokenize), threads=0)
    with made.batches(0, 6) as batches:
        list(batches)
        assert batches.statistics.truncated == {"text": 0.25}


def test_evaluation_sees_each_row_once_with_all_captions():
    data = source(10)
    plan = Sequential(10, 4, shape={"text": text_shape(data, TOKENIZE)})
    made = Pipeline([data], plan, (DecodeImage(), Normalize(), TOKENIZE), threads=2)
    with made.batches() as batches:
        found = [arrays for arrays, _ in batches]
    assert len(found) == plan.steps == 3
    index = np.concatenate([one["index"] for one in found])
    weight = np.concatenate([one["weight"] for one in found])
    assert index.tolist() == [*range(10), -1, -1] and weight.tolist() == [1.0] * 10 + [0.0] * 2
    text, mask = (np.concatenate([one[name] for one in found]) for name in ("text", "text_mask"))
    for row in range(10):
        for number, caption in enumerate(data[row]["text"]):
            ids = TOKENIZE({"text": caption})["text"]
            assert np.array_equal(text[row, number][mask[row, number]], ids)
    assert not mask[10:].any()


def test_mixtures_keep_groups_apart():
    one, two = source(20, name="one"), source(30, name="two")
    plan = Mixture((20, 30), 10, weights=(0.5, 0.5), shape={"text": (12,)})
    made = Pipeline([one, two], plan, [RANDOM, RANDOM], threads=0)
    groups = {0: set(), 1: set()}
    for step in range(8):
        arrays = made.batch(step).arrays
        for number, group in zip(arrays["source"], arrays["group"], strict=True):
            groups[int(number)].add(int(group))
    assert groups == {0: set(range(20)), 1: set(range(20, 50))}


def test_mixtures_keep_the_fields_that_all_sources_have():
    one = InMemory([{"text": "a", "label": row, "size": 1.0} for row in range(8)], "one")
    two = InMemory([{"text": "b", "label": row, "color": 2} for row in range(8)], "two")
    made = Pipeline([one, two], Mixture((8, 8), 8), (), threads=0)
    assert made.batch(0).arrays.keys() == {"label", "group", "weight", "index", "source"}
    other = InMemory([{"text": "b", "label": np.array([row])} for row in range(8)], "other")
    with pytest.raises(ValueError, match=r"'label' is int32 of shape \(1,\) in other, row 0 and"):
        Pipeline([one, other], Mixture((8, 8), 8), (), threads=0).batch(0)


def test_what_does_not_fit_is_explained():
    data = source(several=False)
    plan = Mixture((40,), 8, shape={"text": (12,)})
    sizes = InMemory([{"image": np.zeros((4 + row, 8, 3), np.uint8)} for row in range(8)])
    cases = (
        (
            [sizes],
            Mixture((8,), 8),
            (DecodeImage(),),
            r"'image' has shape .* and \(4, 8, 3\) at the first",
        ),
        ([data], plan, (TOKENIZE,), "still encoded"),
        (
            [data],
            Mixture((40,), 8),
            (DecodeImage(), Normalize(), TOKENIZE),
            "give the plan a shape",
        ),
        (
            [InMemory([{"label": 1, "audio": b"RIFF"}] * 8)],
            Mixture((8,), 8),
            (),
            r"the field 'audio' is still encoded \(4 bytes\)",
        ),
        (
            [data],
            Mixture((40,), 8, shape={"text": (4,)}),
            (DecodeImage(), TOKENIZE),
            r"longer than \(4,\)",
        ),
        (
            [InMemory([{"label": 1}] * 7 + [{"label": 2.0}])],
            Mixture((8,), 8),
            (),
            "float32 here, int32",
        ),
        (
            [InMemory([{"label": 1}] * 7 + [{"labels": 1}])],
            Mixture((8,), 8),
            (),
            "has the fields .*'labels'",
        ),
        ([InMemory([{"weight": 1.0}] * 8)], Mixture((8,), 8), (), "reserved name"),
        ([InMemory([{"label": 2**40}] * 8)], Mixture((8,), 8), (), "more than 32 bits"),
    )
    for sources, plan, transforms, message in cases:
        with pytest.raises(ValueError, match=message):
            Pipeline(sources, plan, transforms, threads=0).batch(0)
    with pytest.raises(ValueError, match="16 rows must divide"):
        pipeline(data).batch(0, host=0, hosts=3)
    with pytest.raises(ValueError, match="3 lists of transforms for 1"):
        Pipeline([data], plan, [RANDOM] * 3)
    with pytest.raises(ValueError, match="at least one source"):
        Pipeline([], plan, RANDOM)


def test_fingerprint_is_of_everything_that_decides():
    made = [
        pipeline(source()),
        pipeline(source(), seed=6),
        pipeline(source(), batch=8),
        pipeline(source(39)),
        pipeline(source(), transforms=(*RANDOM[:1], RandomAffine(9), *RANDOM[2:])),
        pipeline(source(), transforms=(*RANDOM[:-1], Tokenize(TOKENIZER, 13))),
    ]
    assert len({one.fingerprint for one in made}) == len(made)
    assert pipeline(source(), threads=3, cache_bytes=1).fingerprint == made[0].fingerprint


def test_to_device():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    made = pipeline(source(), threads=1)
    with made.batches(0, 4) as batches:
        found = list(to_device(batches, sharding, ahead=2))
    assert len(found) == 4
    for step, (arrays, _) in enumerate(found):
        assert all(value.sharding == sharding for value in arrays.values())
        same({name: np.asarray(value) for name, value in arrays.items()}, made.batch(step).arrays)


def test_an_error_comes_up_at_its_own_step():
    def batches():
        for step in range(3):
            yield pipeline(source()).batch(step)
        raise RuntimeError("the disk is gone")

    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    seen = 0
    with pytest.raises(RuntimeError, match="the disk is gone"):
        for _ in to_device(batches(), lambda name: device, ahead=5):
            seen += 1
    assert seen == 3


def test_subset():
    data = source(20, bad=(5,))
    part = Subset(data, [5, 3])
    assert len(part) == 2 and part[1]["id"] == "row3" and part.locate(1) == "memory, row 3 (row3)"
    assert part.column("label").tolist() == [0, 3]
    with pytest.raises(CorruptExample):
        DecodeImage()(part[0])
    with pytest.raises(ValueError, match="row 20 is outside"):
        Subset(data, [20])
