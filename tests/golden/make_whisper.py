"""Makes tests/golden/whisper: a tiny random checkpoint of `transformers`, what it says, and mels.

    python tests/golden/make_whisper.py        # needs torch and transformers 5

The mels are those of the reference's numpy path, which computes in float64 (its torch path is
within 3e-5 of it).
"""

from pathlib import Path

import numpy as np
import torch
import transformers

FOLDER = Path(__file__).parent / "whisper"
CONFIG = dict(
    vocab_size=48,
    num_mel_bins=6,
    d_model=12,
    encoder_layers=2,
    decoder_layers=3,
    encoder_attention_heads=3,
    decoder_attention_heads=2,
    encoder_ffn_dim=20,
    decoder_ffn_dim=28,
    max_source_positions=15,
    max_target_positions=14,
    activation_function="gelu",
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=3,
    begin_suppress_tokens=None,
)
RATE = 16_000


def model():
    torch.manual_seed(0)
    made = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**CONFIG))
    with torch.no_grad():
        for one in made.parameters():  # the reference's start leaves biases at zero
            one.add_(0.1 * torch.randn_like(one))
    rules = made.generation_config
    rules.forced_decoder_ids = [[1, None], [2, 5]]
    rules.suppress_tokens, rules.begin_suppress_tokens = [7, 8], [9, 2]
    made.save_pretrained(FOLDER)
    return made.eval()


def outputs(made):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 30, 6)).astype(np.float32)
    ids = rng.integers(4, 48, (2, 8))
    mask = np.arange(8) >= np.array([[3], [0]])  # the first text is padded on the left
    position = np.maximum(mask.cumsum(1) - 1, 0)
    with torch.no_grad():
        out = made(
            input_features=torch.tensor(features.transpose(0, 2, 1)),
            decoder_input_ids=torch.tensor(ids),
            decoder_attention_mask=torch.tensor(mask.astype(int)),
            decoder_position_ids=torch.tensor(position),
        )
    encoded = out.encoder_last_hidden_state.numpy()
    arrays = dict(features=features, ids=ids, mask=mask, encoded=encoded, logits=out.logits.numpy())
    np.savez_compressed(FOLDER / "outputs.npz", **arrays)


def clips():
    """Noise with a hum and silence in it; the second clip fills the window of one second."""
    rng, out = np.random.default_rng(1), []
    for length in (5_000, RATE):
        time = np.arange(length) / RATE
        clip = 0.1 * rng.normal(size=length) * (time < 0.4) + 0.3 * np.sin(2 * np.pi * 440 * time)
        out.append(clip.astype(np.float32))
    return out


def mels():
    arrays = {}
    for bins in (80, 128):
        extractor = transformers.WhisperFeatureExtractor(feature_size=bins, chunk_length=1)
        for i, clip in enumerate(clips()):
            padded = np.pad(clip, (0, RATE - len(clip)))
            found = extractor._np_extract_fbank_features(padded[None], "cpu")[0].T
            arrays[f"{bins}_{i}"] = found[::3].astype(np.float32)  # every third frame
    np.savez_compressed(FOLDER / "mels.npz", **arrays)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    outputs(model())
    mels()
