"""Diffusion: what is drawn is drawn once for the whole batch, and a sample depends on its own key
and text alone. The model is a toy: what it says can be counted by hand."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.generation.diffusion import samplers, sampling, schedules
from mmjax.tasks import diffusion
from mmjax.training import micro_batches

ROWS = 32
SHAPE = (2, 4, 4, 1)


class Read(NamedTuple):
    states: jax.Array
    mask: jax.Array
    given: jax.Array | None = None
    known: jax.Array | None = None


class Toy(nn.Module):
    """Says its text everywhere, a share of what it sees, and what it is given."""

    takes_frames: bool = False

    def setup(self):
        self.scale = self.param("scale", nn.initializers.constant(0.5), ())

    def check(self, shape):
        if shape[0] > 2:
            raise ConfigError(f"{shape[0]} frames")

    def read(self, ids, mask, *, train=False):
        return Read(ids[..., None].astype(jnp.float32) / 10, mask)

    def without(self, like):
        return like._replace(states=jnp.zeros_like(like.states))

    def encode(self, samples, keys):
        return samples

    def decode(self, latents):
        return latents

    def denoise(self, latents, times, condition, *, train=False):
        said = condition.states.mean((1, 2)).reshape(-1, 1, 1, 1, 1)
        if condition.given is not None:
            known = condition.known[:, :, None, None, None]
            said = said + jnp.where(known, condition.given, 0).sum(1, keepdims=True)
        return self.scale * latents + said

    def __call__(self, samples, times, ids, mask):
        return self.denoise(samples, times, self.read(ids, mask))


def made(takes_frames=False, **config):
    config = {"sampling": sampling.Config("v", 3.0), "shape": SHAPE, **config}
    sampler = samplers.Config("ddim", 3)
    return diffusion.build(diffusion.Config(sampler=sampler, **config), Toy(takes_frames))


def batch(rows=ROWS):
    rng = np.random.default_rng(0)
    return {
        "video": jnp.asarray(rng.uniform(-1, 1, (rows, *SHAPE)), jnp.float32),
        "text": jnp.asarray(rng.integers(1, 9, (rows, 3)), jnp.int32),
        "weight": jnp.ones(rows),
    }


VARIABLES = {"params": {"scale": jnp.asarray(0.5)}, "state": {}}
KEY = jax.random.key(3)
STEP = jnp.zeros((), jnp.int32)


def values(task, rows):
    loss = jax.jit(lambda rows: task.loss(VARIABLES, rows, None, KEY, STEP, train=False))(rows)
    return np.asarray(loss.parts["noise_removal"].values)


def test_draws_belong_to_the_global_batch():
    """The same on one device and on eight, and whatever micro-batches it is split into."""
    task = made(drop=0.25, min_snr=5.0)
    whole = task.prepare(batch(), KEY, STEP)
    assert 0.0 < float(whole["dropped"].mean()) < 0.4
    # times are spread evenly: one in each of ROWS equal parts
    np.testing.assert_allclose(np.diff(np.sort(whole["place"])), 1 / ROWS, atol=1e-5)

    mesh = jax.make_mesh((8,), ("data",))
    cut = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = jax.device_put(batch(), cut)
    for name, value in jax.jit(task.prepare)(spread, KEY, STEP).items():
        np.testing.assert_allclose(np.asarray(value), np.asarray(whole[name]), atol=1e-6)

    rows = values(task, whole)
    parts = micro_batches.fold(whole, whole, 4)
    apart = jax.lax.map(
        lambda rows: task.loss(VARIABLES, rows, None, KEY, STEP, train=False).parts, parts
    )
    joined = micro_batches.unfold(apart["noise_removal"].values, whole)
    np.testing.assert_allclose(joined, rows, rtol=1e-5)

    # a row that was dropped learns nothing of its text, every other one does
    other = values(task, {**whole, "text": whole["text"] + 5})
    np.testing.assert_array_equal(np.isclose(other, rows, rtol=1e-6), np.asarray(whole["dropped"]))


def test_all_targets_are_of_one_error():
    """With the right answer there is none, whatever is said; and steps draw anew."""
    for target, kind, sampler in (
        ("noise", "cosine", "ddim"), ("clean", "linear", "ddim"), ("v", "cosine", "dpm_solver"),
        ("flow", "flow", "euler"),
    ):  # fmt: skip
        config = diffusion.Config(
            schedule=schedules.Config(kind), sampling=sampling.Config(target),
            sampler=samplers.Config(sampler, 3), shape=SHAPE, drop=0.0,
        )  # fmt: skip
        task = diffusion.build(config, Toy())
        rows = task.prepare(batch(8), KEY, STEP)
        loss = values(task, rows)
        levels = config.schedule.at(rows["place"])
        keys = jax.random.wrap_key_data(rows["key"])
        noise = sampling.noise_like(keys, jnp.asarray(0), SHAPE)
        alpha, sigma = (x.reshape(-1, 1, 1, 1, 1) for x in (levels.alpha, levels.sigma))
        x = alpha * rows["video"] + sigma * noise
        wanted = {
            "noise": noise, "clean": rows["video"], "flow": noise - rows["video"],
            "v": alpha * noise - sigma * rows["video"],
        }[target]  # fmt: skip
        said = 0.5 * x + (rows["text"] / 10).mean(1).reshape(-1, 1, 1, 1, 1)
        # the row's noise is drawn from a key of its own, beside that of the autoencoder
        np.testing.assert_allclose(loss, jnp.square(said - wanted).mean((1, 2, 3, 4)), rtol=1e-4)
    later = made().prepare(batch(8), jax.random.key(4), STEP + 1)
    assert not np.allclose(later["place"], rows["place"])


def test_a_sample_is_its_own():
    task = made()
    rows = batch(4)
    keys = jax.random.split(KEY, 4)

    @jax.jit
    def run(rows, keys, scales):
        return task.generate(VARIABLES, rows, keys, guidance=scales)["video"]

    three = jnp.full(4, 3.0)
    whole = run(rows, keys, three)
    assert whole.shape == (4, *SHAPE) and float(jnp.abs(whole).max()) <= 1
    # whatever its neighbours' texts, keys and scales are
    others = jnp.arange(4) != 2
    text = jnp.where(others[:, None], rows["text"] % 5 + 1, rows["text"])
    scales = jnp.array([0.0, 1.0, 3.0, 7.0])
    mixed = run({**rows, "text": text}, keys[jnp.array([1, 0, 2, 0])], scales)
    np.testing.assert_allclose(mixed[2], whole[2], atol=1e-6)
    assert not np.allclose(mixed[3], whole[3], atol=1e-2)
    # scale 0 has not read the text, and is asked once
    unread = run({**rows, "text": text}, keys, jnp.zeros(4))
    once = jax.jit(lambda: task.generate(VARIABLES, rows, keys, guidance=0.0)["video"])()
    np.testing.assert_allclose(unread, once, atol=1e-5)


def test_clips_begin_with_a_picture():
    """Some rows learn with their first frame, with or without their text; samples keep it."""
    task = made(takes_frames=True, first=0.5, drop=0.3)
    rows = task.prepare(batch(), KEY, STEP)
    begun = np.asarray(rows["begun"])
    assert 0.2 < begun.mean() < 0.8 and (begun & np.asarray(rows["dropped"])).any()
    alone = made(drop=0.3)
    without = values(alone, alone.prepare(batch(), KEY, STEP))  # other rows learn as they did
    np.testing.assert_array_equal(np.isclose(values(task, rows), without, rtol=1e-6), ~begun)
    later = {**rows, "video": rows["video"].at[:, 1].set(0.5)}  # of which nothing is given
    assert not np.isclose(values(task, later), values(task, rows)).any()

    keys = jax.random.split(KEY, 4)
    first = batch(4)["video"][:, 0]
    asked = batch(4) | {"first": first}
    clips = task.generate(VARIABLES, asked, keys)["video"]
    np.testing.assert_allclose(clips[:, 0], first, atol=1e-6)
    other = task.generate(VARIABLES, asked | {"first": -first}, keys)["video"]
    assert not np.allclose(other[:, 1], clips[:, 1], atol=1e-2)
    with pytest.raises(ConfigError, match="takes no frames that are known"):
        alone.generate(VARIABLES, asked, keys)


def test_pictures_are_clips_of_one_frame():
    clips = batch(4)
    picture = made(field="image", shape=SHAPE[1:])
    clip = made(shape=(1, *SHAPE[1:]))
    of_picture = {**clips, "image": clips["video"][:, 0]}
    of_clip = {**clips, "video": clips["video"][:, :1]}
    one, other = (
        values(task, task.prepare(rows, KEY, STEP))
        for task, rows in ((picture, of_picture), (clip, of_clip))
    )
    np.testing.assert_array_equal(one, other)
    keys = jax.random.split(KEY, 4)
    drawn = jax.jit(lambda rows: picture.generate(VARIABLES, rows, keys, steps=2)["image"])
    assert drawn(of_picture).shape == (4, *SHAPE[1:])


def test_what_cannot_be_is_said_before_anything_is_compiled():
    with pytest.raises(ConfigError, match="shape=.* the processor says it"):
        made(shape=()).init(KEY, batch(2))
    with pytest.raises(ConfigError, match="3 frames"):
        made(shape=(3, 4, 4, 1)).generate(VARIABLES, batch(2), jax.random.split(KEY, 2))
    with pytest.raises(ConfigError, match="drop=2"):
        made(drop=2.0)
    with pytest.raises(ConfigError, match="takes no frames that are known: train one with"):
        made(first=0.5).init(KEY, batch(2))
    with pytest.raises(ConfigError, match="does not go with schedule 'flow'"):
        made(schedule=schedules.Config("flow"))
