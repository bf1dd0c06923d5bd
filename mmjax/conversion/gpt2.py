"""GPT-2 as the hub keeps it: `GPT2LMHeadModel`, and `GPT2Model`, which lacks the prefix alone.

* Kernels lie [in, out], and query, key and value in one.
* The head is the token table: files leave it out, or hold it twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, norm
from mmjax.layers import transformer
from mmjax.models import gpt2
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor

MODEL_TYPES = ("gpt2",)
IGNORED = r"lm_head\.weight|.*\.attn\.(masked_)?bias"  # the causal mask is no parameter


def config(upstream: Mapping[str, Any]) -> gpt2.Config:
    """Of config.json; without fields, the sizes of the smallest release."""
    read = upstream.get
    fields.only(upstream, "architectures", None, ["GPT2LMHeadModel"], ["GPT2Model"])
    fields.only(upstream, "scale_attn_weights", True)
    fields.only(upstream, "add_cross_attention", False)
    width = read("n_embd", 768)
    body = transformer.Config(
        width=width,
        layers=read("n_layer", 12),
        heads=read("n_head", 12),
        hidden=read("n_inner") or 4 * width,
        activation=fields.activation(upstream, "activation_function", "gelu_new"),
        norm_epsilon=read("layer_norm_epsilon", 1e-5),
        initialisation="gpt2",
        scale_by_layer=read("scale_attn_by_inverse_layer_idx", False),
    )
    return gpt2.Config(
        read("vocab_size", 50_257),
        read("n_positions", 1024),
        body,
        read("tie_word_embeddings", True),
        **special(upstream, start=50_256, end=50_256),
    )


def special(
    upstream: Mapping[str, Any],
    start: int | None = None,
    end: int | None = None,
    padding: int | None = None,
) -> dict[str, Any]:
    """The ids that open, end and fill up texts; the arguments are the reference's defaults."""
    ends = upstream.get("eos_token_id", end)
    if ends is None:
        ends = ()
    elif isinstance(ends, int):
        ends = (ends,)
    return {
        "start_id": upstream.get("bos_token_id", start),
        "end_ids": tuple(ends),
        "padding_id": upstream.get("pad_token_id", padding),
    }


def special_fields(config: Any) -> dict[str, Any]:
    """The same as fields of config.json."""
    ends = list(config.end_ids)
    return {
        "bos_token_id": config.start_id,
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": config.padding_id,
    }


def upstream(config: gpt2.Config) -> dict[str, Any]:
    """The config.json of a model."""
    c = config
    t = c.transformer
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": c.vocab_size,
        "n_positions": c.context_length,
        "n_embd": t.width,
        "n_layer": t.layers,
        "n_head": t.heads,
        "n_inner": t.hidden,
        "activation_function": fields.activation_name(t.activation),
        "layer_norm_epsilon": t.norm_epsilon,
        "scale_attn_by_inverse_layer_idx": t.scale_by_layer,
        "tie_word_embeddings": c.tied,
        **special_fields(c),
    }


def model(config: gpt2.Config) -> nn.Module:
    """The decoder."""
    return gpt2.Model(config)


def inputs(config: gpt2.Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    return (jax.ShapeDtypeStruct((1, 4), jnp.int32),)


def rename(name: str) -> str:
    """Names with the prefix that the decoder has beside a head."""
    return name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"


def processor(folder: Path, config: Any) -> checkpoint_processor.Processor | None:
    """Texts -> "inputs" and "mask", as decoders call them."""
    return checkpoint_processor.load(folder, checkpoint_processor.DECODER_ARGUMENTS)


def table(config: gpt2.Config) -> list[Entry]:
    """One row a parameter."""
    t = config.transformer
    stack = {"layers": t.layers}
    at = "transformer.h.{layer}"
    block = "transformer/blocks"
    rows = [
        Entry("tokens", "transformer.wte.weight"),
        Entry("positions", "transformer.wpe.weight"),
        *norm("norm", "transformer.ln_f"),
        *norm(f"{block}/attention_norm", f"{at}.ln_1", **stack),
        *norm(f"{block}/mlp_norm", f"{at}.ln_2", **stack),
    ]
    for path, name in (("mlp/up", "mlp.c_fc"), ("mlp/down", "mlp.c_proj")):
        rows.append(Entry(f"{block}/{path}/kernel", f"{at}.{name}.weight", **stack))
        rows.append(Entry(f"{block}/{path}/bias", f"{at}.{name}.bias", **stack))
    name = f"{at}.attn.c_attn"  # queries, keys and values in one
    for index, part in enumerate(("query", "key", "value")):
        path = f"{block}/attention/{part}"
        kwargs = dict(sizes={"Q": 3, "N": t.heads}, index=index, **stack)
        rows.append(Entry(f"{path}/kernel", f"{name}.weight", "D (Q N H) -> Q D N H", **kwargs))
        rows.append(Entry(f"{path}/bias", f"{name}.bias", "(Q N H) -> Q N H", **kwargs))
    path = f"{block}/attention/out"
    name = f"{at}.attn.c_proj"
    heads = {"N": t.heads}
    rows.append(Entry(f"{path}/kernel", f"{name}.weight", "(N H) D -> N H D", heads, **stack))
    rows.append(Entry(f"{path}/bias", f"{name}.bias", **stack))
    if not config.tied:
        rows.append(Entry("head", "lm_head.weight", "V D -> D V"))
    return rows
