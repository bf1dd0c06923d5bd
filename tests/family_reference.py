"""Models of `transformers` with random weights, and what they say: for golden files and the live
comparison. What makes inputs is numpy alone; the rest needs torch."""

import re

import numpy as np

ROWS, LENGTH = 3, 11


GPT2 = dict(vocab_size=61, n_positions=23, n_embd=30, n_layer=3, bos_token_id=0, eos_token_id=0)
LLAMA = dict(
    vocab_size=61, hidden_size=30, num_hidden_layers=3, num_attention_heads=6,
    intermediate_size=44, max_position_embeddings=40, bos_token_id=1, eos_token_id=2,
    pad_token_id=0,
)  # fmt: skip


def rope(kind, **fields):
    return {"rope_parameters": dict(rope_type=kind, rope_theta=300.0, **fields)}


LLAMA3 = dict(
    factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)


def batch(vocabulary, padding=None):
    """Ids and validity: a row padded on the left, one on the right, one not at all.

    padding: the id that padding has, where a model reads it from there.
    """
    rng = np.random.default_rng(0)
    ids = rng.integers(3, vocabulary, (ROWS, LENGTH))
    valid = np.ones((ROWS, LENGTH), bool)
    valid[0, :4] = valid[1, 7:] = False
    if padding is not None:
        ids[~valid] = padding
    return ids, valid


def sound():
    """Three recordings of different lengths [B, T], and what of them is sound."""
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(3, 403)).astype(np.float32)
    mask = np.arange(403) < np.array([[403], [250], [61]])
    return np.where(mask, samples, 0), mask


def frames(count, bins, length=9):
    """Three windows of log-mel frames, texts, and their validity: a text padded on the left, one
    on the right, one not at all."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, count, bins)).astype(np.float32)
    ids = rng.integers(4, 50, (3, length))
    mask = np.ones((3, length), bool)
    mask[0, :4] = mask[1, 6:] = False
    return features, ids, mask


def build(name, scale=0.15, **fields):
    """`name`, "Llama" + "ForCausalLM": with weights that leave no part without influence."""
    import transformers

    family = re.sub(r"(LMHeadModel|Model|For\w+)$", "", name)
    config = getattr(transformers, f"{family}Config")(**fields)
    config._attn_implementation = "eager"  # the only one that caps
    return made(getattr(transformers, name)(config), scale)


def made(model, scale):
    """A model whose weights leave no part without influence."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms start at 0 and 1
            parameter.add_(scale * torch.randn_like(parameter))
        for buffer_name, buffer in model.named_buffers():  # and statistics likewise
            if buffer_name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    return model.eval()


def opened(name, folder, unread=frozenset()):
    """A checkpoint as the reference opens it; nothing of it may be new or left over.

    unread: parameters that the reference has, but does not read, and that may be new.
    """
    import transformers

    model, info = getattr(transformers, name).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    missing = set(info.pop("missing_keys")) - unread
    assert not missing and not any(info.values()), (missing, info)
    return model.eval()


def outputs(model, ids, valid):
    """What the reference computes: hidden states [layers, B, L, D]; "pooled", "logits" and
    "next_sentence" where it has them.

    The last hidden state of a decoder is left out: the reference gives it after the last norm.
    """
    import torch

    name = type(model).__name__
    inputs = dict(input_ids=torch.tensor(ids), attention_mask=torch.tensor(valid.astype(int)))
    decoder = not name.startswith(("Bert", "Roberta"))
    if decoder:
        inputs["position_ids"] = torch.tensor(np.maximum(valid.cumsum(1) - 1, 0))
    if name.endswith("ForMultipleChoice"):  # each row is the only choice of its question
        inputs = {key: value[:, None] for key, value in inputs.items()}
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
    hidden = np.stack([state.numpy() for state in out.hidden_states[1:]])
    said = {"hidden": hidden[:-1] if decoder else hidden}
    if name.endswith("ForQuestionAnswering"):
        said["logits"] = torch.stack([out.start_logits, out.end_logits], -1).numpy()
    elif name.endswith("ForNextSentencePrediction"):
        said["next_sentence"] = out.logits.numpy()
    elif name.endswith("ForMultipleChoice"):
        said["logits"] = out.logits.numpy()[:, 0]
    elif out.get("logits") is not None:
        said["logits"] = out.logits.numpy()
    if out.get("prediction_logits") is not None:
        said["logits"] = out.prediction_logits.numpy()
        said["next_sentence"] = out.seq_relationship_logits.numpy()
    if out.get("pooler_output") is not None:
        said["pooled"] = out.pooler_output.numpy()
    return said


def heard(model, samples, mask):
    """What an encoder of waveforms says, as `outputs`."""
    import torch

    mask = None if mask is None else torch.tensor(mask.astype(int))
    with torch.no_grad():
        out = model(torch.tensor(samples), attention_mask=mask, output_hidden_states=True)
    hidden = [state.numpy() for state in out.hidden_states[1:]]
    if model.config.do_stable_layer_norm:  # the last one is behind the norm
        hidden = hidden[:-1]
    name = "logits" if "logits" in out else "tokens"
    said = {"hidden": np.stack(hidden), name: out[0].numpy()}
    return said


def sounding(model, length, mask, adapter):
    """Which frames are sound, of those before the adapter or behind it."""
    import torch

    heard = torch.tensor(mask.astype(int))
    # HuBERT has no adapter, and no argument for one
    options = {"add_adapter": adapter} if hasattr(model.config, "add_adapter") else {}
    frames = model._get_feature_vector_attention_mask(length, heard, **options)
    return frames.numpy() > 0


def transcribed(model, features, ids, mask):
    """What Whisper says of frames [B, T, bins] and texts, as `outputs`."""
    import torch

    position = np.maximum(mask.cumsum(1) - 1, 0)
    with torch.no_grad():
        out = model(
            input_features=torch.tensor(features.transpose(0, 2, 1)),
            decoder_input_ids=torch.tensor(ids),
            decoder_attention_mask=torch.tensor(mask.astype(int)),
            decoder_position_ids=torch.tensor(position),
            output_hidden_states=True,
        )
    said = {"encoded": out.encoder_last_hidden_state, "tokens": out.decoder_hidden_states[-1]}
    if "logits" in out:
        said["logits"] = out.logits
    # the last of each side is behind a norm
    for name, states in (
        ("hidden", out.decoder_hidden_states[1:-1]),
        ("encoder_hidden", out.encoder_hidden_states[1:-1]),
    ):
        if states:
            said[name] = torch.stack(states)
    return {name: value.numpy() for name, value in said.items()}


BLIP_VISION = dict(
    hidden_size=30, num_hidden_layers=3, num_attention_heads=5, intermediate_size=44,
    image_size=31, patch_size=6,
)  # fmt: skip
BLIP_TEXT = dict(
    vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
    intermediate_size=40, max_position_embeddings=64, bos_token_id=58, sep_token_id=4,
    pad_token_id=0,
)  # fmt: skip


def captioned(vocabulary, edge, left=True):
    """Three images, texts and answers of other lengths, and which of their tokens are real.

    left: a text and an answer are padded on the left, too; else all on the right.
    """
    rng = np.random.default_rng(0)
    images = rng.normal(size=(ROWS, edge, edge, 3)).astype(np.float32)
    ids, mask = batch(vocabulary)
    answers = rng.integers(3, vocabulary, (ROWS, 5))
    answer_mask = np.ones((ROWS, 5), bool)
    answer_mask[0, :2] = answer_mask[2, 3:] = False
    if not left:
        mask[0] = answer_mask[0] = True
    return images, ids, mask, answers, answer_mask


def seen(model, images, ids, mask, answers, answer_mask):
    """What a BLIP says of images [B, H, W, C], texts and answers: of the image tower, of texts
    alone and beside the image, and of the decoder, with their hidden states."""
    import torch

    def states(out):
        return torch.stack(out.hidden_states[1:]).numpy()

    def text(ids, mask, **context):
        position = torch.tensor(np.maximum(mask.cumsum(1) - 1, 0))
        return dict(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask.astype(int)),
            position_ids=position, output_hidden_states=True, **context,
        )  # fmt: skip

    pixels = torch.tensor(images.transpose(0, 3, 1, 2))
    said = {}
    with torch.no_grad():
        image = model.vision_model(pixels, output_hidden_states=True)
        context = image.last_hidden_state
        said |= {"image_tokens": context.numpy(), "image_hidden": states(image)}
        if hasattr(model, "text_encoder"):
            said["text_hidden"] = states(model.text_encoder(**text(ids, mask)))
            fused = model.text_encoder(**text(ids, mask, encoder_hidden_states=context))
            said |= {"fused": fused.last_hidden_state.numpy(), "fused_hidden": states(fused)}
        if hasattr(model, "itm_head"):
            whole = dict(text(ids, mask), pixel_values=pixels)
            said["matching"] = model(**whole).itm_score.numpy()
            said["similarity"] = model(**whole, use_itm_head=False).itm_score.numpy()
        elif hasattr(model, "text_encoder"):
            # Row by row: the reference drops the mask of a context, and would read its padding.
            rows = []
            for i, real in enumerate(mask):
                question = fused.last_hidden_state[i : i + 1, real]
                row = slice(i, i + 1)
                written = text(answers[row], answer_mask[row], encoder_hidden_states=question)
                rows.append(model.text_decoder(**written))
            said["logits"] = torch.cat([out.logits for out in rows]).numpy()
            said["written_hidden"] = np.concatenate([states(out) for out in rows], axis=1)
        else:
            out = model.text_decoder(**text(ids, mask, encoder_hidden_states=context))
            said |= {"logits": out.logits.numpy(), "written_hidden": states(out)}
            whole = dict(text(ids, mask), pixel_values=pixels)
            assert torch.equal(model(**whole).logits, out.logits)
    return said
