"""LLaVA and PaliGemma live against `transformers`: logits, generated tokens, ids and pixels."""

import family_reference
import jax.numpy as jnp
import numpy as np
import pytest
import vlm_reference
from family_reference import LLAMA, LLAMA3, rope

from mmjax.conversion import load
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.processors import tiles
from mmjax.processors.prompting import image_prompts

pytestmark = pytest.mark.parity

IMAGE = 60  # the image token
WORDS = dict(LLAMA, num_key_value_heads=2, head_dim=10, max_position_embeddings=96)
CLIP = dict(
    model_type="clip_vision_model", hidden_size=24, num_hidden_layers=3, num_attention_heads=3,
    intermediate_size=40, image_size=20, patch_size=6,
)  # fmt: skip
SIGLIP = dict(CLIP, model_type="siglip_vision_model")
LLAVA = "LlavaForConditionalGeneration"
PALIGEMMA = "PaliGemmaForConditionalGeneration"
# Case -> the reference's class and fields of its config.
CASES = {
    "llava": (LLAVA, dict(vision_config=CLIP, text_config=dict(WORDS, **rope("llama3", **LLAMA3)))),
    "llava_full": (
        LLAVA,
        dict(vision_config=CLIP, text_config=WORDS, vision_feature_select_strategy="full",
             vision_feature_layer=1, multimodal_projector_bias=False,
             projector_hidden_act="gelu_new"),
    ),
    "llava_siglip_qwen2": (
        LLAVA,
        dict(vision_config=SIGLIP, text_config=dict(WORDS, model_type="qwen2"),
             vision_feature_select_strategy="full", vision_feature_layer=-1),
    ),
    "llava_tied": (
        LLAVA, dict(vision_config=CLIP, text_config=dict(WORDS, tie_word_embeddings=True)),
    ),
    "paligemma": (
        PALIGEMMA,
        dict(vision_config=dict(SIGLIP, vision_use_head=False), projection_dim=30, hidden_size=30,
             text_config=dict(WORDS, model_type="gemma")),
    ),
    "paligemma2": (
        PALIGEMMA,
        dict(vision_config=dict(SIGLIP, vision_use_head=False), projection_dim=30, hidden_size=30,
             text_config=dict(WORDS, model_type="gemma2", sliding_window=64,
                              query_pre_attn_scalar=20)),
    ),
}  # fmt: skip


def build(case, scale=0.15):
    name, fields = CASES[case]
    text = dict(model_type="llama") | fields["text_config"]
    fields = dict(fields, text_config=text, image_token_index=IMAGE)
    return name, family_reference.build(name, scale, **fields)


def prompts(size, count, seed=0, side="left"):
    """Prompts of `count` rows with 0 to 3 pictures anywhere, of different lengths.

    size: tokens of a picture.
    """
    rng = np.random.default_rng(seed)
    rows = []
    pictures = [(2, 1, 0, 3)[i % 4] for i in range(count)]
    for number in pictures:
        pieces = [rng.integers(6, 50, rng.integers(1, 5)) for _ in range(number + 1)]
        row = list(pieces[0])
        for piece in pieces[1:]:
            row += [IMAGE] * size + list(piece)
        rows.append(row)
    length = max(map(len, rows))
    ids = np.ones((count, length), int)
    mask = np.zeros((count, length), bool)
    for i, row in enumerate(rows):
        where = slice(length - len(row), length) if side == "left" else slice(0, len(row))
        ids[i, where] = row
        mask[i, where] = True
    there = np.arange(3)[None] < np.array(pictures)[:, None]
    images = rng.normal(size=(count, 3, 20, 20, 3)).astype(np.float32)
    return dict(inputs=ids, mask=mask, images=images, image_mask=there)


def theirs(batch, **more):
    import torch

    pixels = batch["images"][batch["image_mask"]].transpose(0, 3, 1, 2)
    return dict(
        input_ids=torch.tensor(batch["inputs"]),
        attention_mask=torch.tensor(batch["mask"].astype(int)),
        pixel_values=torch.tensor(pixels),
        **{key: torch.tensor(value) for key, value in more.items()},
    )


@pytest.mark.parametrize("case", CASES)
def test_logits(case, tmp_path):
    """Several pictures a row, other numbers in each, none in some; saved and opened again."""
    import torch

    name, reference = build(case)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    size = loaded.config.image_tokens
    assert size == (10 if case == "llava_full" else 9)
    batch = prompts(size, 5, side="right")
    more = {}
    if name == PALIGEMMA:  # the last two tokens of each row are an answer
        more = {"token_type_ids": np.zeros(batch["inputs"].shape, int)}
        last = batch["mask"].sum(1)
        for row, end in enumerate(last):
            more["token_type_ids"][row, end - 2 :] = 1
        batch["prefix"] = (more["token_type_ids"] == 0) & batch["mask"]
    with torch.no_grad():
        expected = reference(**theirs(batch, **more)).logits.numpy()
    arrays = {key: jnp.asarray(value) for key, value in batch.items()}
    found = loaded.model.apply(loaded.variables, **arrays).logits
    valid = batch["mask"]
    np.testing.assert_allclose(np.asarray(found)[valid], expected[valid], atol=1e-4, rtol=0)
    load.save(loaded, tmp_path / "ours")
    opened = family_reference.opened(name, tmp_path / "ours")
    with torch.no_grad():
        again = opened(**theirs(batch, **more)).logits.numpy()
    np.testing.assert_allclose(again[valid], expected[valid], atol=1e-5, rtol=0)


PROMPTS = 20
END = (5, 14, 20, 31, 38, 44)
# Our options -> the reference's.
SEARCHES = {
    "greedy": (dict(), dict()),
    "beams": (dict(beams=4, returns=2), dict(num_beams=4, num_return_sequences=2)),
}


@pytest.mark.parametrize("case", ["llava", "paligemma"])
def test_the_same_tokens(case, tmp_path):
    """Greedy and with four beams behind 20 prompts of different lengths, padded on the left."""
    import torch

    _, reference = build(case, scale=0.3)
    reference.save_pretrained(tmp_path)
    loaded = load.load(tmp_path)
    generator = Generator(loaded.model, loaded.variables)
    batch = prompts(loaded.config.image_tokens, PROMPTS)
    more = {}
    if case == "paligemma":
        more = {"token_type_ids": np.zeros(batch["inputs"].shape, int)}
    for ours, wanted in SEARCHES.values():
        options = Options(max_new_tokens=32, end_ids=END, padding_id=1, **ours)
        said = generator(batch, options)
        with torch.no_grad():
            out = reference.generate(
                **theirs(batch, **more), max_new_tokens=32, do_sample=False, pad_token_id=1,
                eos_token_id=list(END), **wanted,
            )  # fmt: skip
        expected = out[:, batch["inputs"].shape[1] :].numpy()
        found = said.tokens.reshape(-1, said.tokens.shape[-1])
        np.testing.assert_array_equal(found[:, : expected.shape[1]], expected)
        assert (found[:, expected.shape[1] :] == 1).all()
        assert len(np.unique(said.lengths)) > 1  # some end before, some do not


@pytest.mark.parametrize("kind", vlm_reference.TEXTS)
def test_processors(kind, tmp_path):
    """Ids, pixels and conversations; saved by ours and opened by the reference."""
    import transformers

    reference = vlm_reference.processor(kind)
    reference.save_pretrained(tmp_path)
    about = dict(start="<s>", end="</s>") if kind == "paligemma" else {}
    processor = image_prompts.load(tmp_path, 4, 9, **about)
    images = sum(vlm_reference.pictures(kind), [])
    cases = [(images, list(vlm_reference.TEXTS[kind]))]
    if kind == "paligemma":  # which says itself where pictures go
        cases.append((images[:2], ["caption en", ""]))
    else:
        cases.append((images[:1], ["<s> twice\n<image><unk> 😀 naïve <image2>", "  spaces "]))
    for pictures, texts in cases:
        wanted = reference(images=pictures, text=texts, padding=True, return_tensors="np")
        batch = processor(pictures, texts)
        np.testing.assert_array_equal(batch["inputs"], wanted["input_ids"])
        np.testing.assert_array_equal(batch["mask"], wanted["attention_mask"])
        pixels = np.moveaxis(wanted["pixel_values"], 1, -1)
        np.testing.assert_allclose(batch["images"][batch["image_mask"]], pixels, atol=1e-5)
    (tmp_path / "ours").mkdir()
    processor.save(tmp_path / "ours")
    again = getattr(transformers, type(reference).__name__).from_pretrained(tmp_path / "ours")
    texts = cases[0][1]
    wanted = reference(images=images, text=texts, padding=True)["input_ids"]
    assert again(images=images, text=texts, padding=True)["input_ids"] == wanted


def test_conversations(tmp_path):
    reference = vlm_reference.processor("llava")
    reference.save_pretrained(tmp_path)
    processor = image_prompts.load(tmp_path, 4, 9)
    from PIL import Image

    chat = vlm_reference.conversation(Image.new("RGB", (31, 20), "red"))
    wanted = reference.apply_chat_template(
        [chat[:3], chat[:1]], add_generation_prompt=True, tokenize=True, return_dict=True,
        processor_kwargs=dict(padding=True, return_tensors="np"),
    )  # fmt: skip
    batch = processor.chat([chat[:3], chat[:1]])
    np.testing.assert_array_equal(batch["inputs"], wanted["input_ids"])
    np.testing.assert_array_equal(batch["mask"], wanted["attention_mask"])


def test_tiles():
    """Those of LLaVA-NeXT, whole and cut."""
    import transformers
    from PIL import Image

    grids = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
    reference = transformers.LlavaNextImageProcessorPil(
        size={"shortest_edge": 20}, crop_size={"height": 20, "width": 20}, do_normalize=False,
        image_grid_pinpoints=[[20 * rows, 20 * columns] for rows, columns in grids],
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for height, width in ((20, 31), (70, 9), (40, 40), (25, 50), (100, 91), (20, 20)):
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        wanted = np.asarray(reference(picture, return_tensors="np")["pixel_values"])[0]
        cut = np.stack([np.asarray(one) for one in tiles.tiles(picture, grids, 20)])
        np.testing.assert_allclose(cut / 255, np.moveaxis(wanted, 1, -1), atol=1e-5)
