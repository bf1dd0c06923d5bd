"""Models of videos of `transformers` with random weights, and what they say: for golden files and
the live comparison. What makes inputs is numpy alone; the rest needs torch."""

import family_reference
import numpy as np

ROWS = 2
BODY = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40)
SMALL = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
LABELS = dict(id2label={0: "runs", 1: "jumps", 2: "sits"})
DECODER = dict(
    decoder_hidden_size=18, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=20,
)  # fmt: skip


def xclip(vision=BODY, frames=3, image_size=13, patch_size=4, vocabulary=40, **fields):
    """Fields of a small X-CLIP's config."""
    over = dict(
        mit_hidden_size=16, mit_intermediate_size=28, mit_num_hidden_layers=2,
        mit_num_attention_heads=4,
    )  # fmt: skip
    size = dict(num_frames=frames, image_size=image_size, patch_size=patch_size)
    text = dict(
        SMALL, vocab_size=vocabulary, max_position_embeddings=9, eos_token_id=vocabulary - 1,
        bos_token_id=vocabulary - 2, pad_token_id=1,
    )  # fmt: skip
    return dict(
        vision_config=dict(vision, **over, **size), text_config=text, projection_dim=16,
        prompt_layers=2, prompt_num_attention_heads=2, **fields,
    )  # fmt: skip


def clips(frames, edge, channels=3, rows=ROWS):
    """Normalised pixels [B, T, H, W, C]."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, frames, edge, edge, channels)).astype(np.float32)


def captions(vocabulary=40, length=7):
    """Ids [K, L] of three texts, and which are real; the last of each has the highest id."""
    rng = np.random.default_rng(0)
    ids = rng.integers(3, vocabulary - 2, (3, length))
    lengths = np.array([4, length, 5])
    ids[np.arange(3), lengths - 1] = vocabulary - 1
    mask = np.arange(length) < lengths[:, None]
    return np.where(mask, ids, 1).astype(np.int32), mask


def visible(times, places, kept, rows=ROWS):
    """Numbers of `kept` places that are seen at every time, other ones in each row."""
    rng = np.random.default_rng(2)
    place = np.stack([np.sort(rng.permutation(places)[:kept]) for _ in range(rows)])
    index = np.arange(times)[None, :, None] * places + place[:, None]
    return index.reshape(rows, -1).astype(np.int32)


def build(name, **fields):
    """As family_reference's, by class names such as VivitForVideoClassification."""
    return family_reference.build(name, **fields)


def _torch(video):
    import torch

    return torch.tensor(np.ascontiguousarray(video.transpose(0, 1, 4, 2, 3)))


def said(model, video, seen=None, valid=None):
    """What a model says of clips: "hidden" [layers + 1, B, L, D], "tokens", "pooled" or "logits",
    "loss"; TimeSformer's as it is.

    Args:
      seen: numbers of visible tubelets, of VideoMAE.
      valid: [B, L] of tokens, of ViViT.
    """
    import torch

    inputs = {}
    if seen is not None:
        count = model.config.num_frames // model.config.tubelet_size
        count *= (model.config.image_size // model.config.patch_size) ** 2
        hidden = np.ones((len(video), count), bool)
        hidden[np.arange(len(video))[:, None], seen] = False
        inputs["bool_masked_pos"] = torch.tensor(hidden)
    if valid is not None:
        inputs["attention_mask"] = torch.tensor(valid.astype(int))
    with torch.no_grad():
        out = model(_torch(video), output_hidden_states=True, **inputs)
    names = dict(last_hidden_state="tokens", pooler_output="pooled", logits="logits", loss="loss")
    found = {
        ours: out[theirs].numpy()
        for theirs, ours in names.items()
        if out.get(theirs) is not None
    }
    if out.hidden_states is not None:
        found["hidden"] = np.stack([state.numpy() for state in out.hidden_states])
    return found


def in_order_of_time(x, times):
    """A class token and TimeSformer's tokens [..., L, D], the times of a place side by side -> the
    places of a time side by side."""
    rest = x[..., 1:, :]
    shape = rest.shape
    rest = rest.reshape(*shape[:-2], -1, times, shape[-1]).swapaxes(-2, -3).reshape(shape)
    return np.concatenate([x[..., :1, :], rest], axis=-2)


def compared(model, video, ids, mask):
    """What an X-CLIP says of clips and texts: unit vectors, logits, texts without clips, hidden
    states of both towers."""
    import torch

    texts = dict(
        input_ids=torch.tensor(ids.astype(np.int64)),
        attention_mask=torch.tensor(mask.astype(np.int64)),
    )
    with torch.no_grad():
        out = model(pixel_values=_torch(video), output_hidden_states=True, **texts)
        alone = model.get_text_features(**texts).pooler_output
    towers = {"image_hidden": out.vision_model_output, "text_hidden": out.text_model_output}
    hidden = {
        name: np.stack([state.numpy() for state in tower.hidden_states])
        for name, tower in towers.items()
        if tower.hidden_states is not None
    }
    return {
        "video": out.video_embeds.numpy(), "text": out.text_embeds.numpy(),
        "logits": out.logits_per_video.numpy(), "alone": alone.numpy(), **hidden,
    }  # fmt: skip
