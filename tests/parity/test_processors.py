"""Processors against those of `transformers`: the same token ids; pixels to 1e-5, live.

Every option of a resize, crop and rescale, on pictures of many shapes; CLIP's and BERT's
vocabularies with the padding, cutting and special tokens of the reference.
"""

import json

import numpy as np
import pytest
from PIL import Image

from mmjax.processors import vocabularies
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor

pytestmark = pytest.mark.parity

TEXTS = (
    "a photo of a cat", "", "Hello,   World!! it's", "ĞÜNAYDIN 😀 naïve", "<|endoftext|> in a text",
    "one two three four five six seven eight nine ten eleven twelve",
)  # fmt: skip
PIXELS = {
    "CLIP": (
        dict(size={"shortest_edge": 33}, crop_size={"height": 30, "width": 30}),
        dict(size={"shortest_edge": 20}, crop_size={"height": 31, "width": 26}),
        dict(size={"shortest_edge": 33, "longest_edge": 50}, do_center_crop=False, resample=2),
        dict(size={"shortest_edge": 20}, crop_size=15, rescale_factor=1 / 127, resample=0),
    ),
    "Llava": (
        dict(size={"shortest_edge": 33}, crop_size={"height": 30, "width": 30}, do_pad=True), {}
    ),
    "Siglip": (dict(size={"height": 33, "width": 20}, image_mean=[0.1, 0.2, 0.3]), {}),
    "ViT": (dict(size={"height": 24, "width": 24}, do_normalize=False), dict(do_rescale=False)),
    "DeiT": (dict(size={"height": 40, "width": 40}, crop_size={"height": 33, "width": 33}),),
    "Blip": (dict(size={"height": 33, "width": 20}), dict(size={"height": 24, "width": 24})),
    "Siglip2": (dict(patch_size=8, max_num_patches=20), dict(patch_size=4), {}),
}


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels(tmp_path, kind):
    import transformers

    rng = np.random.default_rng(0)
    sides = [(20, 31), (17, 9), (40, 40), (7, 50), (150, 99)]
    noise = [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sides]
    pictures = [one.resize((2 * one.width + 1, 2 * one.height)) for one in noise]
    for options in PIXELS[kind]:
        theirs = getattr(transformers, f"{kind}ImageProcessorPil")(**options)
        theirs.save_pretrained(tmp_path)
        ours = checkpoint_processor.load(tmp_path).pixels
        for picture in pictures:
            want, out = theirs(picture, return_tensors="np"), ours(picture)
            if kind == "Siglip2":
                np.testing.assert_allclose(out.values, want["pixel_values"], atol=1e-5)
                np.testing.assert_array_equal(out.mask, want["pixel_attention_mask"])
                np.testing.assert_array_equal(out.shapes, want["spatial_shapes"])
            else:
                want = np.moveaxis(np.asarray(want["pixel_values"]), 1, -1)
                np.testing.assert_allclose(out, want, atol=1e-5)


@pytest.mark.parametrize("name, longest", [("clip", 9), ("clip", 77), ("bert", 12)])
@pytest.mark.parametrize("files", ["tokenizer.json", "vocabulary"])
def test_token_ids(tmp_path, name, longest, files):
    import transformers

    vocabulary = json.loads(vocabularies.named(name).json)["model"]
    cls = {"clip": transformers.CLIPTokenizer, "bert": transformers.BertTokenizer}[name]
    merges = [tuple(one) for one in vocabulary.get("merges", ())]
    kinds = {"merges": merges} if merges else {}
    theirs = cls(vocab=vocabulary["vocab"], model_max_length=longest, **kinds)
    theirs.save_pretrained(tmp_path)
    if files == "vocabulary":  # as the early releases kept them
        (tmp_path / "tokenizer.json").unlink()
        words = sorted(vocabulary["vocab"], key=vocabulary["vocab"].get)
        if merges:
            (tmp_path / "vocab.json").write_text(json.dumps(vocabulary["vocab"]))
            lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
            (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n")
        else:
            (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    want = theirs(list(TEXTS), padding=True, truncation=True, return_tensors="np")
    out = checkpoint_processor.load(tmp_path)(text=TEXTS)
    np.testing.assert_array_equal(out["ids"], want["input_ids"])
    np.testing.assert_array_equal(out["mask"], want["attention_mask"])
