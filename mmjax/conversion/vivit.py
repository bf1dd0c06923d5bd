"""ViViT as the hub keeps it: `VivitModel`, `VivitForVideoClassification`.

https://arxiv.org/abs/2103.15691

* A pooler for `VivitModel`, a classifier on the class token for the other.
* Files carry the tower's prefix, "vivit.", before all but the classifier's names where there is
  one; inside the later releases the layers have other names, as ViT's.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion import vit
from mmjax.conversion.clip import body, sizes
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.models import video_classifier, video_vit
from mmjax.models.video_classifier import inputs as inputs
from mmjax.processors.checkpoints import clips as checkpoint_clips

MODEL_TYPES = ("vivit",)
TOWER, CLASSIFIER = "VivitModel", "VivitForVideoClassification"
PROJECTION = "embeddings.patch_embeddings.projection"
TUBELETS = "D C t p q -> (t p q C) D"  # a convolution whose stride is its kernel, as a matmul


def config(upstream: Mapping[str, Any]) -> video_classifier.Config:
    """Of config.json; without fields, the sizes of B/16x2."""
    fields.only(upstream, "architectures", None, [TOWER], [CLASSIFIER])
    fields.only(upstream, "pooler_act", "tanh")
    inner = body(upstream, 768, 12, 12, 3072, "gelu_fast", 1e-6)
    inner = dataclasses.replace(inner, qkv_bias=upstream.get("qkv_bias", True))
    times, rows, columns = upstream.get("tubelet_size", (2, 16, 16))
    if rows != columns:
        raise fields.Unsupported(
            f"config.json: tubelet_size = {[times, rows, columns]} is not square, which is not "
            "supported"
        )
    tower = video_vit.Config(
        upstream.get("num_frames", 32),
        fields.square(upstream, "image_size", 224),
        rows,
        times,
        upstream.get("num_channels", 3),
        inner,
    )
    return with_head(upstream, tower, TOWER, upstream.get("pooler_output_size") or inner.width)


def with_head(
    upstream: Mapping[str, Any], tower: video_vit.Config, name: str, pooler: int = 0
) -> video_classifier.Config:
    """A tower, or with its classes where `name` is not the only architecture."""
    if (upstream.get("architectures") or [name]) == [name]:
        return video_classifier.Config(tower, pooler=pooler)
    labels = fields.labels(upstream)
    return video_classifier.Config(tower, classes=len(labels), labels=fields.given(labels))


def upstream(config: video_classifier.Config) -> dict[str, Any]:
    """The config.json of a model."""
    tower = config.video
    edge = tower.patch_size
    return {
        "model_type": "vivit",
        "architectures": [CLASSIFIER if config.classes else TOWER],
        **shared(tower),
        "tubelet_size": [tower.tubelet, edge, edge],
        "qkv_bias": tower.transformer.qkv_bias,
        **({} if config.classes else {"pooler_output_size": config.pooler}),
        **label_fields(config),
    }


def shared(tower: video_vit.Config) -> dict[str, Any]:
    """Fields that all towers of tubelets have."""
    return {
        "num_frames": tower.frames,
        "image_size": tower.image_size,
        "num_channels": tower.channels,
        **sizes(tower.transformer),
    }


def label_fields(config: video_classifier.Config) -> dict[str, Any]:
    """Of a classifier's classes."""
    if not config.classes:
        return {}
    return fields.label_fields(config.labels or fields.unnamed(config.classes))


def model(config: video_classifier.Config) -> nn.Module:
    """The tower with its head."""
    return video_classifier.Model(config)


def processor(folder: Path, config: video_classifier.Config) -> Any:
    """Clips of as many frames as the model has."""
    return checkpoint_clips.load(folder, config.video.frames)


def rename(name: str) -> str:
    """Names without the tower's prefix, in the spelling of the files."""
    return vit.rename(re.sub(r"^vivit\.", "", name))


def saved(name: str, config: video_classifier.Config) -> str:
    """Names with the prefix that a model with a head puts before its tower's names."""
    return name if not config.classes or name.startswith("classifier") else f"vivit.{name}"


def table(config: video_classifier.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    tower = config.video
    rows = [
        Entry("video/class_token", "embeddings.cls_token", "1 1 D -> 1 D"),
        Entry("video/positions", "embeddings.position_embeddings", "1 L D -> L D"),
        *tubelets(tower),
        *vit.blocks("video/transformer/blocks", "encoder.layer.{layer}", tower.transformer),
        *norm("video/norm", "layernorm"),
    ]
    if config.pooler:
        rows += linear("pooler", "pooler.dense")
    return rows + (linear("classifier", "classifier") if config.classes else [])


def tubelets(tower: video_vit.Config) -> list[Entry]:
    """Of the embedding of tubelets."""
    edges = {"t": tower.tubelet, "p": tower.patch_size, "q": tower.patch_size}
    at = "video/tubelet_embedding"
    return [
        Entry(f"{at}/kernel", f"{PROJECTION}.weight", TUBELETS, edges),
        Entry(f"{at}/bias", f"{PROJECTION}.bias"),
    ]
