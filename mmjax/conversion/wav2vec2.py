"""wav2vec 2.0 of the hub: Wav2Vec2Model, Wav2Vec2ForCTC; hubert.py has the same for HuBERT.

* A file of Wav2Vec2ForPreTraining is read for its encoder; its quantiser is left aside. So is the
  vector that stands for masked frames in training: popular files lack it, and nothing that is
  computed here uses it.
* The positional kernel's length and direction: `weight_g`, `weight_v` in old files.
* Beside a CTC head the encoder's names have the prefix "wav2vec2."; without one they are bare.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from mmjax.conversion.gpt2 import special, special_fields
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.layers import transformer
from mmjax.models import wav2vec2
from mmjax.processors.checkpoints import speech as speech_processor

MODEL_TYPES = ("wav2vec2",)
KINDS = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert"}  # prefix of names -> of classes
HEADS = ("lm_head", "quantizer", "project_q", "project_hid")
IGNORED = r"\w+\.masked_spec_embed|.*\.batch_norm\.num_batches_tracked"
LEFT_OUT = r"(quantizer|project_q|project_hid)\..*"  # of pre-training
NORMED = "parametrizations.weight.original"  # torch's name for what weight norm keeps
CONVOLUTION = "O C K -> K C O"
OLD = {"weight_g": f"{NORMED}0", "weight_v": f"{NORMED}1"}


def rename(name: str, prefix: str = "wav2vec2") -> str:
    """Bare models lack the prefix; weight norm had other names."""
    stem, _, last = name.rpartition(".")
    if stem.endswith("pos_conv_embed.conv") and last in OLD:
        name = f"{stem}.{OLD[last]}"
    return name if name.startswith((prefix, *HEADS)) else f"{prefix}.{name}"


def saved(name: str, config: wav2vec2.Config, prefix: str = "wav2vec2") -> str:
    """The way back."""
    return name.removeprefix(f"{prefix}.") if config.letters is None else name


def config(upstream: Mapping[str, Any], prefix: str = "wav2vec2") -> wav2vec2.Config:
    """A parsed config.json -> ours.

    Raises:
      Unsupported: another head, adapters inside the blocks, another activation.
    """
    get = upstream.get
    kind = KINDS[prefix]
    fields.only(upstream, "adapter_attn_dim", None)
    if prefix == "hubert":
        fields.only(upstream, "add_adapter", False)
    else:
        fields.only(upstream, "conv_pos_batch_norm", False)
    fields.only(upstream, "feat_extract_norm", "group", "layer")
    heads = [f"{kind}{head}" for head in ("Model", "ForCTC", "ForPreTraining")]
    names = get("architectures") or heads[:1]
    for name in names:
        if name not in heads:
            raise fields.Unsupported(
                f"config.json: architectures = {name!r} is not supported; {', '.join(heads)} are"
            )
    sizes = [
        get(f"conv_{key}", default)
        for key, default in (
            ("dim", (512,) * 7),
            ("kernel", (10, 3, 3, 3, 3, 2, 2)),
            ("stride", (5, 2, 2, 2, 2, 2, 2)),
        )
    ]
    body = transformer.Config(
        width=get("hidden_size", 768),
        layers=get("num_hidden_layers", 12),
        heads=get("num_attention_heads", 12),
        hidden=get("intermediate_size", 3072),
        activation=fields.activation(upstream),
        norm="pre" if get("do_stable_layer_norm", False) else "post",
        norm_epsilon=get("layer_norm_eps", 1e-5),
        initialisation="bert",
    )
    return wav2vec2.Config(
        front=tuple(wav2vec2.Stage(*one) for one in zip(*sizes, strict=True)),
        front_bias=get("conv_bias", False),
        front_norm=get("feat_extract_norm", "group"),
        front_activation=fields.activation(upstream, "feat_extract_activation"),
        projection_norm=get("feat_proj_layer_norm", True),
        position_taps=get("num_conv_pos_embeddings", 128),
        position_groups=get("num_conv_pos_embedding_groups", 16),
        position_norm="batch" if get("conv_pos_batch_norm", False) else "weight",
        transformer=body,
        adapter=_adapter(upstream, body.width) if get("add_adapter", False) else None,
        letters=get("vocab_size", 32) if names[0].endswith("ForCTC") else None,
        **special(upstream, start=1, end=2, padding=0),
    )


def _adapter(upstream: Mapping[str, Any], width: int) -> wav2vec2.Adapter:
    return wav2vec2.Adapter(
        width=upstream.get("output_hidden_size") or width,
        layers=upstream.get("num_adapter_layers", 3),
        taps=upstream.get("adapter_kernel_size", 3),
        stride=upstream.get("adapter_stride", 2),
    )


def upstream(config: wav2vec2.Config, prefix: str = "wav2vec2") -> dict[str, Any]:
    """Ours -> a config.json that the reference opens.

    Raises:
      Unsupported: what HuBERT has and wav2vec 2.0 has not, or the other way round.
    """
    t = config.transformer
    if prefix == "hubert" and config.adapter is not None:
        raise fields.Unsupported("HuBERT has no adapter: no config.json says so")
    if prefix != "hubert" and config.position_norm == "batch":
        raise fields.Unsupported("wav2vec 2.0 has no batch norm: no config.json says so")
    out = {
        "model_type": prefix,
        "architectures": [f"{KINDS[prefix]}{'Model' if config.letters is None else 'ForCTC'}"],
        "hidden_size": t.width,
        "num_hidden_layers": t.layers,
        "num_attention_heads": t.heads,
        "intermediate_size": t.hidden,
        "hidden_act": fields.activation_name(t.activation),
        "layer_norm_eps": t.norm_epsilon,
        "do_stable_layer_norm": t.norm == "pre",
        "conv_dim": [stage.width for stage in config.front],
        "conv_kernel": [stage.taps for stage in config.front],
        "conv_stride": [stage.stride for stage in config.front],
        "conv_bias": config.front_bias,
        "feat_extract_norm": config.front_norm,
        "feat_extract_activation": fields.activation_name(config.front_activation),
        "num_conv_pos_embeddings": config.position_taps,
        "num_conv_pos_embedding_groups": config.position_groups,
        "mask_time_prob": 0.0,  # without the vector for masked frames
        "mask_feature_prob": 0.0,
        **special_fields(config),
    }
    if prefix == "hubert":
        out["feat_proj_layer_norm"] = config.projection_norm
        out["conv_pos_batch_norm"] = config.position_norm == "batch"
    if config.adapter is not None:
        out["add_adapter"] = True
        out["output_hidden_size"] = config.adapter.width
        out["num_adapter_layers"] = config.adapter.layers
        out["adapter_kernel_size"] = config.adapter.taps
        out["adapter_stride"] = config.adapter.stride
    if config.letters is not None:
        out["vocab_size"] = config.letters
    return out


def model(config: wav2vec2.Config) -> wav2vec2.Model:
    """The module of a config."""
    return wav2vec2.Model(config)


def inputs(config: wav2vec2.Config) -> tuple:
    """Arguments that make every parameter."""
    length = 1
    while wav2vec2.frames(config, length) < 1:
        length *= 2
    return (jnp.zeros((1, length)),)


def table(config: wav2vec2.Config, prefix: str = "wav2vec2") -> list[Entry]:
    """Rows of the front, the positions, the blocks, the adapter and the head."""
    rows = [*_front(config, prefix), *_positions(config, prefix)]
    rows += norm("norm", f"{prefix}.encoder.layer_norm")
    rows += _blocks(config.transformer, prefix)
    if config.adapter is not None:
        rows += _shortening(config, f"{prefix}.adapter")
    if config.letters is not None:
        rows += linear("head", "lm_head")
    return rows


def _front(config: wav2vec2.Config, prefix: str) -> list[Entry]:
    rows = []
    for i in range(len(config.front)):
        ours = f"front/conv_{i}"
        theirs = f"{prefix}.feature_extractor.conv_layers.{i}"
        rows.append(Entry(f"{ours}/kernel", f"{theirs}.conv.weight", CONVOLUTION))
        if config.front_bias:
            rows.append(Entry(f"{ours}/bias", f"{theirs}.conv.bias"))
        if config.front_norm == "layer" or i == 0:
            rows.append(Entry(f"front/norm_{i}_scale", f"{theirs}.layer_norm.weight"))
            rows.append(Entry(f"front/norm_{i}_bias", f"{theirs}.layer_norm.bias"))
    at = f"{prefix}.feature_projection"
    if config.projection_norm:
        rows += norm("projection_norm", f"{at}.layer_norm")
    return [*rows, *linear("projection", f"{at}.projection")]


def _positions(config: wav2vec2.Config, prefix: str) -> list[Entry]:
    at = f"{prefix}.encoder.pos_conv_embed"
    rows = [Entry("positions/bias", f"{at}.conv.bias")]
    if config.position_norm == "batch":
        rows.append(Entry("positions/kernel", f"{at}.conv.weight", CONVOLUTION))
        rows += norm("positions/norm", f"{at}.batch_norm")
        rows.append(Entry("positions/norm/mean", f"{at}.batch_norm.running_mean"))
        rows.append(Entry("positions/norm/var", f"{at}.batch_norm.running_var"))
        return rows
    length, direction = (f"{at}.conv.{name}" for name in OLD.values())
    rows.append(Entry("positions/scale", length, "A B K -> (A B K)", {"A": 1, "B": 1}))
    rows.append(Entry("positions/kernel", direction, CONVOLUTION))
    return rows


def _blocks(config: transformer.Config, prefix: str) -> list[Entry]:
    rows = []
    ours = "transformer/blocks"
    theirs = f"{prefix}.encoder.layers.{{layer}}"
    stack = {"layers": config.layers}
    heads = {"sizes": {"N": config.heads}, **stack}
    for part, short in (("query", "q"), ("key", "k"), ("value", "v")):
        path = f"{ours}/attention/{part}"
        name = f"{theirs}.attention.{short}_proj"
        rows += linear(path, name, layout="(N H) D -> D N H", **heads)
    path = f"{ours}/attention/out"
    name = f"{theirs}.attention.out_proj"
    rows += linear(path, name, layout="D (N H) -> N H D", **heads)
    rows += norm(f"{ours}/attention_norm", f"{theirs}.layer_norm", **stack)
    rows += linear(f"{ours}/mlp/up", f"{theirs}.feed_forward.intermediate_dense", **stack)
    rows += linear(f"{ours}/mlp/down", f"{theirs}.feed_forward.output_dense", **stack)
    rows += norm(f"{ours}/mlp_norm", f"{theirs}.final_layer_norm", **stack)
    return rows


def _shortening(config: wav2vec2.Config, at: str) -> list[Entry]:
    rows = []
    if config.adapter.width != config.transformer.width:
        rows += linear("adapter/projection", f"{at}.proj")
        rows += norm("adapter/norm", f"{at}.proj_layer_norm")
    for i in range(config.adapter.layers):
        path = f"adapter/conv_{i}"
        name = f"{at}.layers.{i}.conv"
        rows.append(Entry(f"{path}/kernel", f"{name}.weight", CONVOLUTION))
        rows.append(Entry(f"{path}/bias", f"{name}.bias"))
    return rows


def processor(folder: Path, config: wav2vec2.Config) -> speech_processor.Waveform:
    """Sounds to samples, and the letters of CTC."""
    return speech_processor.waveform(folder, mask=config.front_norm == "layer")
