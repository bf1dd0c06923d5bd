"""CTC as a task: the loss of a batch, rows that cannot be learned, and what is generated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import unbox

from mmjax.layers import transformer
from mmjax.models import conformer, wav2vec2
from mmjax.objectives.ctc import ctc as values_of
from mmjax.tasks import ctc

BODY = transformer.Config(width=16, layers=1, heads=2, hidden=32, activation="silu")
MODEL = conformer.Model(conformer.Config(bins=4, transformer=BODY, taps=3, letters=6))
TASK = ctc.build(ctc.Config(), MODEL)


def batch():
    lengths = jnp.array([[24], [18], [5]])
    letters = jnp.array([[3], [2], [3]])
    return dict(
        audio=jax.random.normal(jax.random.key(0), (3, 24, 4)),
        audio_mask=jnp.arange(24)[None] < lengths,
        text=jnp.array([[1, 2, 2], [3, 4, 0], [1, 2, 3]]),
        text_mask=jnp.arange(3)[None] < letters,
        weight=jnp.ones(3),
    )


@functools.cache
def start():
    return unbox(TASK.init(jax.random.key(1), batch()))


def loss_of(rows, train=False):
    return TASK.loss(start(), rows, None, jax.random.key(0), jnp.int32(0), train=train)


def test_nats_a_letter_of_rows_that_can_be_said():
    rows = batch()
    found = loss_of(rows)
    part = found.parts["text"]
    # the last row has 2 frames for 3 letters
    assert part.weights.tolist() == [1, 1, 0] and TASK.totals(rows)["text"] == 5
    assert found.metrics["fits"][0].tolist() == [1, 1, 0]
    out = MODEL.apply({"params": start()["params"]}, rows["audio"], rows["audio_mask"])
    frames = MODEL.frame_mask(rows["audio_mask"])
    wanted = values_of(out.logits, frames, rows["text"], rows["text_mask"])
    np.testing.assert_allclose(part.values, wanted, rtol=1e-6)
    gone = {**rows, "weight": jnp.array([1.0, 0.0, 1.0])}
    assert TASK.totals(gone)["text"] == 3 and loss_of(gone).parts["text"].weights.sum() == 1


def test_gradients_are_finite_where_nothing_can_be_said():
    rows = {**batch(), "audio_mask": jnp.zeros((3, 24), bool), "weight": jnp.zeros(3)}

    def value(params):
        part = TASK.loss(
            {"params": params}, rows, None, jax.random.key(0), jnp.int32(0), train=True
        ).parts["text"]
        return (part.values * part.weights).sum()

    gradient = jax.grad(value)(start()["params"])
    assert all(np.isfinite(one).all() for one in jax.tree.leaves(gradient))


def test_what_is_generated_is_in_the_letters():
    rows = batch()
    keys = jax.random.split(jax.random.key(0), 3)
    said = TASK.predict["generate"](start(), rows, keys)
    assert said["text"].shape == said["text_mask"].shape == (3, 6)
    heard = TASK.predict["logits"](start(), rows, keys)
    assert heard["logits"].shape == (3, 6, 6)
    assert heard["logits_mask"].sum(1).tolist() == [6, 5, 2]
    assert not said["text_mask"][2, 2:].any()


def test_wav2vec2_is_served_too():
    config = wav2vec2.Config(
        front=(wav2vec2.Stage(6, 10, 5), wav2vec2.Stage(7, 3, 2)), position_taps=4,
        position_groups=2, transformer=transformer.Config(16, 1, 2, 32, norm="post"), letters=6,
    )  # fmt: skip
    rows = {
        **batch(),
        "audio": jax.random.normal(jax.random.key(0), (3, 120)),
        "audio_mask": jnp.arange(120)[None] < jnp.array([[120], [90], [60]]),
    }
    for masked in (True, False):
        task = ctc.build(ctc.Config(masked=masked), wav2vec2.Model(config))
        variables = unbox(task.init(jax.random.key(0), rows))
        part = task.loss(variables, rows, None, jax.random.key(0), jnp.int32(0), train=False).parts[
            "text"
        ]
        assert part.values.shape == (3,) and np.isfinite(part.values).all()
        assert part.weights.tolist() == [1, 1, 1]
