"""AST as the hub keeps it: `ASTModel`, `ASTForAudioClassification`.

https://arxiv.org/abs/2104.01778.

* Patches are named by frequency first, in kernels as in the order of tokens.
* The blocks have the names of ViT's; files of a model with a classifier carry the tower's prefix.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion import vit
from mmjax.conversion.clip import PATCHES, body, sizes
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.models import ast, audio_classifier
from mmjax.models.audio_classifier import inputs as inputs
from mmjax.processors.checkpoints import sounds as checkpoint_sounds

MODEL_TYPES = ("audio-spectrogram-transformer",)
PREFIX = "audio_spectrogram_transformer."
CLASSIFIER = "ASTForAudioClassification"


def config(upstream: Mapping[str, Any]) -> audio_classifier.Config:
    """Of config.json; without fields, the sizes of the published model."""
    get = upstream.get
    fields.only(upstream, "architectures", None, ["ASTModel"], [CLASSIFIER])
    classified = (get("architectures") or ["ASTModel"]) == [CLASSIFIER]
    inner = body(upstream, 768, 12, 12, 3072, "gelu", 1e-12)
    labels = fields.labels(upstream) if classified else ()
    named = labels != tuple(f"LABEL_{i}" for i in range(len(labels)))
    return audio_classifier.Config(
        ast.Config(
            bins=get("num_mel_bins", 128),
            frames=get("max_length", 1024),
            patch_size=fields.square(upstream, "patch_size", 16),
            frame_stride=get("time_stride", 10),
            bin_stride=get("frequency_stride", 10),
            transformer=dataclasses.replace(inner, qkv_bias=get("qkv_bias", True)),
        ),
        classes=len(labels),
        labels=labels if named else (),
    )


def upstream(config: audio_classifier.Config) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
      Unsupported: another tower, or one that pools otherwise.
    """
    c = config
    tower = c.audio
    if not isinstance(tower, ast.Config) or tower.pool != "class":
        raise fields.Unsupported("ASTModel is an AST that pools its class tokens: no other is")
    labels = c.labels or tuple(f"LABEL_{i}" for i in range(c.classes))
    return {
        "model_type": MODEL_TYPES[0],
        "architectures": [CLASSIFIER if c.classes else "ASTModel"],
        "num_mel_bins": tower.bins,
        "max_length": tower.frames,
        "patch_size": tower.patch_size,
        "time_stride": tower.frame_stride,
        "frequency_stride": tower.bin_stride,
        "qkv_bias": tower.transformer.qkv_bias,
        **sizes(tower.transformer),
        **(fields.label_fields(labels) if c.classes else {}),
    }


def model(config: audio_classifier.Config) -> nn.Module:
    """The tower with its classifier."""
    return audio_classifier.Model(config)


def rename(name: str) -> str:
    """Names without the tower's prefix, in the spelling of the files."""
    return vit.rename(name.removeprefix(PREFIX))


def saved(name: str, config: audio_classifier.Config) -> str:
    """Names with the prefix that a model with a classifier puts before its tower's names."""
    plain = not config.classes or re.match(r"classifier\.", name)
    return name if plain else PREFIX + name


def table(config: audio_classifier.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    tower = config.audio
    edges = {"p": tower.patch_size, "q": tower.patch_size}
    token = "1 1 D -> 1 D"
    rows = [
        Entry("audio/class_token", "embeddings.cls_token", token),
        Entry("audio/distillation_token", "embeddings.distillation_token", token),
        Entry("audio/positions", "embeddings.position_embeddings", "1 L D -> L D"),
        Entry("audio/patch_embedding/kernel", f"{vit.PROJECTION}.weight", PATCHES, edges),
        Entry("audio/patch_embedding/bias", f"{vit.PROJECTION}.bias"),
        *vit.blocks("audio/transformer/blocks", "encoder.layer.{layer}", tower.transformer),
        *norm("audio/norm", "layernorm"),
    ]
    if config.classes:
        rows += norm("classifier_norm", "classifier.layernorm")
        rows += linear("classifier", "classifier.dense")
    return rows


def processor(
    folder: Path, config: audio_classifier.Config
) -> checkpoint_sounds.Processor | None:
    """Sounds to frames."""
    return checkpoint_sounds.load(folder, {})
