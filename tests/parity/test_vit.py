"""ViT and DeiT against `transformers`, on tiny random checkpoints of odd shapes.

Each layer's hidden state and the heads' outputs to 1e-4, at the model's own image size and others.
"""

import dataclasses

import jax
import numpy as np
import pytest
from parity.test_clip import hidden_states

from mmjax.conversion import load

pytestmark = pytest.mark.parity

SIZES = {
    "plain": dict(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        image_size=32, patch_size=8,
    ),
    "one head, uneven image": dict(
        hidden_size=20, num_hidden_layers=2, num_attention_heads=1, intermediate_size=52,
        image_size=31, patch_size=6, hidden_act="gelu_new", num_channels=1,
    ),
    "one layer, other norm": dict(
        hidden_size=36, num_hidden_layers=1, num_attention_heads=6, intermediate_size=20,
        image_size=14, patch_size=7, hidden_act="relu", layer_norm_eps=1e-3,
    ),
}  # fmt: skip
SIZES["no biases of queries, keys and values"] = dict(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=32,
    image_size=16, patch_size=4, qkv_bias=False,
)  # fmt: skip
LABELS = {0: "cat", 1: "dog", 2: "cow"}
HEADS = {
    "ViTModel": dict(pooler_output_size=12),
    "ViTForImageClassification": dict(id2label=LABELS),
    "DeiTModel": {},
    "DeiTForImageClassification": dict(num_labels=5),
    "DeiTForImageClassificationWithTeacher": dict(id2label=LABELS),
}


def theirs(model, images, **options):
    import torch

    with torch.no_grad():
        x = torch.tensor(images.transpose(0, 3, 1, 2))
        return model(x, output_hidden_states=True, **options)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("sizes", SIZES)
def test_vit(tmp_path, sizes, head):
    import torch
    import transformers

    torch.manual_seed(0)
    cls = getattr(transformers, head)
    config = getattr(transformers, f"{head[: head.index('T') + 1]}Config")
    model = cls(config(**SIZES[sizes], **HEADS[head])).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    model.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    config = loaded.config
    config = dataclasses.replace(config, image=dataclasses.replace(config.image, any_size=True))
    ours = type(loaded.model)(config)
    run = jax.jit(lambda *a: ours.apply(*a, mutable=["intermediates"]))
    size, channels = config.image.image_size, config.image.channels
    for shape in [(size, size), (size + 9, 2 * size)][: 1 + (sizes == "one head, uneven image")]:
        images = np.random.default_rng(0).normal(size=(2, *shape, channels)).astype(np.float32)
        out, kept = run(loaded.variables, images)
        want = theirs(model, images, interpolate_pos_encoding=shape != (size, size))
        hidden = hidden_states(kept["intermediates"]["image"])
        for mine, other in zip(hidden, want.hidden_states, strict=True):
            np.testing.assert_allclose(mine, other.numpy(), atol=1e-4)
        if head.endswith("Model"):
            np.testing.assert_allclose(out.tokens, want.last_hidden_state.numpy(), atol=1e-4)
            np.testing.assert_allclose(out.pooled, want.pooler_output.numpy(), atol=1e-4)
        else:
            np.testing.assert_allclose(out.logits, want.logits.numpy(), atol=1e-4)
    load.save(loaded, tmp_path / "ours")
    opened, report = cls.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    images = images[:, :size, :size]
    again = theirs(opened.eval(), images)
    key = "pooler_output" if head.endswith("Model") else "logits"
    np.testing.assert_allclose(again[key], theirs(model, images)[key], atol=1e-6)
