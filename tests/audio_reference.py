"""The processor of Qwen2-Audio in `transformers`, with a tokenizer made here, and prompts with
clips; torch-free, but for what makes them."""

import numpy as np

TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>",
          "<|audio_eos|>")  # fmt: skip
AUDIO = TOKENS.index("<|AUDIO|>")
WORDS = "system user assistant You are a helpful . What is it ? Audio 1 2 : a dog that barks and"
CLIP = "<|audio_bos|><|AUDIO|><|audio_eos|>"
TEXTS = (f"{CLIP}What is it?", "nothing is heard", f"a {CLIP} {CLIP} and a dog")
SECONDS = (0.31, 1.0, 0.055)
BINS = 8


def clips():
    """Noise of several lengths, of which the second fills the window."""
    rng = np.random.default_rng(0)
    noise = lambda seconds: rng.normal(size=round(16_000 * seconds)) * 0.1  # noqa: E731
    return [noise(seconds).astype(np.float32) for seconds in SECONDS]


def conversation(clip):
    """Two turns, with a clip in each."""
    sound = {"type": "audio", "audio": clip}

    def ask(text):
        return {"role": "user", "content": [sound, {"type": "text", "text": text}]}

    return [
        ask("what is it?"), {"role": "assistant", "content": "a dog"},
        ask("and that?"), {"role": "assistant", "content": "it barks"},
    ]  # fmt: skip


def tokenizer():
    """Words and bytes."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
    from tokenizers.decoders import ByteLevel
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevel()
    special = [AddedToken(one, special=True, normalized=False) for one in TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator([WORDS] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|im_end|>",
        padding_side="left",
    )  # fmt: skip


def processor():
    """The reference's, for windows of a second."""
    import transformers

    extractor = transformers.WhisperFeatureExtractor(
        feature_size=BINS, chunk_length=1, return_attention_mask=True
    )
    return transformers.Qwen2AudioProcessor(extractor, tokenizer())


def prompts(lengths, window, bins, token, words, seed=0):
    """Prompts whose rows have clips of so many frames each, padded on the left.

    words: ids that stand about the clips.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for own in lengths:
        row = list(rng.choice(words, rng.integers(1, 5)))
        for frames in own:
            row += [token] * ((frames + 1) // 2 // 2)
            row += list(rng.choice(words, rng.integers(1, 5)))
        rows.append(row)
    longest = max(map(len, rows))
    ids = np.zeros((len(rows), longest), int)
    mask = np.zeros((len(rows), longest), bool)
    most = max(map(len, lengths))
    heard = np.zeros((len(rows), most, window), bool)
    for number, (row, own) in enumerate(zip(rows, lengths, strict=True)):
        ids[number, longest - len(row) :] = row
        mask[number, longest - len(row) :] = True
        for place, frames in enumerate(own):
            heard[number, place, :frames] = True
    audio = rng.normal(size=(*heard.shape, bins)).astype(np.float32)
    return dict(inputs=ids, mask=mask, sounds=audio, audio_mask=heard)


def theirs(batch):
    """The same as the reference's arguments."""
    import torch

    heard = batch["audio_mask"]
    there = heard.any(2)
    return dict(
        input_ids=torch.tensor(batch["inputs"]),
        attention_mask=torch.tensor(batch["mask"].astype(int)),
        input_features=torch.tensor(batch["sounds"][there].transpose(0, 2, 1)),
        feature_attention_mask=torch.tensor(heard[there].astype(int)),
    )
