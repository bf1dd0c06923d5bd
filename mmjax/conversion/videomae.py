"""VideoMAE as the hub keeps it: `VideoMAEModel`, `...ForVideoClassification`, `...ForPreTraining`.

https://arxiv.org/abs/2203.12602

* Queries and values have biases, called q_bias and v_bias; keys have none.
* `use_mean_pooling`: no norm on the tokens; a classifier has one on their mean. Else it looks at
  the first token.
* Only the pre-training model has a decoder; the fields of one are in every config.json.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion import vit
from mmjax.conversion.clip import body
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.conversion.vivit import label_fields, shared, tubelets, with_head
from mmjax.layers import transformer
from mmjax.models import video_classifier, video_mae, video_vit
from mmjax.processors.checkpoints import clips as checkpoint_clips

MODEL_TYPES = ("videomae",)
TOWER, CLASSIFIER = "VideoMAEModel", "VideoMAEForVideoClassification"
PRETRAINING = "VideoMAEForPreTraining"
DECODER = {  # fields of the decoder -> those of any transformer
    "decoder_hidden_size": "hidden_size",
    "decoder_num_hidden_layers": "num_hidden_layers",
    "decoder_num_attention_heads": "num_attention_heads",
    "decoder_intermediate_size": "intermediate_size",
}

Config = video_classifier.Config | video_mae.Config


def config(upstream: Mapping[str, Any]) -> Config:
    """Of config.json; without fields, the sizes of the base model."""
    fields.only(upstream, "architectures", None, [TOWER], [CLASSIFIER], [PRETRAINING])
    biases = dict(qkv_bias=upstream.get("qv_bias", upstream.get("qkv_bias", True)), key_bias=False)
    inner = dataclasses.replace(body(upstream, 768, 12, 12, 3072, "gelu", 1e-12), **biases)
    mean = upstream.get("use_mean_pooling", True)
    name = (upstream.get("architectures") or [TOWER])[0]
    averaged = "pooled" if name == CLASSIFIER else "none"
    tower = video_vit.Config(
        upstream.get("num_frames", 16),
        fields.square(upstream, "image_size", 224),
        fields.square(upstream, "patch_size", 16),
        upstream.get("tubelet_size", 2),
        upstream.get("num_channels", 3),
        inner,
        positions="sine",
        pool="mean" if mean else "first",
        norm=averaged if mean else "tokens",
    )
    if name != PRETRAINING:
        return with_head(upstream, tower, TOWER)
    inside = {ours: upstream[theirs] for theirs, ours in DECODER.items() if theirs in upstream}
    inside = {**upstream, **dict.fromkeys(DECODER.values()), **inside}
    inside = {key: value for key, value in inside.items() if value is not None}
    decoder = dataclasses.replace(body(inside, 384, 4, 6, 1536, "gelu", 1e-12), **biases)
    return video_mae.Config(tower, decoder, upstream.get("norm_pix_loss", True))


def upstream(config: Config) -> dict[str, Any]:
    """The config.json of a model."""
    tower = config.video
    out = {
        "model_type": "videomae",
        **shared(tower),
        "patch_size": tower.patch_size,
        "tubelet_size": tower.tubelet,
        "qv_bias": tower.transformer.qkv_bias,
        "use_mean_pooling": tower.pool == "mean",
    }
    if isinstance(config, video_classifier.Config):
        name = CLASSIFIER if config.classes else TOWER
        return {**out, "architectures": [name], **label_fields(config)}
    sizes = shared(dataclasses.replace(tower, transformer=config.decoder))
    inside = {theirs: sizes[ours] for theirs, ours in DECODER.items()}
    return {**out, "architectures": [PRETRAINING], "norm_pix_loss": config.normalised, **inside}


def model(config: Config) -> nn.Module:
    """The tower with its head, or with its decoder."""
    pretraining = isinstance(config, video_mae.Config)
    return (video_mae if pretraining else video_classifier).Model(config)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    pretraining = isinstance(config, video_mae.Config)
    return (video_mae if pretraining else video_classifier).inputs(config)


def processor(folder: Path, config: Config) -> Any:
    """Clips of as many frames as the model has."""
    return checkpoint_clips.load(folder, config.video.frames)


def rename(name: str) -> str:
    """Names without the tower's prefix, biases in the spelling of the files."""
    name = name.removeprefix("videomae.")
    return re.sub(r"\.(query|value)\.bias$", lambda found: f".{found[1][0]}_bias", name)


def saved(name: str, config: Config) -> str:
    """Names with the prefix that a model with a head puts before its tower's names."""
    bare = isinstance(config, video_classifier.Config) and not config.classes
    return name if bare or not name.startswith(("embeddings.", "encoder.", "layernorm.")) else (
        f"videomae.{name}"
    )


def table(config: Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    tower = config.video
    rows = [
        *tubelets(tower),
        *_blocks("video/transformer/blocks", "encoder.layer.{layer}", tower.transformer),
    ]
    if tower.norm != "none":
        rows += norm("video/norm", "layernorm" if tower.norm == "tokens" else "fc_norm")
    if isinstance(config, video_classifier.Config):
        return rows + (linear("classifier", "classifier") if config.classes else [])
    return [
        *rows,
        Entry("mask_token", "mask_token", "1 1 D -> 1 D"),
        *linear("to_decoder", "encoder_to_decoder", bias=False),
        *_blocks("decoder/blocks", "decoder.decoder_layers.{layer}", config.decoder),
        *norm("decoder_norm", "decoder.norm"),
        *linear("head", "decoder.head"),
    ]


def _blocks(path: str, at: str, config: transformer.Config) -> list[Entry]:
    rows = vit.blocks(path, at, config)
    return [dataclasses.replace(row, name=rename(row.name)) for row in rows]
