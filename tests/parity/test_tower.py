"""One tower of CLIP or SigLIP live against `transformers`: hidden states, pooled, and back."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity.test_clip import CLIPS, SIGLIPS, L, V, captions, hidden_states, pixels, reference

from mmjax.conversion import load
from mmjax.models import clip

pytestmark = pytest.mark.parity
UNEVEN = "uneven image, one head, unequal towers"
SIZES = {  # class -> fields of its config
    "CLIPVisionModel": CLIPS[UNEVEN][0],
    "CLIPVisionModelWithProjection": {**CLIPS[UNEVEN][0], "projection_dim": 28},
    "CLIPTextModel": CLIPS["quick gelu, legacy end"][1],
    "CLIPTextModelWithProjection": {**CLIPS[UNEVEN][1], "projection_dim": 28},
    "SiglipVisionModel": {
        **SIGLIPS["one head, unequal towers"][0], "image_size": 30, "patch_size": 8,
    },
    "SiglipTextModel": SIGLIPS["one head, unequal towers"][1],
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_tower(tmp_path, name):
    import torch
    import transformers

    cls, words = getattr(transformers, name), "Text" in name
    sizes = {"vocab_size": V, "max_position_embeddings": L} if words else {}
    kind = getattr(transformers, name.removesuffix("WithProjection").replace("Model", "Config"))
    model = reference(cls(kind(**SIZES[name], **sizes)))
    model.save_pretrained(tmp_path / "theirs")
    if words:
        ids, mask = captions()
        arguments = (ids, mask)
        named = {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
    else:
        x, their_x = pixels(SIZES[name]["image_size"])
        arguments, named = (x,), {"pixel_values": their_x}
        mask = np.ones((len(x), 1), bool)
    named = {key: torch.tensor(value) for key, value in named.items()}

    def run(model):
        with torch.no_grad():
            out = model(**named, output_hidden_states=True)
        projected = name.endswith("Projection")
        pooled = getattr(out, "text_embeds" if words else "image_embeds") if projected else (
            out.pooler_output
        )  # fmt: skip
        return pooled.numpy(), np.stack([one.numpy() for one in out.hidden_states]), out

    pooled, their_hidden, out = run(model)
    loaded = load.load(tmp_path / "theirs")
    apply = jax.jit(lambda *a: loaded.model.apply(*a, mutable=["intermediates"]))
    got, kept = apply(loaded.variables, *map(jnp.asarray, arguments))
    side = "text" if words else "image"
    hidden = hidden_states(kept["intermediates"][side])
    valid = np.broadcast_to(mask, hidden.shape[1:3])
    np.testing.assert_allclose(hidden[:, valid], their_hidden[:, valid], atol=1e-4)
    np.testing.assert_allclose(got.pooled, pooled, atol=1e-4)
    if words:  # of images, theirs are before the last norm
        np.testing.assert_allclose(got.tokens[valid], out.last_hidden_state[valid], atol=1e-4)

    if not words:  # LLaVA's: of the last block but one, without the norm behind the last
        image = dataclasses.replace(loaded.config.pair.image, feature_layer=-2)
        pair = dataclasses.replace(loaded.config.pair, image=image)
        inner = jax.jit(clip.Tower(pair, "image").apply)(loaded.variables, *arguments)
        np.testing.assert_allclose(inner.tokens, their_hidden[-2], atol=1e-4)

    load.save(loaded, tmp_path / "ours")
    opened, report = cls.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    again, _, _ = run(opened.eval())
    np.testing.assert_allclose(again, pooled, atol=1e-6)
    opened.save_pretrained(tmp_path / "again")  # with the prefix, which it took from ours
    same = load.load(tmp_path / "again")
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded.params, same.params))
