"""Masked video: what is hidden, what it is compared with, and what is put in its place."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import watching

from mmjax.config import ConfigError
from mmjax.layers import tubelets
from mmjax.models import video_mae, vit
from mmjax.objectives import masked_video
from mmjax.tasks import masked_video as task_module

MODEL = video_mae.Model(
    video_mae.Config(
        dataclasses.replace(watching.MASKED, norm="tokens"), watching.OVER, floor=0.01
    )
)
BATCH = {"video": watching.clips(3) * 0.3, "weight": jnp.ones(3)}


def made(**changes):
    return task_module.build(task_module.Config(**{"hidden": 0.5, **changes}), MODEL)


@pytest.fixture(scope="module")
def variables():
    drawn = nn.unbox(made().init(jax.random.key(0), BATCH))
    return {**drawn, "teachers": {}}


def test_half_of_the_places_or_of_the_tubelets_is_hidden():
    keys = jax.random.split(jax.random.key(0), 3)
    tubes = np.asarray(made().visible(keys))
    assert tubes.shape == (3, 4) and (tubes[:, 2:] == tubes[:, :2] + 4).all()
    loose = np.asarray(made(masking="tubelets", hidden=0.75).visible(keys))
    assert loose.shape == (3, 2)
    # a row's tubelets follow from its own key, whatever the batch
    np.testing.assert_array_equal(made().visible(keys[1:])[0], tubes[1])
    for wrong in (0.0, 1.0):
        with pytest.raises(ConfigError, match="is a share"):
            made(hidden=wrong)
    with pytest.raises(ConfigError, match="trains a model like video_mae"):
        task_module.build(task_module.Config(), vit.Model(watching.IMAGE))


def test_errors_and_what_is_put_in_its_place(variables):
    task = made()
    keys = jax.random.split(jax.random.key(7), 3)
    batch = task.prepare(BATCH, jax.random.key(7), jnp.zeros(()))
    loss = task.loss(variables, batch, None, jax.random.key(0), jnp.zeros(()), train=False)
    out = task.restore(variables, BATCH, keys)
    np.testing.assert_allclose(out["error"], loss.parts["pixels"].values, rtol=1e-5)
    share, weight = loss.metrics["over_mean"]
    total = float((share * weight).sum() / weight.sum())
    expected = float(out["error"].sum() / out["mean_error"].sum())
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    # what was visible stays, what was hidden is one colour a channel, or made up
    config = MODEL.config.video
    cut = {name: np.asarray(config.cut(out[name])) for name in ("seen", "restored")}
    whole = np.asarray(config.cut(BATCH["video"]))
    for row, visible in enumerate(np.asarray(batch["visible"])):
        hidden = np.setdiff1d(np.arange(8), visible)
        for name in cut:
            np.testing.assert_allclose(cut[name][row, visible], whole[row, visible], atol=1e-5)
        flat = cut["seen"][row, hidden].reshape(4, -1, 3)
        np.testing.assert_allclose(flat, np.broadcast_to(flat[:, :1], flat.shape), atol=1e-5)
        assert np.abs(cut["restored"][row, hidden] - cut["seen"][row, hidden]).max() > 1e-3
    # a perfect prediction is the clip again
    places = tubelets.others(batch["visible"], 8)
    target = MODEL.targets(BATCH["video"], places)
    again = MODEL.restored(target, BATCH["video"], places)
    np.testing.assert_allclose(again, BATCH["video"], atol=1e-4)
    assert task.embed(variables, BATCH, keys)["video"].shape == (3, 16)


def test_a_floor_keeps_specks_small():
    speck = jnp.zeros((1, 1, 48)).at[0, 0, 0].set(1 / 255)
    loud = masked_video.normalised(speck, 3)
    quiet = masked_video.normalised(speck, 3, 0.05)
    assert float(jnp.abs(loud).max()) > 3 and float(jnp.abs(quiet).max()) < 0.1
    picture = jax.random.uniform(jax.random.key(0), (1, 1, 48))
    near = masked_video.normalised(picture, 3, 0.05) / masked_video.normalised(picture, 3)
    assert 0.75 < float(near.min()) and float(near.max()) < 1
