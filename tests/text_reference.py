"""Text models of `transformers` with random weights, and what they say: for golden files and the
live comparison. Everything but `batch` needs torch."""

import numpy as np

ROWS, LENGTH = 3, 11


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


def build(name, **fields):
    """`name`, "Llama" + "ForCausalLM": with weights that leave no part without influence."""
    import torch
    import transformers

    kind = name.removesuffix("ForCausalLM").removesuffix("Model").removesuffix("LMHead")
    kind = kind.removesuffix("ForMaskedLM")
    config = getattr(transformers, f"{kind}Config")(**fields)
    config._attn_implementation = "eager"  # the only one that caps
    model = getattr(transformers, name)(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.15 * torch.randn_like(one))  # biases and norms start at 0 and 1
    return model.eval()


def opened(name, folder):
    """A checkpoint as the reference opens it; nothing of it may be new or left over."""
    import transformers

    model, info = getattr(transformers, name).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    lost = {one for one in info["missing_keys"] if not one.startswith(("cls.", "lm_head."))}
    assert not lost and not info["unexpected_keys"] and not info["mismatched_keys"], info
    return model.eval()


def outputs(model, ids, valid):
    """What the reference computes: hidden states [layers, B, L, D], pooled or logits.

    The last hidden state of a decoder is left out: the reference gives it after the last norm.
    """
    import torch

    inputs = dict(input_ids=torch.tensor(ids), attention_mask=torch.tensor(valid.astype(int)))
    decoder = not type(model).__name__.startswith(("Bert", "Roberta"))
    if decoder:
        inputs["position_ids"] = torch.tensor(np.maximum(valid.cumsum(1) - 1, 0))
    with torch.no_grad():
        out = model(**inputs, output_hidden_states=True)
    found = {"hidden": np.stack([one.numpy() for one in out.hidden_states[1:]])}
    if decoder:
        found["hidden"] = found["hidden"][:-1]
    for ours, theirs in (("pooled", "pooler_output"), ("logits", "logits")):
        if decoder == (ours == "logits") and out.get(theirs) is not None:
            found[ours] = out[theirs].numpy()
    return found
