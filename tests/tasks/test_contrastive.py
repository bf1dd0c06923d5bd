"""The contrastive task: a loss for every two modalities, in the form that is asked for."""

import dataclasses
import itertools
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.objectives import contrastive as plain
from mmjax.objectives import ring
from mmjax.tasks import contrastive

ROWS = 6
SCALE, BIAS = jnp.float32(7), jnp.float32(-2)


class Scale(nn.Module):
    config = types.SimpleNamespace(bias_init=-2.0)

    def scale_and_bias(self):
        return SCALE, BIAS


def loss(encoded, more=None, **config):
    task = contrastive.Contrastive(contrastive.Config(**config), Scale())
    batch = {"weight": jnp.array([1.0, 1, 0, 1, 1, 1]), "group": jnp.array([0, 1, 2, 0, 3, 4])}
    batch |= more or {}
    return task.loss({"params": {}}, batch, encoded, None, 0, train=True), batch


def vectors(*names):
    rng = np.random.default_rng(0)
    sides = {name: rng.normal(size=(ROWS, 4)).astype(np.float32) for name in names}
    return {n: jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True)) for n, x in sides.items()}


def test_every_two_modalities_are_compared():
    encoded = vectors("text", "image", "audio")
    found, batch = loss(encoded)
    assert set(found.parts) == {"audio_image", "audio_text", "image_text"}
    for name, part in found.parts.items():
        one, other = (encoded[side] for side in name.split("_"))
        pairs = plain.softmax(one, other, SCALE, batch["weight"], batch["group"])
        mean = (pairs.loss_a_to_b + pairs.loss_b_to_a) / 2
        np.testing.assert_allclose(part.values, mean, rtol=1e-6)
        one, other = name.split("_")
        np.testing.assert_array_equal(found.metrics[f"{one}_to_{other}"][0], pairs.correct_a_to_b)
        np.testing.assert_array_equal(found.metrics[f"{other}_to_{one}"][0], pairs.correct_b_to_a)


def test_one_modality_is_refused():
    with pytest.raises(ValueError, match=r"the batch holds \['image'\] alone"):
        loss(vectors("image"))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_the_form_is_chosen_by_size_or_forced(kind, monkeypatch):
    used = []

    def recorded(*arguments):
        used.append("ring")
        return getattr(plain, kind)(*arguments)

    monkeypatch.setattr(ring, kind, recorded)
    encoded = vectors("image", "text")
    for form, limit, expected in [
        ("auto", ROWS * ROWS, []),
        ("auto", ROWS * ROWS - 1, ["ring"]),
        ("ring", 2**22, ["ring"]),
        ("plain", 1, []),
    ]:
        used.clear()
        monkeypatch.setattr(ring, "LIMIT", limit)
        loss(encoded, loss=kind, form=form)
        assert used == expected, (form, limit)


def test_groups_can_be_left_unread():
    encoded = vectors("image", "text")
    with_groups, _ = loss(encoded)
    without, batch = loss(encoded, groups=False)
    values = without.parts["image_text"].values
    pairs = plain.softmax(encoded["image"], encoded["text"], SCALE, batch["weight"])
    np.testing.assert_allclose(values, (pairs.loss_a_to_b + pairs.loss_b_to_a) / 2, rtol=1e-6)
    assert np.all(np.asarray(values[0]) > np.asarray(with_groups.parts["image_text"].values[0]))


def test_mixup_blends_real_rows_alone():
    task = contrastive.Contrastive(contrastive.Config(mixup=True), Scale())
    weight = jnp.array([1.0, 1, 0, 1, 1, 1])
    image = jnp.arange(ROWS * 4.0).reshape(ROWS, 2, 2, 1)
    batch = task.prepare({"image": image, "weight": weight}, jax.random.key(0), jnp.int32(0))
    share = batch["image_share"]
    assert np.all((share >= 0.5) & (share <= 1)) and share[1] == share[2] == 1
    assert np.all(share[jnp.array([0, 3, 4, 5])] < 1)
    blend = share[:, None, None, None] * image
    blend += (1 - share)[:, None, None, None] * jnp.roll(image, -1, axis=0)
    np.testing.assert_allclose(batch["image"], blend, rtol=1e-6)
    plainly = contrastive.Contrastive(contrastive.Config(), Scale())
    same = {"image": image, "weight": weight}
    assert plainly.prepare(same, jax.random.key(0), jnp.int32(0)) is same


def test_mixup_is_cross_entropy_with_both_captions_as_targets():
    """Without groups and missing rows: targets `share` on the own pair, the rest on the next."""
    encoded = vectors("text", "image")
    share = jnp.array([0.5, 0.9, 1, 0.7, 0.6, 0.8])
    whole = {"weight": jnp.ones(ROWS), "image_share": share}
    found, _ = loss(encoded, whole, groups=False)
    logits = SCALE * encoded["image"] @ encoded["text"].T
    target = share[:, None] * jnp.eye(ROWS)
    target += (1 - share)[:, None] * jnp.roll(jnp.eye(ROWS), 1, axis=1)
    for_images = -(target * jax.nn.log_softmax(logits, 1)).sum()
    for_texts = -(target * jax.nn.log_softmax(logits, 0)).sum()
    part = found.parts["image_text"]
    np.testing.assert_allclose(part.values.sum(), (for_images + for_texts) / 2, rtol=1e-5)


@dataclasses.dataclass(frozen=True)
class Towers:
    """A model's config: one field a tower, None where there is none."""

    image: int | None = 3
    sound: int | None = None
    text: int | None = 5
    bias_init: float | None = None


class Several(nn.Module):
    """`encode_text` of its own, and one method for all other towers."""

    config: Towers

    @nn.compact
    def encode(self, modality, x, mask=None, *, train=False):
        x = x if mask is None else x * mask
        x = nn.Dense(4, name=modality)(x.astype(jnp.float32))
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    def encode_text(self, ids, mask, *, train=False):
        return self.encode("text", ids + 1, mask, train=train)

    def scale_and_bias(self):
        return SCALE, None


@pytest.mark.parametrize("towers, names", [
    (Towers(), ["image", "text"]),
    (Towers(image=None, sound=7), ["sound", "text"]),
    (Towers(sound=7), ["image", "sound", "text"]),
])  # fmt: skip
def test_every_modality_that_the_model_has_a_tower_for_is_encoded(towers, names):
    """Padded or not, one or several a row; what no tower is for is left alone."""
    task = contrastive.Contrastive(contrastive.Config(), Several(towers))
    mask = np.arange(5) < np.arange(ROWS * 2).reshape(ROWS, 2, 1) % 5 + 1
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.normal(size=(ROWS, 3)).astype(np.float32),
        "sound": rng.normal(size=(ROWS, 7)).astype(np.float32),
        "sound_mask": np.ones((ROWS, 7), bool),
        "text": rng.integers(9, size=(ROWS, 2, 5)).astype(np.int32),
        "text_mask": mask,
        "label": np.zeros(ROWS, np.int32),
        "weight": jnp.ones(ROWS),
    }
    variables = {**task.init(jax.random.key(0), batch), "teachers": {}}
    assert set(variables["params"]) == set(names)
    embed = task.predict["embed"]
    keys = jax.random.split(jax.random.key(1), ROWS)
    encoded = embed(variables, batch, keys)
    assert sorted(encoded) == names
    assert encoded["text"].shape == (ROWS, 2, 4)
    one = embed(variables, {**batch, "text": batch["text"][:, 1], "text_mask": mask[:, 1]}, keys)
    np.testing.assert_allclose(one["text"], encoded["text"][:, 1], rtol=1e-5)
    found = task.loss(variables, batch, one, None, jnp.int32(0), train=True)
    pairs = ["_".join(two) for two in itertools.combinations(names, 2)]
    assert sorted(found.parts) == sorted(pairs)
