"""CLAP as the hub keeps it: `ClapModel` of `transformers`, fused and unfused.

https://arxiv.org/abs/2211.06687. Its towers on their own: tower.py.

* HTS-AT for sounds, RoBERTa with its pooler for texts, two layers behind each.
* Blocks of the tower of sound go in pairs here, of which a file keeps the plain ones under even
  numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion import bert as berts
from mmjax.conversion.clip import PATCHES, body, part, sizes
from mmjax.conversion.gpt2 import special, special_fields
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.models import bert, clap, htsat
from mmjax.models.clip import inputs as inputs
from mmjax.processors.checkpoints import sounds as checkpoint_sounds

MODEL_TYPES = ("clap",)
# what torch keeps beside parameters, and what it can count again
IGNORED = (
    r".*embeddings\.(position_ids|token_type_ids)|.*\.(num_batches_tracked|relative_position_index)"
)
ENCODER = "audio_model.audio_encoder"
FUSIONS = {"local": "local_att", "global": "global_att"}  # ours -> theirs


def config(upstream: Mapping[str, Any]) -> clap.Config:
    """Of config.json; towers without fields have the sizes of HTSAT-tiny and RoBERTa base."""
    fields.only(upstream, "architectures", ["ClapModel"], None)
    words = part(upstream, "text_config")
    activation = fields.activation(upstream, "projection_hidden_act", "relu")
    inner = body(words, 768, 12, 12, 3072, "gelu", 1e-12)
    return clap.Config(
        audio=_tower(part(upstream, "audio_config")),
        text=bert.Config(
            vocab_size=words.get("vocab_size", 50_265),
            context_length=words.get("max_position_embeddings", 514),
            types=words.get("type_vocab_size", 1),
            transformer=dataclasses.replace(inner, norm="post", initialisation="bert"),
            **special(words, start=0, end=2, padding=1),
        ),
        embedding=upstream.get("projection_dim", 512),
        projection_activation=activation,
        scale_init=upstream.get("logit_scale_init_value", 1 / 0.07),
        scale_max=None,
        text_scale=True,
    )


def _tower(audio: Mapping[str, Any]) -> htsat.Config:
    get = audio.get
    patch = fields.square(audio, "patch_size", 4)
    if fields.square(audio, "patch_stride", 4) != patch:
        raise fields.Unsupported("config.json: patch_stride is not patch_size: patches overlap")
    fields.only(audio, "patch_embed_input_channels", 1)
    fields.only(audio, "flatten_patch_embeds", True)
    fusion = get("enable_fusion", False)
    if fusion:
        fields.only(audio, "fusion_type", None, "aff_2d")
    return htsat.Config(
        bins=get("num_mel_bins", 64),
        image_size=get("spec_size", 256),
        patch_size=patch,
        width=get("patch_embeds_hidden_size", 96),
        depths=tuple(get("depths", (2, 2, 6, 2))),
        heads=tuple(get("num_attention_heads", (4, 8, 16, 32))),
        window=get("window_size", 8),
        hidden_ratio=float(get("mlp_ratio", 4.0)),
        activation=fields.activation(audio),
        norm_epsilon=get("layer_norm_eps", 1e-5),
        qkv_bias=get("qkv_bias", True),
        patch_norm=get("enable_patch_layer_norm", True),
        fusion=fusion,
        fusion_ratio=get("aff_block_r", 4),
    )


def upstream(config: clap.Config) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
      Unsupported: towers that a ClapModel has not.
    """
    tower = config.audio
    words = config.text
    _check(config)
    audio = {
        "model_type": "clap_audio_model",
        "num_mel_bins": tower.bins,
        "spec_size": tower.image_size,
        "patch_size": tower.patch_size,
        "patch_stride": [tower.patch_size] * 2,
        "patch_embeds_hidden_size": tower.width,
        "hidden_size": tower.stage(len(tower.depths) - 1).width,
        "depths": list(tower.depths),
        "num_attention_heads": list(tower.heads),
        "num_hidden_layers": len(tower.depths),
        "window_size": tower.window,
        "mlp_ratio": tower.hidden_ratio,
        "hidden_act": fields.activation_name(tower.activation),
        "layer_norm_eps": tower.norm_epsilon,
        "qkv_bias": tower.qkv_bias,
        "enable_patch_layer_norm": tower.patch_norm,
        "enable_fusion": tower.fusion,
        "fusion_type": "aff_2d" if tower.fusion else None,
        "aff_block_r": tower.fusion_ratio,
    }
    text = {
        "model_type": "clap_text_model",
        "vocab_size": words.vocab_size,
        "max_position_embeddings": words.context_length,
        "type_vocab_size": words.types,
        **special_fields(words),
        **sizes(words.transformer),
    }
    activation = fields.activation_name(config.projection_activation)
    shared = {"projection_dim": config.embedding, "projection_hidden_act": activation}
    return {
        "model_type": "clap",
        "architectures": ["ClapModel"],
        "logit_scale_init_value": config.scale_init,
        "audio_config": {**audio, **shared},
        "text_config": {**text, **shared},
        **shared,
    }


def _check(config: clap.Config) -> None:
    audio = config.audio
    words = config.text
    good = isinstance(audio, htsat.Config) and audio.pool == "mean"
    good = good and isinstance(words, bert.Config) and words.padding_id is not None
    good = good and words.pool == "dense" and words.head == "none"
    good = good and config.image is None and config.text_scale
    if not good or config.projection_activation == "none":
        raise fields.Unsupported(
            "a ClapModel has an HTS-AT that pools its mean, a RoBERTa with a dense pooler, two "
            "layers behind each and two scales: no config.json says otherwise"
        )


def model(config: clap.Config) -> nn.Module:
    """The dual encoder."""
    return clap.Model(config)


def table(config: clap.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    words = [
        dataclasses.replace(row, path=f"text/{row.path}", name=f"text_model.{row.name}")
        for row in berts.table(config.text)
    ]
    stages = range(len(config.audio.depths))
    return [
        Entry("log_scale", "logit_scale_a"),
        Entry("log_text_scale", "logit_scale_t"),
        *words,
        *_patches(config.audio),
        *(row for number in stages for row in _stage(config.audio, number)),
        *norm("audio/norm", f"{ENCODER}.norm"),
        *_projection("audio"),
        *_projection("text"),
    ]


def _projection(modality: str) -> list[Entry]:
    return [
        *linear(f"{modality}_head/up", f"{modality}_projection.linear1"),
        *linear(f"{modality}_head/down", f"{modality}_projection.linear2"),
    ]


def _batch_norm(path: str, name: str) -> list[Entry]:
    return [
        *norm(path, name),
        Entry(f"{path}/mean", f"{name}.running_mean"),
        Entry(f"{path}/var", f"{name}.running_var"),
    ]


def _patches(config: htsat.Config) -> list[Entry]:
    """Everything before the first block."""
    at = f"{ENCODER}.patch_embed"
    patch = config.patch_size
    edges = {"p": patch, "q": patch}
    rows = [
        *_batch_norm("audio/bin_norm", f"{ENCODER}.batch_norm"),
        Entry("audio/patch_embedding/kernel", f"{at}.proj.weight", PATCHES, edges),
        Entry("audio/patch_embedding/bias", f"{at}.proj.bias"),
    ]
    if config.patch_norm:
        rows += norm("audio/patch_norm", f"{at}.norm")
    if not config.fusion:
        return rows
    edges = {"p": patch, "q": htsat.CROPS * patch}
    rows += [
        Entry("audio/crop_embedding/kernel", f"{at}.mel_conv2d.weight", PATCHES, edges),
        Entry("audio/crop_embedding/bias", f"{at}.mel_conv2d.bias"),
    ]
    # convolutions of one pixel, of which every third one is a relu
    for ours, theirs in FUSIONS.items():
        first = 1 if ours == "global" else 0
        for layer, number in (("down", first), ("up", first + 3)):
            path = f"audio/fusion/{ours}_{layer}"
            name = f"{at}.fusion_model.{theirs}"
            rows += [
                Entry(f"{path}/kernel", f"{name}.{number}.weight", PATCHES, {"p": 1, "q": 1}),
                Entry(f"{path}/bias", f"{name}.{number}.bias"),
                *_batch_norm(f"{path}_norm", f"{name}.{number + 1}"),
            ]
    return rows


def _stage(config: htsat.Config, number: int) -> list[Entry]:
    """Pairs of blocks, and what halves the places behind them."""
    stage = config.stage(number)
    at = f"{ENCODER}.layers.{number}"
    ours = f"audio/stage_{number}"
    rows = []
    for first, kind in enumerate(("plain", "shifted")):
        path = f"{ours}/blocks/{kind}"
        name = f"{at}.blocks.{{layer}}"
        stack = {"layers": stage.layers, "first": first, "step": 2}
        heads = {"N": stage.heads}
        own = f"{name}.attention.self"
        rows.append(Entry(f"{path}/distances", f"{own}.relative_position_bias_table", **stack))
        for one in ("query", "key", "value"):
            split = dict(layout="(N H) D -> D N H", sizes=heads, bias=stage.qkv_bias, **stack)
            rows += linear(f"{path}/attention/{one}", f"{own}.{one}", **split)
        merge = dict(layout="D (N H) -> N H D", sizes=heads, **stack)
        rows += linear(f"{path}/attention/out", f"{name}.attention.output.dense", **merge)
        rows += norm(f"{path}/attention_norm", f"{name}.layernorm_before", **stack)
        rows += norm(f"{path}/mlp_norm", f"{name}.layernorm_after", **stack)
        rows += linear(f"{path}/mlp/up", f"{name}.intermediate.dense", **stack)
        rows += linear(f"{path}/mlp/down", f"{name}.output.dense", **stack)
    if number < len(config.depths) - 1:
        rows += norm(f"{ours}/merge_norm", f"{at}.downsample.norm")
        rows += linear(f"{ours}/merge", f"{at}.downsample.reduction", bias=False)
    return rows


def processor(folder: Path, config: clap.Config) -> checkpoint_sounds.Processor | None:
    """Sounds to spectrograms, texts to ids."""
    return checkpoint_sounds.load(folder)
