"""LoRA live against `peft`, where it is installed: its files here, ours there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox
from parity.test_clip import CLIPS, L, V, captions, pixels, reference, theirs, unit
from safetensors.numpy import load_file

from mmjax import tree
from mmjax.conversion import load
from mmjax.conversion import peft as conversion
from mmjax.layers import adapters
from mmjax.layers.adapters import Adapted, Rule

pytestmark = pytest.mark.parity
KINDS = {
    "attention": dict(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "out_proj"]),
    "every map": dict(
        r=2, target_modules="all-linear", rank_pattern={"fc1": 4}, alpha_pattern={"fc1": 3}
    ),
    "one layer, root scale": dict(
        r=4, target_modules=["fc2"], layers_to_transform=[1], use_rslora=True
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_clip(tmp_path, kind):
    peft = pytest.importorskip("peft")
    import torch
    import transformers

    vision, text = CLIPS["quick gelu, legacy end"]
    text = {**text, "vocab_size": V, "max_position_embeddings": L}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=28)
    model = reference(transformers.CLIPModel(config))
    model.save_pretrained(tmp_path / "base")
    torch.manual_seed(1)
    adapters = peft.LoraConfig(init_lora_weights=False, **KINDS[kind])
    adapted = peft.get_peft_model(model, adapters).eval()
    adapted.save_pretrained(tmp_path / "theirs")
    x, their_x = pixels(vision["image_size"])
    ids, mask = captions()
    want = theirs(adapted, ids, mask, pixel_values=their_x)

    base = load.load(tmp_path / "base")
    found = conversion.load(tmp_path / "theirs", base)
    params = tree.merge(base.params, found.params)
    run = Adapted(base.model, found.rules).apply
    image, words = run({"params": params}, *map(jnp.asarray, (x, ids, mask)))
    np.testing.assert_allclose(image, unit(want.image_embeds), atol=1e-4)
    np.testing.assert_allclose(words, unit(want.text_embeds), atol=1e-4)

    conversion.save(tmp_path / "ours", base, found.rules, found.params)
    fresh = transformers.CLIPModel.from_pretrained(tmp_path / "base")
    again = peft.PeftModel.from_pretrained(fresh, tmp_path / "ours").eval()
    out = theirs(again, ids, mask, pixel_values=their_x)
    for field in ("image_embeds", "text_embeds"):
        np.testing.assert_allclose(out[field].numpy(), want[field].numpy(), atol=1e-6)


FUSED = {
    "default": dict(r=3, lora_alpha=5),  # c_attn, queries, keys and values in one
    "every map": dict(r=2, target_modules="all-linear", rank_pattern={"c_attn": 4}),
    "one layer, root scale": dict(
        r=4, target_modules=["c_attn"], layers_to_transform=[1], use_rslora=True
    ),
}
PARTS = {  # rules of ours
    "queries, keys, values": (Rule(".*/attention/(query|key|value)", rank=3, alpha=5.0),),
    "queries alone": (Rule(".*/attention/query", rank=2),),
    "unequal": (Rule(".*/query", rank=2, alpha=3.0), Rule(".*/(value|out|up)", rank=4)),
}


def words(tmp_path):
    """A GPT-2 whose queries and keys matter, saved; token ids."""
    import transformers

    sizes = dict(vocab_size=V, n_positions=L, n_embd=30, n_layer=3, n_head=5)
    special = dict(bos_token_id=0, eos_token_id=0)
    config = transformers.GPT2Config(**sizes, **special, initializer_range=0.2)
    model = reference(transformers.GPT2LMHeadModel(config))
    model.save_pretrained(tmp_path / "base")
    return model, np.random.default_rng(0).integers(0, V, (2, L)).astype(np.int32)


def opened(tmp_path, ids):
    """Logits of the base with the adapters that mmjax saved."""
    peft = pytest.importorskip("peft")
    import transformers

    fresh = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "base")
    return theirs(peft.PeftModel.from_pretrained(fresh, tmp_path / "ours").eval(), ids).logits


@pytest.mark.parametrize("kind", FUSED)
def test_gpt2(tmp_path, kind):
    peft = pytest.importorskip("peft")
    import torch

    model, ids = words(tmp_path)
    torch.manual_seed(1)
    config = peft.LoraConfig(init_lora_weights=False, fan_in_fan_out=True, **FUSED[kind])
    adapted = peft.get_peft_model(model, config).eval()
    adapted.save_pretrained(tmp_path / "theirs")
    want = theirs(adapted, ids).logits.numpy()

    base = load.load(tmp_path / "base")
    found = conversion.load(tmp_path / "theirs", base)
    params = tree.merge(base.params, found.params)
    logits = Adapted(base.model, found.rules).apply({"params": params}, jnp.asarray(ids)).logits
    np.testing.assert_allclose(logits, want, atol=1e-4)
    plain = base.model.apply(base.variables, jnp.asarray(ids)).logits
    assert np.abs(want - plain).max() > 0.1

    conversion.save(tmp_path / "ours", base, found.rules, found.params)
    own = load_file(tmp_path / "ours" / conversion.WEIGHTS)
    for name, tensor in load_file(tmp_path / "theirs" / conversion.WEIGHTS).items():
        np.testing.assert_array_equal(own[name], tensor)
    again = opened(tmp_path, ids).numpy()
    np.testing.assert_allclose(again, want, atol=1e-6)


@pytest.mark.parametrize("kind", PARTS)
def test_gpt2_adapted_here(tmp_path, kind):
    _, ids = words(tmp_path)
    base = load.load(tmp_path / "base")
    model = Adapted(base.model, PARTS[kind])
    drawn = unbox(model.init(jax.random.key(0), jnp.asarray(ids)))["params"]
    flat = tree.flatten(adapters.trained(drawn)[0])
    rng = np.random.default_rng(1)
    halves = {path: rng.normal(0, 0.3, x.shape).astype(np.float32) for path, x in flat.items()}
    params = tree.merge(base.params, tree.unflatten(halves))
    logits = model.apply({"params": params}, jnp.asarray(ids)).logits
    plain = base.model.apply(base.variables, jnp.asarray(ids)).logits
    assert np.abs(logits - plain).max() > 0.1

    conversion.save(tmp_path / "ours", base, model.rules, params)
    np.testing.assert_allclose(logits, opened(tmp_path, ids).numpy(), atol=1e-4)
