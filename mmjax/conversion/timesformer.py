"""TimeSformer as the hub keeps it: `TimesformerModel`, `TimesformerForVideoClassification`.

https://arxiv.org/abs/2102.05095

* Queries, keys and values are one tensor; divided attention has a second one, over time.
* The reference classifies each frame by itself where attention is "space_only"; here a clip's
  logits are their mean, as in the paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion.clip import PATCHES, body
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.conversion.vivit import PROJECTION, label_fields, shared, with_head
from mmjax.layers import transformer
from mmjax.models import video_classifier, video_vit
from mmjax.models.video_classifier import inputs as inputs
from mmjax.processors.checkpoints import clips as checkpoint_clips

MODEL_TYPES = ("timesformer",)
TOWER, CLASSIFIER = "TimesformerModel", "TimesformerForVideoClassification"
ATTENTION = {  # theirs -> our attention and positions
    "divided_space_time": ("divided", "space_time"),
    "joint_space_time": ("joint", "space_time"),
    "space_only": ("space", "space"),
}


def config(upstream: Mapping[str, Any]) -> video_classifier.Config:
    """Of config.json; without fields, the sizes of the base model."""
    fields.only(upstream, "architectures", None, [TOWER], [CLASSIFIER])
    fields.only(upstream, "attention_type", *ATTENTION)
    attention, positions = ATTENTION[upstream.get("attention_type", "divided_space_time")]
    inner = body(upstream, 768, 12, 12, 3072, "gelu", 1e-6)
    tower = video_vit.Config(
        upstream.get("num_frames", 8),
        fields.square(upstream, "image_size", 224),
        fields.square(upstream, "patch_size", 16),
        1,
        upstream.get("num_channels", 3),
        dataclasses.replace(inner, qkv_bias=upstream.get("qkv_bias", True)),
        attention,
        positions,
    )
    return with_head(upstream, tower, TOWER)


def upstream(config: video_classifier.Config) -> dict[str, Any]:
    """The config.json of a model."""
    tower = config.video
    kinds = {attention: theirs for theirs, (attention, _) in ATTENTION.items()}
    return {
        "model_type": "timesformer",
        "architectures": [CLASSIFIER if config.classes else TOWER],
        **shared(tower),
        "patch_size": tower.patch_size,
        "attention_type": kinds[tower.attention],
        "qkv_bias": tower.transformer.qkv_bias,
        **label_fields(config),
    }


def model(config: video_classifier.Config) -> nn.Module:
    """The tower with its head."""
    return video_classifier.Model(config)


def processor(folder: Path, config: video_classifier.Config) -> Any:
    """Clips of as many frames as the model has."""
    return checkpoint_clips.load(folder, config.video.frames)


def rename(name: str) -> str:
    """Names without the tower's prefix."""
    return name.removeprefix("timesformer.")


def saved(name: str, config: video_classifier.Config) -> str:
    """Names with the prefix that a model with a head puts before its tower's names."""
    return name if not config.classes or name.startswith("classifier") else f"timesformer.{name}"


def table(config: video_classifier.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    tower = config.video
    body = tower.transformer
    stack = {"layers": body.layers}
    edges = {"p": tower.patch_size, "q": tower.patch_size}
    at = "encoder.layer.{layer}"
    block = "video/transformer/blocks"
    rows = [
        Entry("video/class_token", "embeddings.cls_token", "1 1 D -> 1 D"),
        Entry("video/positions", "embeddings.position_embeddings", "1 L D -> L D"),
        Entry("video/tubelet_embedding/kernel", f"{PROJECTION}.weight", PATCHES, edges),
        Entry("video/tubelet_embedding/bias", f"{PROJECTION}.bias"),
        *norm(f"{block}/attention_norm", f"{at}.layernorm_before", **stack),
        *norm(f"{block}/mlp_norm", f"{at}.layernorm_after", **stack),
        *linear(f"{block}/mlp/up", f"{at}.intermediate.dense", **stack),
        *linear(f"{block}/mlp/down", f"{at}.output.dense", **stack),
        *_attention(f"{block}/attention", f"{at}.attention", body),
        *norm("video/norm", "layernorm"),
    ]
    if tower.positions == "space_time":
        name = "embeddings.time_embeddings"
        rows.append(Entry("video/time_positions", name, "1 T D -> T D"))
    if tower.attention == "divided":
        rows += _attention(f"{block}/time_attention", f"{at}.temporal_attention", body)
        rows += norm(f"{block}/time_attention_norm", f"{at}.temporal_layernorm", **stack)
        rows += linear(f"{block}/time_out", f"{at}.temporal_dense", **stack)
    return rows + (linear("classifier", "classifier") if config.classes else [])


def _attention(path: str, name: str, config: transformer.Config) -> list[Entry]:
    """Queries, keys and values of one tensor, and what is behind them."""
    rows = []
    sizes = {"three": 3, "N": config.heads}
    for index, part in enumerate(("query", "key", "value")):
        rows += linear(
            f"{path}/{part}", f"{name}.attention.qkv", bias=config.qkv_bias,
            layout="(three N H) D -> three D N H", sizes=sizes, index=index, layers=config.layers,
        )  # fmt: skip
    return rows + linear(
        f"{path}/out", f"{name}.output.dense", layout="D (N H) -> N H D",
        sizes={"N": config.heads}, layers=config.layers,
    )  # fmt: skip
