"""Makes tests/golden/{vlm,image_prompts,audio_prompts}: tiny random checkpoints of `transformers`
that see or hear, and what they say; the files of their processors, and what these make of prompts
with pictures and sounds.

    python tests/golden/make_vlm.py      # needs torch and transformers 5
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import audio_reference  # noqa: E402
import family_reference  # noqa: E402
import vlm_reference  # noqa: E402

IMAGE = 20  # the image token
VISION = dict(
    hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, image_size=9,
    patch_size=4,
)  # fmt: skip
TEXT = dict(
    vocab_size=21, hidden_size=12, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=6, intermediate_size=20, max_position_embeddings=40,
)  # fmt: skip
AUDIO = dict(
    num_mel_bins=6, d_model=12, encoder_layers=2, encoder_attention_heads=3, encoder_ffn_dim=20,
    max_source_positions=10,
)  # fmt: skip
CASES = {
    "llava": (
        "LlavaForConditionalGeneration",
        dict(vision_config=dict(VISION, model_type="clip_vision_model"),
             text_config=dict(TEXT, model_type="llama")),
    ),
    "paligemma": (
        "PaliGemmaForConditionalGeneration",
        dict(vision_config=dict(VISION, model_type="siglip_vision_model", vision_use_head=False),
             text_config=dict(TEXT, model_type="gemma"), projection_dim=12, hidden_size=12),
    ),
}  # fmt: skip


def batch():
    """A row with two pictures, one padded on the left with one picture, one without any."""
    picture = [IMAGE] * 4
    rows = [[5, *picture, 6, 7, *picture, 8], [9, *picture, 10], [11, 12, 13]]
    length = max(map(len, rows))
    ids = np.array([[0] * (length - len(row)) + row for row in rows])
    mask = np.array([[0] * (length - len(row)) + [1] * len(row) for row in rows], bool)
    images = np.random.default_rng(0).normal(size=(3, 2, 9, 9, 3)).astype(np.float32)
    return ids, mask, images, np.array([[1, 1], [1, 0], [0, 0]], bool)


def checkpoints():
    import torch

    ids, mask, images, there = batch()
    for case, (name, fields) in CASES.items():
        folder = HERE / "vlm" / case
        shutil.rmtree(folder, ignore_errors=True)
        model = family_reference.build(name, image_token_index=IMAGE, **fields)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        inputs = dict(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask.astype(int)),
            pixel_values=torch.tensor(images[there].transpose(0, 3, 1, 2)),
        )  # fmt: skip
        said = {}
        if case == "paligemma":  # the last two tokens are an answer
            said["prefix"] = np.arange(ids.shape[1])[None] < np.full((3, 1), ids.shape[1] - 2)
            inputs["token_type_ids"] = torch.tensor((~said["prefix"]).astype(int))
            said["prefix"] = said["prefix"] & mask
        with torch.no_grad():
            said["logits"] = model(**inputs).logits.numpy()
        arrays = dict(inputs=ids, mask=mask, images=images, image_mask=there, **said)
        np.savez_compressed(folder / "outputs.npz", **arrays)


def hearing():
    """Qwen2-Audio: a row with two clips, one padded on the left with one clip, one without any."""
    import torch

    folder = HERE / "vlm" / "qwen2_audio"
    shutil.rmtree(folder, ignore_errors=True)
    fields = dict(audio_config=AUDIO, text_config=dict(TEXT, model_type="qwen2"))
    name = "Qwen2AudioForConditionalGeneration"
    model = family_reference.build(name, audio_token_index=IMAGE, **fields)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    batch = audio_reference.prompts([[13, 20], [9], []], 20, 6, IMAGE, range(5, 20))
    with torch.no_grad():
        said = model(**audio_reference.theirs(batch)).logits.numpy()
    np.savez_compressed(folder / "outputs.npz", **batch, logits=said)


def shortened(folder):
    """The tokenizer without PaliGemma's 1,152 places and segments, which no prompt here has."""
    path = folder / "tokenizer.json"
    held = json.loads(path.read_text())
    held["added_tokens"] = [one for one in held["added_tokens"] if one["special"]]
    path.write_text(json.dumps(held) + "\n")


def prompts():
    for case in CASES:
        folder = HERE / "image_prompts" / case
        shutil.rmtree(folder, ignore_errors=True)
        processor = vlm_reference.processor(case)
        processor.save_pretrained(folder)
        shortened(folder)
        images = vlm_reference.pictures(case)
        texts = list(vlm_reference.TEXTS[case])
        made = processor(images=sum(images, []), text=texts, padding=True, return_tensors="np")
        expected = {"ids": made["input_ids"], "mask": made["attention_mask"]}
        expected["pixels"] = np.moveaxis(made["pixel_values"], 1, -1)
        if case == "paligemma":
            answers = dict(suffix=["a", "the dog", ""], padding=True, return_tensors="np")
            made = processor(images=sum(images, []), text=texts, **answers)
            expected["answered"] = made["input_ids"]
            expected["labels"] = made["labels"]
        else:
            chat = vlm_reference.conversation(images[0][0])
            chats = {str(n): processor.apply_chat_template(chat[:n], add_generation_prompt=n % 2)
                     for n in (1, 3, 4)}  # fmt: skip
            expected["chats"] = json.dumps(chats)
        np.savez_compressed(folder / "expected.npz", **expected)


def audio_prompts():
    folder = HERE / "audio_prompts" / "qwen2_audio"
    shutil.rmtree(folder, ignore_errors=True)
    processor = audio_reference.processor()
    processor.save_pretrained(folder)
    clips = audio_reference.clips()
    texts = list(audio_reference.TEXTS)
    made = processor(text=texts, audio=clips, padding=True, return_tensors="np")
    chat = audio_reference.conversation(clips[0])
    chats = {str(n): processor.apply_chat_template(chat[:n], add_generation_prompt=n % 2)
             for n in (1, 3, 4)}  # fmt: skip
    np.savez_compressed(
        folder / "expected.npz",
        ids=made["input_ids"], mask=made["attention_mask"],
        features=made["input_features"].transpose(0, 2, 1),
        sound=made["feature_attention_mask"], chats=json.dumps(chats),
    )  # fmt: skip


if __name__ == "__main__":
    checkpoints()
    hearing()
    prompts()
    audio_prompts()
