"""Llama, Qwen2, Gemma and Gemma 2 as the hub keeps them: `LlamaForCausalLM` and so on.

* What sets one apart from another is in the fields of our config; "model_type" is found again from
  them on the way back.
* Positions: `rope_parameters`, or `rope_theta` with `rope_scaling` in older releases. What is not
  here ("dynamic", "longrope", rotation of a part of a head) is refused.
* A tied head is absent from files, or there twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.conversion.gpt2 import special, special_fields
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.layers import decoder, rotary
from mmjax.models import llama
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor

MODEL_TYPES = ("llama", "qwen2", "gemma", "gemma2")
IGNORED = r"lm_head\.weight|.*\.rotary_emb\.inv_freq"
CLASSES = {"llama": "Llama", "qwen2": "Qwen2", "gemma": "Gemma", "gemma2": "Gemma2"}
# vocabulary, context, width, hidden, layers, heads, heads of keys and values, head size
DEFAULTS = {
    "llama": (32_000, 2048, 4096, 11_008, 32, 32, None, None),
    "qwen2": (151_936, 32_768, 4096, 22_016, 32, 32, 32, None),
    "gemma": (256_000, 8192, 3072, 24_576, 28, 16, 16, 256),
    "gemma2": (256_000, 8192, 2304, 9216, 26, 8, 4, 256),
}
SPECIAL = {
    "llama": dict(start=1, end=2),
    "qwen2": dict(),
    "gemma": dict(start=2, end=1, padding=0),
    "gemma2": dict(start=2, end=1, padding=0),
}
NAMES = ("vocab_size", "max_position_embeddings", "hidden_size", "intermediate_size",
         "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")  # fmt: skip


def config(upstream: Mapping[str, Any]) -> llama.Config:
    """Of config.json; without fields, the reference's defaults for its model_type."""
    read = upstream.get
    kind = read("model_type", "llama")
    name = CLASSES[kind]
    fields.only(upstream, "architectures", None, [f"{name}ForCausalLM"], [f"{name}Model"])
    fields.only(upstream, "use_bidirectional_attention", None, False)
    values = (read(key, value) for key, value in zip(NAMES, DEFAULTS[kind], strict=True))
    vocabulary, context, width, hidden, layers, heads, kv_heads, size = values
    gemma = kind.startswith("gemma")
    biased = read("attention_bias", False)
    field = "hidden_activation" if kind == "gemma2" else "hidden_act"
    activation = fields.activation(upstream, field, "gelu_pytorch_tanh" if gemma else "silu")
    if kind == "gemma":
        # early files say "gelu" and mean its approximation by tanh
        activation = "gelu_tanh" if activation == "gelu" else activation
        fields.only(upstream, "hidden_activation", None, fields.activation_name(activation))
    body = decoder.Config(
        width, layers, heads, kv_heads or heads, size or width // heads, hidden, activation,
        norm_epsilon=read("rms_norm_eps", 1e-6),
        norm_offset=1.0 if gemma else 0.0,
        post_norms=kind == "gemma2",
        qkv_bias=kind == "qwen2" or biased,
        output_bias=kind != "qwen2" and biased,
        mlp_bias=kind == "llama" and read("mlp_bias", False),
        rotary=positions(upstream, context),
        attention_scale=read("query_pre_attn_scalar", 256) ** -0.5 if kind == "gemma2" else None,
        attention_cap=read("attn_logit_softcapping", 50.0) if kind == "gemma2" else None,
        windows=windows(upstream, kind, layers),
    )  # fmt: skip
    return llama.Config(
        vocabulary,
        context,
        body,
        tied=read("tie_word_embeddings", gemma),
        embedding_scale=width**0.5 if gemma else 1.0,
        logits_cap=read("final_logit_softcapping", 30.0) if kind == "gemma2" else None,
        **special(upstream, **SPECIAL[kind]),
    )


def positions(upstream: Mapping[str, Any], context: int) -> rotary.Config:
    """Of either spelling of the rotary embedding's fields."""
    rope = upstream.get("rope_scaling") or upstream.get("rope_parameters") or {}
    base = rope.get("rope_theta", upstream.get("rope_theta", 10_000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    fields.only({"rope_type": kind}, "rope_type", "default", "linear", "llama3", "yarn")
    for place in (upstream, rope):
        fields.only(place, "partial_rotary_factor", None, 1.0)
    for key in ("mscale", "mscale_all_dim"):
        fields.only(rope, key, None, 0)
    fields.only(rope, "truncate", True)
    if kind == "default":
        return rotary.Config(base)
    known = {"original_length": "original_max_position_embeddings", "slow": "low_freq_factor",
             "fast": "high_freq_factor", "beta_slow": "beta_slow", "beta_fast": "beta_fast",
             "attention_factor": "attention_factor"}  # fmt: skip
    found = {ours: rope[key] for ours, key in known.items() if rope.get(key) is not None}
    first = upstream.get("original_max_position_embeddings")  # the reference prefers this one
    found["original_length"] = first or found.get("original_length", context)
    return rotary.Config(base, kind, rope["factor"], **found)


def windows(upstream: Mapping[str, Any], kind: str, layers: int) -> tuple[int, ...]:
    """How far each layer sees, as the shortest pattern that repeats."""
    read = upstream.get
    size = read("sliding_window", 4096)
    if kind == "gemma2":
        near = [i % 2 == 0 for i in range(layers)]
    elif kind == "qwen2" and read("use_sliding_window", False):
        near = [i >= read("max_window_layers", 28) for i in range(layers)]
    else:
        return ()
    if read("layer_types"):
        near = [one == "sliding_attention" for one in read("layer_types")]
    seen = [size if one and size else 0 for one in near]
    if not any(seen):
        return ()
    periods = range(1, layers + 1)
    period = next(p for p in periods if all(seen[i] == seen[i % p] for i in range(layers)))
    return tuple(seen[:period])


def upstream(ours: llama.Config) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
      Unsupported: no family has this combination of fields.
    """
    c = ours
    d = c.decoder
    if d.norm_offset:
        kind = "gemma2" if d.post_norms else "gemma"
    else:
        kind = "qwen2" if d.windows or (d.qkv_bias and not d.output_bias) else "llama"
    values = (c.vocab_size, c.context_length, d.width, d.hidden, d.layers, d.heads, d.kv_heads,
              d.head_size)  # fmt: skip
    seen = [d.windows[i % len(d.windows)] if d.windows else 0 for i in range(d.layers)]
    out: dict[str, Any] = {
        "model_type": kind,
        "architectures": [f"{CLASSES[kind]}ForCausalLM"],
        **dict(zip(NAMES, values, strict=True)),
        "hidden_act": fields.activation_name(d.activation),
        "rms_norm_eps": d.norm_epsilon,
        "tie_word_embeddings": c.tied,
        **_rope(d.rotary),
        **special_fields(c),
    }
    if kind != "qwen2":
        out["attention_bias"] = d.qkv_bias
    if kind == "llama":
        out["mlp_bias"] = d.mlp_bias
    if kind in ("qwen2", "gemma2"):
        out["sliding_window"] = max(seen) or None
        out["layer_types"] = [("sliding" if one else "full") + "_attention" for one in seen]
    if kind == "qwen2":
        out["use_sliding_window"] = any(seen)
        out["max_window_layers"] = next((i for i, one in enumerate(seen) if one), d.layers)
    if kind == "gemma2":
        out["hidden_activation"] = out.pop("hidden_act")
        # a whole number in all releases
        out["query_pre_attn_scalar"] = round((d.attention_scale or 1) ** -2)
        out["attn_logit_softcapping"] = d.attention_cap
        out["final_logit_softcapping"] = c.logits_cap
    run = dict(remat="none", unroll=1, dtype="float32", stream="float32")  # not the file's matter
    if config(out) != dataclasses.replace(c, decoder=dataclasses.replace(d, **run)):
        raise fields.Unsupported(f"none of {', '.join(MODEL_TYPES)} has the fields of {ours}")
    return out


def _rope(c: rotary.Config) -> dict[str, Any]:
    """Positions in both spellings: a release that knows neither would leave the scaling aside."""
    if c.scaling == "none":
        rope = {"rope_type": "default", "rope_theta": c.base}
        return {"rope_theta": c.base, "rope_parameters": rope}
    rope = {"rope_type": c.scaling, "rope_theta": c.base, "factor": c.factor}
    if c.scaling != "linear":
        rope["original_max_position_embeddings"] = c.original_length
    if c.scaling == "llama3":
        rope |= {"low_freq_factor": c.slow, "high_freq_factor": c.fast}
    if c.scaling == "yarn":
        rope |= {"beta_slow": c.beta_slow, "beta_fast": c.beta_fast}
        if c.attention_factor is not None:
            rope["attention_factor"] = c.attention_factor
    return {"rope_theta": c.base, "rope_parameters": rope, "rope_scaling": rope}


def model(config: llama.Config) -> nn.Module:
    """The decoder."""
    return llama.Model(config)


def inputs(config: llama.Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    return (jax.ShapeDtypeStruct((1, 4), jnp.int32),)


def rename(name: str) -> str:
    """Names with the prefix that the decoder has beside a head."""
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"


def processor(folder: Path, config: Any) -> checkpoint_processor.Processor | None:
    """Texts -> "inputs" and "mask", as decoders call them."""
    return checkpoint_processor.load(folder, checkpoint_processor.DECODER_ARGUMENTS)


def table(config: llama.Config) -> list[Entry]:
    """One row a parameter."""
    d = config.decoder
    stack = {"layers": d.layers}
    at = "model.layers.{layer}"
    block = "decoder/blocks"
    names = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    if d.post_norms:
        names["attention_post_norm"] = names["mlp_norm"]
        names["mlp_norm"] = "pre_feedforward_layernorm"
        names["mlp_post_norm"] = "post_feedforward_layernorm"
    rows = [
        Entry("tokens", "model.embed_tokens.weight"),
        *norm("norm", "model.norm", bias=False),
    ]
    for path, name in names.items():
        rows += norm(f"{block}/{path}", f"{at}.{name}", bias=False, **stack)
    for part in ("gate", "up", "down"):
        rows += linear(f"{block}/mlp/{part}", f"{at}.mlp.{part}_proj", bias=d.mlp_bias, **stack)
    for part in ("query", "key", "value"):
        sizes = {"N": d.heads if part == "query" else d.kv_heads}
        kwargs = dict(bias=d.qkv_bias, layout="(N H) D -> D N H", sizes=sizes, **stack)
        rows += linear(f"{block}/attention/{part}", f"{at}.self_attn.{part[0]}_proj", **kwargs)
    kwargs = dict(bias=d.output_bias, layout="D (N H) -> N H D", sizes={"N": d.heads}, **stack)
    rows += linear(f"{block}/attention/out", f"{at}.self_attn.o_proj", **kwargs)
    if not config.tied:
        rows.append(Entry("head", "lm_head.weight", "V D -> D V"))
    return rows
