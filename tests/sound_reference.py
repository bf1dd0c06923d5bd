"""AST and CLAP of `transformers` with random weights, their extractors, and what they say, from the
sound on: for golden files and the live comparison. What makes clips is numpy alone."""

import family_reference
import numpy as np

RATE = {"clap": 48_000, "ast": 16_000}
SECONDS = (0.31, 4.7, 1.0)  # shorter than a window, longer than four, a window
HTSAT = dict(
    window_size=4, num_mel_bins=64, spec_size=256, patch_size=16, patch_stride=[16, 16],
    hidden_size=24, depths=[2, 2], num_attention_heads=[2, 3], patch_embeds_hidden_size=12,
    mlp_ratio=2.0, aff_block_r=3,
)  # fmt: skip
WORDS = dict(
    vocab_size=61, hidden_size=18, num_hidden_layers=2, num_attention_heads=3,
    intermediate_size=20, max_position_embeddings=17,
)  # fmt: skip
SPECTROGRAM = dict(
    hidden_size=18, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
    patch_size=6, frequency_stride=4, time_stride=5, max_length=50, num_mel_bins=16,
)  # fmt: skip


def clips(family):
    """A tone that rises and noise that fades, at the family's rate."""
    rng = np.random.default_rng(0)
    out = []
    for seconds in SECONDS:
        time = np.arange(round(seconds * RATE[family])) / RATE[family]
        tone = 0.3 * np.sin(2 * np.pi * (300 + 400 * time) * time)
        out.append((tone + 0.1 * rng.normal(size=len(time)) * np.exp(-time)).astype(np.float32))
    return out


def clap(name, fused=False, **fields):
    """A ClapModel, or one of its towers."""
    audio = dict(HTSAT, enable_fusion=fused, fusion_type="aff_2d" if fused else None)
    audio |= fields.pop("audio", {})
    words = {**WORDS, **fields.pop("words", {})}
    if name.startswith("ClapModel"):
        fields = dict(fields, audio_config=audio, text_config=words, projection_dim=10)
    else:
        import transformers

        part = "Audio" if "Audio" in name else "Text"
        config = getattr(transformers, f"Clap{part}Config")
        fields = dict(audio if part == "Audio" else words, projection_dim=10, **fields)
        return family_reference.made(getattr(transformers, name)(config(**fields)), 0.1)
    return family_reference.build(name, scale=0.1, **fields)


def ast(name, **fields):
    """An ASTModel, or ASTForAudioClassification."""
    import transformers

    config = transformers.ASTConfig(**SPECTROGRAM, **fields)
    return family_reference.made(getattr(transformers, name)(config), 0.15)


def extractor(family, fused=False, **fields):
    """Of windows of a second (CLAP) or half of one, to the sizes of the models above."""
    import transformers

    if family == "ast":
        return transformers.ASTFeatureExtractor(num_mel_bins=16, max_length=50, **fields)
    truncation = "fusion" if fused else "rand_trunc"
    return transformers.ClapFeatureExtractor(
        max_length_s=1, frequency_min=50, truncation=truncation, **fields
    )


def features(extractor, sounds, rate):
    """Frames of each clip, and of CLAP which is longer; crops from the middle of where they may
    lie, as ours are, and no clip is called longer that is not."""
    kept = np.random.choice, np.random.randint
    np.random.choice = lambda among: among[len(among) // 2]
    np.random.randint = lambda low, high: (low + high) // 2
    try:
        found = extractor(sounds, sampling_rate=rate, return_tensors="np")
    finally:
        np.random.choice, np.random.randint = kept
    if "is_longer" not in found:
        return {"input_values": found["input_values"].astype(np.float32)}
    longer = np.array([len(one) > rate for one in sounds])[:, None]
    return {"input_features": found["input_features"].astype(np.float32), "is_longer": longer}


def said(model, inputs, texts=None):
    """What the reference says: hidden states of each stage or layer, vectors, logits."""
    import torch

    given = {name: torch.tensor(value) for name, value in inputs.items()}
    if texts is not None:
        ids, valid = texts
        given["input_ids"] = torch.tensor(ids)
        given["attention_mask"] = torch.tensor(valid.astype(int))
    name = type(model).__name__
    out = {}
    with torch.no_grad():
        if name == "ClapModel":
            found = model(**given)
            out["logits_per_audio"] = found.logits_per_audio
            out["logits_per_text"] = found.logits_per_text
            out["audio"] = found.audio_embeds
            out["text"] = found.text_embeds
            inside = model.audio_model(
                given["input_features"], given["is_longer"], output_hidden_states=True
            )
            out |= stages(inside)
            del out["tokens"]  # the pair gives vectors alone
        elif name.startswith("ClapAudio"):
            found = model(**given, output_hidden_states=True)
            pooled = "audio_embeds" if name.endswith("Projection") else "pooler_output"
            out["pooled"] = found[pooled]
            out |= stages(found)
        elif name.startswith("ClapText"):
            found = model(**given, output_hidden_states=True)
            pooled = "text_embeds" if name.endswith("Projection") else "pooler_output"
            out["pooled"] = found[pooled]
            out["tokens"] = found.last_hidden_state
        else:
            found = model(**given, output_hidden_states=True)
            out["hidden"] = torch.stack(found.hidden_states[1:-1])
            if "logits" in found:
                out["logits"] = found.logits
            else:
                out["tokens"] = found.last_hidden_state
                out["pooled"] = found.pooler_output
    return {name: value.numpy() for name, value in out.items()}


def stages(found):
    """What enters the first stage and leaves each, [B, H, W, C], and the last places."""
    states = {f"stage_{i}": state for i, state in enumerate(found.hidden_states[1:])}
    states["patches"] = found.hidden_states[0]
    states = {name: state.permute(0, 2, 3, 1) for name, state in states.items()}
    last = found.last_hidden_state
    return {**states, "tokens": last.flatten(2).transpose(1, 2)}
