"""CLIP and SigLIP against `transformers`, on tiny random checkpoints: embeddings to 1e-4.

The names are mapped here, in the test; the conversion room takes them over when it reads
checkpoints. Weights come from saved files, whose names are those of the hub.
"""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax import tree
from mmjax.layers import transformer
from mmjax.models import clip, text, vit

pytestmark = pytest.mark.parity

D, LAYERS, HEADS, F, V, L, SIZE, PATCH, E = 32, 3, 4, 64, 50, 12, 32, 8, 24
BODY = transformer.Config(width=D, layers=LAYERS, heads=HEADS, hidden=F)
TOWER = dict(
    hidden_size=D, intermediate_size=F, num_hidden_layers=LAYERS, num_attention_heads=HEADS
)


def saved(model, folder):
    """{name in the file: array}."""
    from safetensors.numpy import load_file

    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def linear(weights, name, inputs=(), outputs=()):
    """A torch Linear [out, in] as kernel [in..., out...] and bias."""
    kernel = weights[f"{name}.weight"].T
    shape = (*(inputs or kernel.shape[:1]), *(outputs or kernel.shape[1:]))
    out = {"kernel": kernel.reshape(shape)}
    if f"{name}.bias" in weights:
        out["bias"] = weights[f"{name}.bias"].reshape(outputs or (-1,))
    return out


def norm(weights, name):
    return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}


def blocks(weights, name):
    heads = (HEADS, D // HEADS)

    def one(i):
        at = f"{name}.{i}"
        attention = {
            key: linear(weights, f"{at}.self_attn.{key[0]}_proj", outputs=heads)
            for key in ("query", "key", "value")
        }
        attention["out"] = linear(weights, f"{at}.self_attn.out_proj", inputs=heads)
        return {
            "attention": attention,
            "attention_norm": norm(weights, f"{at}.layer_norm1"),
            "mlp": {
                "up": linear(weights, f"{at}.mlp.fc1"),
                "down": linear(weights, f"{at}.mlp.fc2"),
            },
            "mlp_norm": norm(weights, f"{at}.layer_norm2"),
        }

    return jax.tree.map(lambda *layers: np.stack(layers), *[one(i) for i in range(LAYERS)])


def image_tower(weights, last):
    at = "vision_model"
    patches = weights[f"{at}.embeddings.patch_embedding.weight"]  # [D, C, p, p]
    out = {
        "patch_embedding": {"kernel": patches.transpose(2, 3, 1, 0).reshape(-1, D)},
        "positions": weights[f"{at}.embeddings.position_embedding.weight"],
        "transformer": {"blocks": blocks(weights, f"{at}.encoder.layers")},
        "norm": norm(weights, f"{at}.{last}"),
    }
    if f"{at}.embeddings.patch_embedding.bias" in weights:
        out["patch_embedding"]["bias"] = weights[f"{at}.embeddings.patch_embedding.bias"]
    return out


def text_tower(weights):
    at = "text_model"
    return {
        "tokens": weights[f"{at}.embeddings.token_embedding.weight"],
        "positions": weights[f"{at}.embeddings.position_embedding.weight"],
        "transformer": {"blocks": blocks(weights, f"{at}.encoder.layers")},
        "norm": norm(weights, f"{at}.final_layer_norm"),
    }


def embeddings(config, params, pixels, ids, mask):
    """Of our model; every parameter must be there and nothing more."""
    model = clip.Model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), pixels, ids, mask)
    found = tree.compare(jax.tree.map(lambda x: x, _unboxed(shapes["params"])), params)
    assert found.complete, found.report()
    params = jax.tree.map(jnp.asarray, params)
    return model.apply({"params": params}, pixels, ids, mask)


def _unboxed(boxed):
    from flax.linen import unbox

    return unbox(boxed)


def batch():
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)
    ids = rng.integers(3, V - 1, (3, L))
    lengths = np.array([5, L, 8])
    ids[np.arange(3), lengths - 1] = V - 1  # the end token has the highest id, as in CLIP
    mask = np.arange(L) < lengths[:, None]
    ids[~mask] = 1
    return pixels, ids.astype(np.int32), mask


def theirs(model, pixels, ids, mask=None):
    import torch

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = {} if mask is None else {"attention_mask": torch.tensor(mask.astype(np.int64))}
        out = model(
            input_ids=torch.tensor(ids.astype(np.int64)),
            pixel_values=torch.tensor(pixels.transpose(0, 3, 1, 2)),
            **kinds,
        )
    return out


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_clip(tmp_path, activation):
    import transformers

    words = dict(vocab_size=V, max_position_embeddings=L, eos_token_id=V - 1, hidden_act=activation)
    pictures = dict(image_size=SIZE, patch_size=PATCH, hidden_act=activation)
    reference = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={**TOWER, **words},
            vision_config={**TOWER, **pictures},
            projection_dim=E,
        )
    ).eval()
    weights = saved(reference, tmp_path)
    pixels, ids, mask = batch()
    body = dataclasses.replace(BODY, activation=activation)
    config = clip.Config(
        vit.Config(SIZE, PATCH, transformer=body, patch_bias=False, pre_norm=True),
        text.Config(V, L, body),
        embedding=E,
    )
    image = image_tower(weights, "post_layernorm")
    image["class_token"] = weights["vision_model.embeddings.class_embedding"][None]
    image["pre_norm"] = norm(weights, "vision_model.pre_layrnorm")
    params = {
        "image": image,
        "text": text_tower(weights),
        "image_head": linear(weights, "visual_projection"),
        "text_head": linear(weights, "text_projection"),
        "log_scale": weights["logit_scale"],
    }
    ours = embeddings(config, params, jnp.asarray(pixels), jnp.asarray(ids), jnp.asarray(mask))
    out = theirs(reference, pixels, ids, mask)
    np.testing.assert_allclose(ours[0], out.image_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours[1], out.text_embeds.numpy(), atol=1e-5)
    logits = jnp.exp(params["log_scale"]) * jnp.einsum("BE,CE->BC", *ours)
    np.testing.assert_allclose(logits, out.logits_per_image.numpy(), atol=1e-4)


def test_siglip(tmp_path):
    import transformers

    words = dict(vocab_size=V, max_position_embeddings=L, projection_size=D)
    reference = transformers.SiglipModel(
        transformers.SiglipConfig(
            text_config={**TOWER, **words},
            vision_config={**TOWER, "image_size": SIZE, "patch_size": PATCH},
        )
    ).eval()
    weights = saved(reference, tmp_path)
    pixels, ids, _ = batch()
    body = dataclasses.replace(BODY, activation="gelu_tanh", norm_epsilon=1e-6)
    config = clip.Config(
        vit.Config(SIZE, PATCH, transformer=body, pool="attention"),
        text.Config(V, L, body, causal=False, attend_padding=True),
        embedding=D,
        image_projection=False,
        projection_bias=True,
        bias_init=-10.0,
    )
    heads, at = (HEADS, D // HEADS), "vision_model.head"
    stacked = np.split(weights[f"{at}.attention.in_proj_weight"], 3)
    biases = np.split(weights[f"{at}.attention.in_proj_bias"], 3)
    attention = {
        key: {"kernel": w.T.reshape(D, *heads), "bias": b.reshape(heads)}
        for key, w, b in zip(("query", "key", "value"), stacked, biases, strict=True)
    }
    attention["out"] = linear(weights, f"{at}.attention.out_proj", inputs=heads)
    image = image_tower(weights, "post_layernorm")
    image["pool"] = {
        "probe": weights[f"{at}.probe"][0],
        "attention": attention,
        "norm": norm(weights, f"{at}.layernorm"),
        "mlp": {"up": linear(weights, f"{at}.mlp.fc1"), "down": linear(weights, f"{at}.mlp.fc2")},
    }
    params = {
        "image": image,
        "text": text_tower(weights),
        "text_head": linear(weights, "text_model.head"),
        "log_scale": weights["logit_scale"].reshape(()),
        "bias": weights["logit_bias"].reshape(()),
    }
    ours = embeddings(config, params, jnp.asarray(pixels), jnp.asarray(ids), None)
    out = theirs(reference, pixels, ids)
    np.testing.assert_allclose(ours[0], out.image_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours[1], out.text_embeds.numpy(), atol=1e-5)
    scale, bias = jnp.exp(params["log_scale"]), params["bias"]
    logits = scale * jnp.einsum("BE,CE->BC", *ours) + bias
    np.testing.assert_allclose(logits, out.logits_per_image.numpy(), atol=1e-4)
