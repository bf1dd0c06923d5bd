"""LoRA live against `peft`, where it is installed: its files here, ours there."""

import jax.numpy as jnp
import numpy as np
import pytest
from test_parity_clip import CLIPS, L, V, captions, pixels, reference, theirs, unit

from mmjax import tree
from mmjax.conversion import load
from mmjax.conversion import peft as conversion
from mmjax.layers.adapters import Adapted

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
