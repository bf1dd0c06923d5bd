"""Makes tests/golden/wav2vec2: tiny random checkpoints of `transformers` and what they say.

    python tests/golden/make_wav2vec2.py [adapter ...]      # needs torch and transformers 5

`group` is a Wav2Vec2ForCTC as the base models are, `stable` a HubertModel as the large ones are;
`adapter` has one behind its blocks, `batch` a batch norm in its positions. With names: those alone.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

FOLDER = Path(__file__).parent / "wav2vec2"
FRONT = dict(conv_dim=[8, 6, 8], conv_kernel=[10, 3, 2], conv_stride=[5, 2, 2])
BODY = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20)
POSITIONS = dict(num_conv_pos_embeddings=6, num_conv_pos_embedding_groups=2)
STABLE = dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A"]


KINDS = {**FRONT, **BODY, **POSITIONS}
ADAPTER = dict(add_adapter=True, output_hidden_size=10, num_adapter_layers=2)
CASES = {
    "group": ("Wav2Vec2ForCTC", dict(vocab_size=len(LETTERS))),
    "stable": ("HubertModel", STABLE),
    "adapter": ("Wav2Vec2ForCTC", dict(vocab_size=7, pad_token_id=3, **ADAPTER)),
    "batch": ("HubertModel", dict(conv_pos_batch_norm=True)),
}


def checkpoint(name):
    torch.manual_seed(0)
    architecture, fields = CASES[name]
    family = architecture.removesuffix("Model").removesuffix("ForCTC")
    config = getattr(transformers, f"{family}Config")(**KINDS, **fields)
    made = getattr(transformers, architecture)(config).eval()
    with torch.no_grad():
        for one in made.parameters():  # the reference's start leaves biases at zero
            one.add_(0.1 * torch.randn_like(one))
        for buffer_name, buffer in made.named_buffers():  # and statistics at 0 and 1
            if buffer_name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    made.save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=name == "stable")
    extractor.save_pretrained(folder)
    rng = np.random.default_rng(0)
    clips = [rng.normal(0.1, 0.3, size=length).astype(np.float32) for length in (203, 90)]
    inputs = extractor(clips, sampling_rate=16_000, padding=True, return_tensors="pt")
    with torch.no_grad():
        out = made(**inputs)
    arrays = {f"clip_{i}": clip for i, clip in enumerate(clips)}
    arrays["samples"] = inputs.input_values.numpy()
    ctc = architecture.endswith("ForCTC")
    arrays["said"] = (out.logits if ctc else out.last_hidden_state).numpy()
    np.savez_compressed(folder / "outputs.npz", **arrays)


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        checkpoint(case)
    vocab = {name: i for i, name in enumerate(LETTERS)}
    (FOLDER / "group" / "vocab.json").write_text(json.dumps(vocab) + "\n")
