"""Examples to batches: several fields of one layout, any axis that varies, fields that some sources
lack."""

import numpy as np
import pytest

from mmjax.data.collation import collate
from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Bucketed, Mixture, Packed
from mmjax.data.source import DataError, InMemory

ROWS = 24


def weighted(rows=ROWS, **more):
    """Token ids with a loss weight for each, and frames of sound; lengths 1 to 5 and 2 to 8."""
    examples = []
    for row in range(rows):
        ids = np.arange(row % 5 + 1) + 10 * row
        frames = np.full((row % 7 + 2, 3), row, np.float32)
        examples.append({"text": ids, "text_weight": ids / 2, "audio": frames, **more})
    return InMemory(examples)


TOKENS = np.arange(ROWS) % 5 + 1
FRAMES = np.arange(ROWS) % 7 + 2


def same_spec(made, arrays):
    spec = {name: (one.shape, one.dtype) for name, one in made.spec.items()}
    assert {name: (x.shape, x.dtype) for name, x in arrays.items()} == spec


def test_weights_of_tokens_are_laid_out_as_the_tokens_are():
    plan = Bucketed(Mixture((ROWS,), 8), [TOKENS], (5,), also=("text_weight",))
    made = Pipeline([weighted()], Bucketed(plan, [FRAMES], (8,), field="audio"), (), threads=0)
    arrays = made.batch(0).arrays
    same_spec(made, arrays)
    assert "text_weight_mask" not in arrays
    assert np.array_equal(arrays["text_weight"], arrays["text"] / 2)
    assert np.array_equal(arrays["text_mask"].sum(1), TOKENS[arrays["index"]])
    assert np.array_equal(arrays["audio_mask"].sum(1), FRAMES[arrays["index"]])
    assert arrays["audio"].shape == (8, 8, 3)


def test_packed_weights_lie_where_their_tokens_lie():
    """Beside a field that is padded, an example a row."""
    plan = Packed(Mixture((ROWS,), 8), [TOKENS], 8, pack=4, also=("text_weight",))
    made = Pipeline([weighted()], Bucketed(plan, [FRAMES], (8,), field="audio"), (), threads=0)
    arrays = made.batch(0).arrays
    assert arrays["text"].shape[0] == 2 and arrays["audio"].shape == (8, 8, 3)
    assert np.array_equal(arrays["text_weight"], arrays["text"] / 2)
    assert arrays["text_mask"].sum() == TOKENS[arrays["index"]].sum()
    assert {name for name in arrays if name.startswith("text_")} == {
        "text_mask", "text_segment", "text_position", "text_weight"
    }  # fmt: skip
    for number, index in enumerate(arrays["index"]):
        pack = number // 4
        own = arrays["text_segment"][pack] == number % 4
        tokens = arrays["text"][pack][own]
        assert tokens.tolist() == (np.arange(TOKENS[index]) + 10 * index).tolist()


def test_the_images_of_a_row_are_padded():
    counts = np.arange(ROWS) % 3 + 1
    rows = [{"image": np.full((count, 4, 4, 3), 1, np.float32)} for count in counts]
    plan = Bucketed(Mixture((ROWS,), 8), [counts], (1, 3), field="image")
    made = Pipeline([InMemory(rows)], plan, (), threads=0)
    arrays = made.batch(0).arrays
    assert arrays["image"].shape == (8, 3, 4, 4, 3) and arrays["image_mask"].shape == (8, 3)
    assert np.array_equal(arrays["image_mask"].sum(1), counts[arrays["index"]])
    rows[5]["image"] = rows[5]["image"][:, :2]
    with pytest.raises(DataError, match="the plan pads 1 of its axes, and the others must be"):
        Pipeline([InMemory(rows)], Mixture((ROWS,), ROWS, shape={"image": (3,)}), (),
                 threads=0).batch(0)  # fmt: skip


def test_weights_of_other_lengths_than_the_tokens_are_refused():
    data = weighted()
    data.examples[3]["text_weight"] = np.ones(1)
    plan = Bucketed(Mixture((ROWS,), ROWS), [TOKENS], (5,), also=("text_weight",))
    plan = Bucketed(plan, [FRAMES], (8,), field="audio")
    with pytest.raises(DataError, match=r"'text_weight' has shape \(1,\) and 'text' \(4,\)"):
        Pipeline([data], plan, (), threads=0).batch(0)


def mixed(**options):
    """Ten rows with a box and a caption, ten without."""
    one = [{"label": row, "box": np.ones(4) * row, "text": np.arange(row % 3 + 1)}
           for row in range(10)]  # fmt: skip
    two = [{"label": row} for row in range(10)]
    plan = Mixture((10, 10), 10, shape={"text": (3,)})
    sources = [InMemory(one, "boxes"), InMemory(two, "labels")]
    return Pipeline(sources, plan, (), threads=0, **options)


def test_a_field_that_some_sources_lack_is_filled_on_request():
    made = mixed(fill_missing=("box", "text"))
    arrays = made.batch(0).arrays
    same_spec(made, arrays)
    first = arrays["source"] == 0
    assert first.sum() == 5
    for name in ("box", "text"):
        assert np.array_equal(arrays[f"{name}_there"], first)
    assert np.array_equal(arrays["box"][first][:, 0], arrays["label"][first])
    assert not arrays["box"][~first].any() and not arrays["text_mask"][~first].any()
    assert np.array_equal(arrays["text_mask"][first].sum(1), arrays["index"][first] % 3 + 1)
    everything = mixed(fill_missing=True).batch(0).arrays
    assert everything.keys() == arrays.keys()
    prints = {mixed(fill_missing=fill).fingerprint for fill in ((), ("box",), ("box", "text"))}
    assert len(prints) == 3


def test_a_field_that_is_left_out_is_named_once(capsys):
    assert "box" not in mixed().batch(0).arrays
    mixed().batch(0)
    said = capsys.readouterr().err
    assert (
        said.count("the field 'box' is left out: boxes, row 0 has it and labels, row 0 does") == 1
    )
    arrays = mixed(fill_missing=("box",)).batch(0).arrays
    assert "box_there" in arrays and "text" not in arrays


def test_collate():
    rows = [{"text": np.arange(3), "label": 1, "name": "a"},
            {"text": np.arange(5), "label": 2, "name": "b"}]  # fmt: skip
    batch = collate(rows, {"text": 1}, {"text": 7})
    assert batch["text"].tolist() == [[0, 1, 2, 7, 7], [0, 1, 2, 3, 4]]
    assert batch["text_mask"].sum(1).tolist() == [3, 5] and batch["label"].tolist() == [1, 2]
    assert batch.keys() == {"text", "text_mask", "label"}
    several = [{"text": np.ones((2, 3), np.int32)}, {"text": np.ones((1, 4), np.int32)}]
    assert collate(several, {"text": 2})["text_mask"].shape == (2, 2, 4)
    own = collate([{"x": np.ones(2), "x_mask": np.array([True, False])}], {"x": 1})
    assert own["x_mask"].tolist() == [[True, False]]
    with pytest.raises(DataError, match="example 1 and the first one differ in label, text"):
        collate([{"text": np.arange(3)}, {"label": 2}], {"text": 1})
    with pytest.raises(DataError, match=r"'text' is int32 \(5,\) in example 1 and int32 \(3,\) in"):
        collate(rows)
    with pytest.raises(DataError, match="'image' is still encoded"):
        collate([{"image": b"PNG"}])
