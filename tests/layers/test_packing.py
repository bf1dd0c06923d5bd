"""Packed rows and length buckets train what padded rows train: same loss, same gradient."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import QUICK, mesh

from mmjax import tree
from mmjax.config import build, load
from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Mixture, Packed, first_fit
from mmjax.data.source import InMemory
from mmjax.layers import packing
from mmjax.run.assembly import Run
from mmjax.run.options import Options
from mmjax.tokenizers import bpe
from mmjax.training import sharding
from mmjax.training.step import gradients
from mmjax.transforms.text import Tokenize, text_lengths

TINY = dict(width=16, heads=2, hidden=32, layers=2, unroll=1, dtype="float32")


def test_first_fit_fills_rows_and_overfills_none():
    lengths = np.random.default_rng(0).integers(0, 25, 64)
    row = first_fit(lengths, 24)
    filled = np.bincount(row, lengths)
    assert filled.max() <= 24 and filled.sum() == lengths.sum()
    assert len(filled) <= 1.15 * lengths.sum() / 24 + 1


def test_packing_changes_no_batch_and_every_pack_is_its_own():
    lengths = np.random.default_rng(1).integers(1, 20, 200).astype(np.int32)
    inner = Mixture((200,), 48, seed=2)
    plan = Packed(inner, [lengths], 24, pack=16)
    assert (plan.batch, plan.steps, plan.largest_shape) == (48, None, {"text": (16, 24)})
    heights = set()
    for step in range(20):
        rows, same = plan(step), inner(step)
        assert all(np.array_equal(a, b) for a, b in zip(rows[:3], same[:3], strict=True))
        height, length = rows.shape["text"]
        assert (plan.pack, length) == (16, 24) and height % 2 == 0
        for pack in range(3):
            mine = slice(16 * pack, 16 * pack + 16)
            filled = np.bincount(rows.row[mine], lengths[rows.index[mine]], minlength=height)
            assert len(filled) == height and filled.max() <= 24
        heights.add(height)
    assert max(heights) < 16
    with pytest.raises(ValueError, match="batch of 48 examples does not divide into packs of 9"):
        Packed(inner, [lengths], 24, pack=9)
    with pytest.raises(ValueError, match="has length 19, a row has 12"):
        Packed(inner, [lengths], 12, pack=16)


def words(bad=()):
    """200 rows with texts of very different lengths; some are corrupt."""
    texts = [" ".join(["word", "other", "third"][i % 3] for i in range(1 + n % 7))
             for n in range(200)]  # fmt: skip
    return InMemory([{"text": " " if n in bad else text, "label": n}
                     for n, text in enumerate(texts)], "words")  # fmt: skip


TOKENIZE = Tokenize(bpe.train(["word other third"] * 9, 300), 12)


def test_packed_batches_hold_the_same_tokens_whoever_reads_them():
    source = words(bad=range(0, 200, 9))
    plan = Mixture((200,), 32, seed=3)
    lengths = [text_lengths(source, TOKENIZE)]
    padded = Pipeline([source], dataclasses.replace(plan, shape={"text": (12,)}), [TOKENIZE],
                      threads=0, max_corrupt_share=1.0)  # fmt: skip
    packed = Pipeline([source], Packed(plan, lengths, 12, pack=8), [TOKENIZE],
                      threads=2, max_corrupt_share=1.0)  # fmt: skip
    assert packed.spec["text"].shape == packed.spec["text_segment"].shape == (4, 8, 12)
    with packed.batches(0, 5) as batches:
        for step, (arrays, corrupt) in enumerate(batches):
            right, reasons = padded.batch(step)
            assert corrupt == reasons and corrupt
            for name in ("weight", "index", "label", "group"):
                np.testing.assert_array_equal(arrays[name], right[name])
            assert arrays["text"].shape[0] == 4 and arrays["text"].shape[1] < 8
            pack, row, place = np.nonzero(arrays["text_mask"])
            who = pack * 8 + arrays["text_segment"][pack, row, place]
            where = arrays["text_position"][pack, row, place]
            found = np.full((32, 12), -1)
            found[who, where] = arrays["text"][pack, row, place]
            np.testing.assert_array_equal(
                found, np.where(right["text_mask"], right["text"], -1)
            )
            halves = [packed.batch(step, host, 2).arrays for host in range(2)]
            for name, value in arrays.items():
                both = np.concatenate([half[name] for half in halves])
                np.testing.assert_array_equal(both, value)
    with pytest.raises(ValueError, match="do not divide into packs of 8"):
        packed.batch(0, 0, 8)


def test_unpacked_rows_are_the_sequences():
    segment = jnp.array([[[0, 0, 2], [1, -1, -1]], [[2, 2, 2], [0, 1, 1]]])
    position = jnp.array([[[0, 1, 0], [0, 0, 0]], [[0, 1, 2], [0, 0, 1]]])
    tokens = jnp.arange(12.0).reshape(2, 2, 3, 1)
    rows, real = packing.unpack(tokens, packing.Layout(segment, position, 3), 4)
    assert np.array_equal(real.sum(1), [2, 1, 1, 1, 2, 3])
    got = [list(row[keep]) for row, keep in zip(np.asarray(rows)[..., 0], real, strict=True)]
    assert got == [[0, 1], [3], [2], [9], [10, 11], [6, 7, 8]]


# Loss and gradient of a whole run's task.


@functools.cache
def run(pool, causal, *changes):
    config = load("configs/contrastive/clip_emoji.py:smoke", [
        f"model.image.transformer={TINY}", f"model.text.transformer={TINY}", "model.embedding=16",
        f"model.text.pool={pool!r}", f"model.text.causal={causal}",
        "data.processor.vocab_size=2000", "data.batch_size=64", *changes,
    ], schema=Options)  # fmt: skip
    return Run(build(Options, config))


def values(one, state, accumulate=1, devices=1):
    """(loss, gradients) of the batch of step 3 at the given variables."""
    where = mesh(devices, data=devices)
    arrays = {name: value for name, value in one.pipeline.batch(3).arrays.items()
              if name in one.shapes}  # fmt: skip
    with jax.set_mesh(where):
        batch = jax.device_put(arrays, sharding.batch_sharding(where))
        value, grads, _ = jax.jit(
            lambda variables, batch: gradients(
                one.task, variables, variables["params"], batch, jax.random.key(0),
                jnp.int32(3), accumulate, pack=one.pack,
            ),
            compiler_options=QUICK,
        )(state, batch)  # fmt: skip
    return float(value), tree.flatten(jax.device_get(grads))


PAD, BUCKET = "data.processor.pad_to=24", "data.processor.pad_to=0"
PACK = ("data.processor.pack=8", "data.processor.pack_length=48")


POOLS = [
    pytest.param("mean", False, marks=pytest.mark.slow),
    ("last", True),
    pytest.param("attention", False, marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.parametrize("accumulate, devices", [(1, 8), (2, 4)])
def test_packs_lie_apart(accumulate, devices):
    packed = run("last", True, *PACK)
    with jax.set_mesh(packed.mesh):
        state = jax.device_get(packed.spec.init().variables)
    loss, right = values(packed, state)
    value, grads = values(packed, state, accumulate, devices)
    assert abs(value - loss) <= 1e-5 * abs(loss)
    size = np.sqrt(sum(np.square(gradient).sum() for gradient in right.values()))
    for path, gradient in right.items():
        distance = np.linalg.norm(grads[path] - gradient)
        assert distance <= 1e-5 * max(np.linalg.norm(gradient), 1e-2 * size), path


@pytest.mark.parametrize("pool, causal", POOLS)
def test_packed_bucketed_and_padded_agree(pool, causal):
    padded = run(pool, causal, PAD)
    with jax.set_mesh(padded.mesh):
        state = jax.device_get(padded.spec.init().variables)
    loss, right = values(padded, state)
    size = np.sqrt(sum(np.square(one).sum() for one in right.values()))
    bucketed = run(pool, causal, BUCKET)
    packed = run(pool, causal, *PACK)
    for form in (bucketed, packed):
        value, grads = values(form, state)
        assert abs(value - loss) <= 1e-5 * abs(loss)
        for path, gradient in right.items():
            distance = np.linalg.norm(grads[path] - gradient)
            assert distance <= 1e-5 * max(np.linalg.norm(gradient), 1e-2 * size), path
    same = jax.tree.map(lambda a, b: a.shape == b.shape, packed.spec.shapes.params,
                        padded.spec.shapes.params)  # fmt: skip
    assert all(jax.tree.leaves(same))
    tokens = packed.pipeline.batch(3).arrays["text"]  # [packs, rows, length]
    assert tokens.size < 0.85 * 64 * 24
