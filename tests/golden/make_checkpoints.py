"""Tiny random checkpoints of image and text models, and what the reference computes with them.

    python tests/golden/make_checkpoints.py transformers   # 5.23, torch 2.13
    python tests/golden/make_checkpoints.py open_clip      # 3.3, torch 2.14
    python tests/golden/make_checkpoints.py flax           # transformers 4.44, flax 0.8, jax 0.4.30

Each run writes folders under tests/golden/checkpoints: the checkpoint as the reference saves it,
and expected.npz with inputs (in mmjax's layouts) and outputs.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent / "checkpoints"
V, L = 40, 8
TOWER = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40)
TEXT = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=28, vocab_size=V,
    max_position_embeddings=L, eos_token_id=V - 1, bos_token_id=V - 2, pad_token_id=1,
)  # fmt: skip


def captions():
    rng = np.random.default_rng(0)
    ids = rng.integers(2, V - 2, (2, L))
    lengths = np.array([5, L])
    ids[np.arange(2), lengths - 1] = V - 1
    mask = np.arange(L) < lengths[:, None]
    ids[~mask] = 1
    return ids.astype(np.int32), mask


def pixels(size, other=None):
    rng = np.random.default_rng(1)
    return rng.normal(size=(2, size, other or size, 3)).astype(np.float32)


def store(name, **arrays):
    np.savez_compressed(HERE / name / "expected.npz", **arrays)
    for leftover in (HERE / name).glob("README.md"):
        leftover.unlink()


def shaken(model, torch):
    """Norms and biases away from ones and zeros, which would hide a wrong name."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    for key, value in model.named_buffers():
        if key.endswith("running_mean"):
            value.normal_(0, 0.3)
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
    return model.eval()


def unit(x):
    return (x / x.norm(dim=-1, keepdim=True)).numpy()


def of_transformers():
    import torch
    import transformers as t

    def pair(name, model, images, **their_images):
        ids, mask = captions()
        clip = name == "clip"
        kinds = {"attention_mask": torch.tensor(mask.astype(np.int64))} if clip else {}
        with torch.no_grad():
            tensors = {key: torch.tensor(value) for key, value in their_images.items()}
            out = model(input_ids=torch.tensor(ids.astype(np.int64)), **tensors, **kinds)
        model.save_pretrained(HERE / name)
        store(
            name, ids=ids, mask=mask, image=unit(out.image_embeds), text=unit(out.text_embeds),
            logits=out.logits_per_image.numpy(), **images,
        )  # fmt: skip

    x = pixels(20)
    first = x.transpose(0, 3, 1, 2)
    vision = {**TOWER, "image_size": 20, "patch_size": 6}
    config = t.CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=12)
    pair("clip", shaken(t.CLIPModel(config), torch), {"images": x}, pixel_values=first)
    text = {**TEXT, "projection_size": 24}
    config = t.SiglipConfig(text_config=text, vision_config=vision)
    pair("siglip", shaken(t.SiglipModel(config), torch), {"images": x}, pixel_values=first)

    shapes = np.array([[3, 4], [2, 5]])
    valid = np.arange(12) < shapes.prod(1)[:, None]
    values = np.random.default_rng(2).normal(size=(2, 12, 48)).astype(np.float32) * valid[..., None]
    vision = {**TOWER, "num_patches": 16, "patch_size": 4}
    config = t.Siglip2Config(text_config=text, vision_config=vision)
    pair(
        "siglip2", shaken(t.Siglip2Model(config), torch),
        {"values": values, "shapes": shapes.astype(np.int32), "valid": valid},
        pixel_values=values, pixel_attention_mask=valid.astype(np.int64), spatial_shapes=shapes,
    )  # fmt: skip

    def classifier(name, cls, config):
        model = shaken(cls(config), torch)
        model.save_pretrained(HERE / name)
        other = pixels(20, 26)
        found = []
        for one, resize in ((x, False), (other, True)):
            with torch.no_grad():
                found.append(
                    model(torch.tensor(one.transpose(0, 3, 1, 2)), interpolate_pos_encoding=resize)
                )
        key = "logits" if hasattr(found[0], "logits") else "pooler_output"
        store(name, images=x, other=other, out=found[0][key], other_out=found[1][key])

    sizes = dict(image_size=20, patch_size=6)
    classifier("vit", t.ViTModel, t.ViTConfig(**TOWER, **sizes, pooler_output_size=10))
    labels = {0: "cat", 1: "dog", 2: "cow"}
    config = t.DeiTConfig(**TOWER, **sizes, id2label=labels)
    classifier("deit", t.DeiTForImageClassificationWithTeacher, config)


def of_open_clip():
    import open_clip
    import torch
    from safetensors.torch import save_file

    text = dict(context_length=L, vocab_size=V, width=16, heads=2, layers=1)
    residual = dict(image_size=32, layers=[1, 1, 1, 1], width=2, head_width=16, patch_size=None)
    plain = dict(image_size=20, layers=2, width=24, head_width=8, patch_size=6, mlp_ratio=1.7)
    ids, _ = captions()
    ids[ids == 1] = 0
    for name, vision in (("open_clip_vit", plain), ("open_clip_rn", residual)):
        model_cfg = dict(embed_dim=12, vision_cfg=vision, text_cfg=text)
        if vision is plain:
            model_cfg["quick_gelu"] = True
        (HERE / name).mkdir(parents=True, exist_ok=True)
        path = HERE / name / "open_clip_config.json"
        path.write_text(json.dumps({"model_cfg": model_cfg}, indent=2) + "\n")
        model = open_clip.create_model(f"local-dir:{path.parent}", load_weights=False)
        model = shaken(model, torch)
        save_file(
            {key: value.contiguous() for key, value in model.state_dict().items()},
            path.with_name("open_clip_model.safetensors"),
        )
        x = pixels(vision["image_size"])
        with torch.no_grad():
            image = model.encode_image(torch.tensor(x.transpose(0, 3, 1, 2)), normalize=True)
            words = model.encode_text(torch.tensor(ids.astype(np.int64)), normalize=True)
        store(name, images=x, ids=ids, image=image.numpy(), text=words.numpy())


def of_flax():
    import jax
    import jax.numpy as jnp
    import transformers as t

    def shaken_tree(params):
        leaves, form = jax.tree_util.tree_flatten(params)
        rng = np.random.default_rng(3)
        draw = lambda x: rng.normal(0.3, 0.3, x.shape).astype(np.float32)  # noqa: E731
        return jax.tree_util.tree_unflatten(
            form, [jnp.asarray(draw(x)) if x.ndim == 1 else x for x in leaves]
        )

    x, (ids, mask) = pixels(20), captions()
    vision = {**TOWER, "image_size": 20, "patch_size": 6}
    config = t.CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=12)
    model = t.FlaxCLIPModel(config, input_shape=((1, L), (1, 20, 20, 3)))
    model.params = shaken_tree(model.params)
    model.save_pretrained(HERE / "flax_clip")
    out = model(ids, x.transpose(0, 3, 1, 2), attention_mask=mask.astype(np.int32))
    store(
        "flax_clip", images=x, ids=ids, mask=mask, image=np.asarray(out.image_embeds),
        text=np.asarray(out.text_embeds), logits=np.asarray(out.logits_per_image),
    )  # fmt: skip
    sizes = dict(image_size=20, patch_size=6)
    config = t.ViTConfig(**TOWER, **sizes, id2label={0: "cat", 1: "dog", 2: "cow"})
    model = t.FlaxViTForImageClassification(config, input_shape=(1, 20, 20, 3))
    model.params = shaken_tree(model.params)
    model.save_pretrained(HERE / "flax_vit")
    store("flax_vit", images=x, out=np.asarray(model(x.transpose(0, 3, 1, 2)).logits))


if __name__ == "__main__":
    HERE.mkdir(parents=True, exist_ok=True)
    {"transformers": of_transformers, "open_clip": of_open_clip, "flax": of_flax}[sys.argv[1]]()
