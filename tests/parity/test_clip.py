"""CLIP and SigLIP against `transformers`, on tiny random checkpoints of odd shapes.

* What is compared: each layer's hidden state of both towers, embeddings, logits, to 1e-4; then the
  reference opens what mmjax saved, and computes the same.
* Norms and biases are random too: what starts as ones and zeros hides a wrong name.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.conversion import load
from mmjax.layers.patches import Patches

pytestmark = pytest.mark.parity

V, L = 50, 12


def tower(width, layers, heads, hidden, **fields):
    return dict(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=hidden,
        **fields,
    )


def reference(model):
    """With random norms and biases, ready to be saved."""
    import torch

    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    return model.eval()


def captions():
    rng = np.random.default_rng(0)
    ids = rng.integers(3, V - 1, (3, L))
    lengths = np.array([5, L, 8])
    ids[np.arange(3), lengths - 1] = V - 1  # the end token has the highest id, as in CLIP
    mask = np.arange(L) < lengths[:, None]
    ids[~mask] = 1
    return ids.astype(np.int32), mask


def theirs(model, ids, mask=None, **images):
    """Output with hidden states; arrays in torch's layouts."""
    import torch

    if mask is not None:
        images["attention_mask"] = mask.astype(np.int64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model(
            input_ids=torch.tensor(ids.astype(np.int64)),
            output_hidden_states=True,
            **{key: torch.tensor(value) for key, value in images.items()},
        )


def compare(folder, model, images, ids, mask=None, **their_images):
    """All hidden states, embeddings and logits of the checkpoint in a folder."""
    loaded = load.load(folder)
    arguments = jax.tree.map(jnp.asarray, (images, ids, mask))
    run = jax.jit(lambda *a: loaded.model.apply(*a, mutable=["intermediates"]))
    (image, words), kept = run(loaded.variables, *arguments)
    out = theirs(model, ids, mask, **their_images)
    places = {"image": out.vision_model_output, "text": out.text_model_output}
    for name, tower in places.items():
        hidden = hidden_states(kept["intermediates"][name])
        their_hidden = np.stack([one.numpy() for one in tower.hidden_states])
        valid = np.ones(hidden.shape[1:3], bool)
        if name == "text" and mask is not None:
            valid = mask
        if isinstance(images, Patches) and name == "image":
            valid = images.mask
        assert len(hidden) == len(their_hidden)
        np.testing.assert_allclose(hidden[:, valid], their_hidden[:, valid], atol=1e-4)
    np.testing.assert_allclose(image, unit(out.image_embeds), atol=1e-4)
    np.testing.assert_allclose(words, unit(out.text_embeds), atol=1e-4)
    scale, bias = loaded.model.apply(loaded.variables, method="scale_and_bias")
    logits = scale * image @ words.T + (0 if bias is None else bias)
    np.testing.assert_allclose(logits, out.logits_per_image.numpy(), atol=1e-4)
    return loaded


def hidden_states(kept):
    """Of a tower, what goes into its first block and what leaves each: [1 + layers, B, L, D]."""
    (states,) = kept["transformer"]["hidden_states"]
    return np.asarray(states)


def unit(x):
    return (x / x.norm(dim=-1, keepdim=True)).numpy()


def both_ways(tmp_path, cls, model, *arguments, **images):
    """Saved by the reference and read here, saved here and read by the reference."""
    model.save_pretrained(tmp_path / "theirs")
    loaded = compare(tmp_path / "theirs", model, *arguments, **images)
    load.save(loaded, tmp_path / "ours")
    again = load.load(tmp_path / "ours")
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), *(
        one.params for one in (loaded, again)
    ))  # fmt: skip
    assert jax.tree.all(same)
    opened, report = cls.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    _, ids, *mask = arguments
    out = [theirs(one, ids, *mask, **images) for one in (model, opened.eval())]
    for field in ("image_embeds", "text_embeds", "logits_per_image"):
        np.testing.assert_allclose(*(getattr(one, field).numpy() for one in out), atol=1e-6)


def pixels(size, rows=3):
    x = np.random.default_rng(1).normal(size=(rows, size, size, 3)).astype(np.float32)
    return x, x.transpose(0, 3, 1, 2)


CLIPS = {
    "quick gelu, legacy end": (
        tower(32, 3, 4, 64, image_size=32, patch_size=8),
        tower(32, 3, 4, 64, eos_token_id=2),
    ),
    "uneven image, one head, unequal towers": (
        tower(24, 2, 1, 40, image_size=30, patch_size=7, hidden_act="gelu"),
        tower(36, 4, 6, 52, eos_token_id=V - 1, hidden_act="gelu"),
    ),
    "other norms and activations": (
        tower(20, 1, 5, 20, image_size=9, patch_size=9, hidden_act="relu", layer_norm_eps=1e-3),
        tower(16, 3, 2, 24, eos_token_id=V - 1, hidden_act="gelu_new"),
    ),
}


@pytest.mark.parametrize("kind", CLIPS)
def test_clip(tmp_path, kind):
    import transformers

    vision, text = CLIPS[kind]
    text = {**text, "vocab_size": V, "max_position_embeddings": L}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=28)
    model = reference(transformers.CLIPModel(config))
    x, their_x = pixels(vision["image_size"])
    ids, mask = captions()
    both_ways(tmp_path, transformers.CLIPModel, model, x, ids, mask, pixel_values=their_x)


def test_clip_padded_on_the_left(tmp_path):
    import transformers

    vision, text = CLIPS["uneven image, one head, unequal towers"]
    text = {**text, "vocab_size": V, "max_position_embeddings": L}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=28)
    model = reference(transformers.CLIPModel(config))
    model.save_pretrained(tmp_path)
    x, their_x = pixels(30)
    ids, mask = captions()
    # the first row that a padded place may attend to is its own, on both sides
    compare(tmp_path, model, x, ids[:, ::-1].copy(), mask[:, ::-1].copy(), pixel_values=their_x)


SIGLIPS = {
    "plain": (tower(32, 3, 4, 64), tower(32, 3, 4, 64)),
    "one head, unequal towers": (tower(24, 2, 1, 40), tower(36, 2, 6, 52, projection_size=24)),
    "other activations and norms": (
        tower(20, 1, 5, 28, hidden_act="gelu", layer_norm_eps=1e-3),
        tower(20, 4, 2, 28, hidden_act="relu"),
    ),
}


@pytest.mark.parametrize("kind", SIGLIPS)
def test_siglip(tmp_path, kind):
    import torch
    import transformers

    vision, text = SIGLIPS[kind]
    vision = {**vision, "image_size": 30, "patch_size": 8}
    text = {**text, "vocab_size": V, "max_position_embeddings": L}
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    model = reference(transformers.SiglipModel(config))
    with torch.no_grad():
        model.logit_scale.fill_(np.log(117))  # as published weights hold it
    x, their_x = pixels(30)
    ids, mask = captions()
    both_ways(tmp_path / "read", transformers.SiglipModel, model, x, ids, pixel_values=their_x)
    # a mask that is given hides the padding, and the final position is pooled all the same
    folder = tmp_path / "hidden"
    both_ways(folder, transformers.SiglipModel, model, x, ids, mask, pixel_values=their_x)


@pytest.mark.parametrize("kind", SIGLIPS)
def test_siglip2_of_native_aspect(tmp_path, kind):
    import transformers

    vision, text = SIGLIPS[kind]
    vision = {**vision, "num_patches": 25, "patch_size": 4}
    text = {**text, "vocab_size": V, "max_position_embeddings": L}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    model = reference(transformers.Siglip2Model(config))
    # of at most 24 patches; none is one column of several rows: there torch 2.13 resizes along the
    # height wrongly (its two axes one after the other give what is computed here)
    shapes = np.array([[4, 6], [2, 11], [1, 7]])
    mask = np.arange(24) < shapes.prod(1)[:, None]
    values = np.random.default_rng(2).normal(size=(3, 24, 48)).astype(np.float32) * mask[..., None]
    images = Patches(values, shapes.astype(np.int32), mask)
    ids, _ = captions()
    their_images = dict(
        pixel_values=values, pixel_attention_mask=mask.astype(np.int64), spatial_shapes=shapes
    )
    both_ways(tmp_path, transformers.Siglip2Model, model, images, ids, **their_images)
