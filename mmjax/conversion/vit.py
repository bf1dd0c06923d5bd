"""ViT and DeiT as the hub keeps them: `ViTModel`, `ViTForImageClassification`, `DeiT...`.

ViT https://arxiv.org/abs/2010.11929, DeiT https://arxiv.org/abs/2012.12877.

* "architectures" says which heads there are: a pooler for `...Model`, one classifier for
  `...ForImageClassification`, two for `DeiTForImageClassificationWithTeacher`.
* Files of a model with a head carry the tower's prefix, "vit." or "deit."; its later releases call
  the layers by other names in memory, and some files have those.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from mmjax.conversion.clip import PATCHES, body, sizes
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.layers import transformer
from mmjax.models import image_classifier, vit
from mmjax.models.image_classifier import inputs as inputs

MODEL_TYPES = ("vit", "deit")
IGNORED = r"embeddings\.mask_token"  # of pre-training by masking
PROJECTION = "embeddings.patch_embeddings.projection"
NEWER = (  # names inside the later releases -> those of the files
    (r"^layers\.", "encoder.layer."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)


def config(upstream: Mapping[str, Any]) -> image_classifier.Config:
    """Of config.json; without fields, the sizes of B/16."""
    distilled = upstream.get("model_type", "vit") == "deit"
    family = "DeiT" if distilled else "ViT"
    tower = f"{family}Model"
    classifier = f"{family}ForImageClassification"
    teacher = f"{classifier}WithTeacher"
    taken = [[tower], [classifier], [teacher]] if distilled else [[tower], [classifier]]
    fields.only(upstream, "architectures", None, *taken)
    fields.only(upstream, "pooler_act", "tanh")
    inner = body(upstream, 768, 12, 12, 3072, "gelu", 1e-12)
    inner = dataclasses.replace(inner, qkv_bias=upstream.get("qkv_bias", True))
    name = (upstream.get("architectures") or [tower])[0]
    labels = fields.labels(upstream)
    return image_classifier.Config(
        vit.Config(
            fields.square(upstream, "image_size", 224),
            fields.square(upstream, "patch_size", 16),
            upstream.get("num_channels", 3),
            transformer=inner,
            distilled=distilled,
        ),
        classes=0 if name == tower else len(labels),
        pooler=(upstream.get("pooler_output_size") or inner.width) if name == tower else 0,
        teacher_head=name == teacher,
        labels=fields.given(labels) if name != tower else (),
    )


def upstream(config: image_classifier.Config) -> dict[str, Any]:
    """The config.json of a model."""
    c = config
    image = c.image
    family = "DeiT" if image.distilled else "ViT"
    head = "ForImageClassification" + "WithTeacher" * c.teacher_head if c.classes else "Model"
    named = fields.label_fields(c.labels or fields.unnamed(c.classes))
    return {
        "model_type": family.lower(),
        "architectures": [family + head],
        "image_size": image.image_size,
        "patch_size": image.patch_size,
        "num_channels": image.channels,
        "qkv_bias": image.transformer.qkv_bias,
        **sizes(image.transformer),
        **(named if c.classes else {"pooler_output_size": c.pooler}),
    }


def model(config: image_classifier.Config) -> nn.Module:
    """The tower with its heads."""
    return image_classifier.Model(config)


def rename(name: str) -> str:
    """Names without the tower's prefix, in the spelling of the files."""
    name = re.sub(r"^(vit|deit)\.", "", name)
    for pattern, old in NEWER:
        name = re.sub(pattern, old, name)
    return name


def saved(name: str, config: image_classifier.Config) -> str:
    """Names with the prefix that a model with a head puts before its tower's names."""
    prefix = "deit." if config.image.distilled else "vit."
    return name if not config.classes or "classifier" in name else prefix + name


def table(config: image_classifier.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    c = config
    image = c.image
    edges = {"p": image.patch_size, "q": image.patch_size}
    rows = [
        Entry("image/class_token", "embeddings.cls_token", "1 1 D -> 1 D"),
        Entry("image/positions", "embeddings.position_embeddings", "1 L D -> L D"),
        Entry("image/patch_embedding/kernel", f"{PROJECTION}.weight", PATCHES, edges),
        Entry("image/patch_embedding/bias", f"{PROJECTION}.bias"),
        *blocks("image/transformer/blocks", "encoder.layer.{layer}", image.transformer),
        *norm("image/norm", "layernorm"),
    ]
    if image.distilled:
        token = "embeddings.distillation_token"
        rows.append(Entry("image/distillation_token", token, "1 1 D -> 1 D"))
    if c.pooler:
        rows += linear("pooler", "pooler.dense")
    if c.classes:
        rows += linear("classifier", "cls_classifier" if c.teacher_head else "classifier")
    if c.teacher_head:
        rows += linear("distillation_classifier", "distillation_classifier")
    return rows


def blocks(path: str, at: str, config: transformer.Config) -> list[Entry]:
    """The stacked blocks of a tower of the early releases' layout, each kept as `at`; towers of
    videos have it too."""
    stack = {"layers": config.layers}
    heads = {"N": config.heads}
    rows = [
        *norm(f"{path}/attention_norm", f"{at}.layernorm_before", **stack),
        *norm(f"{path}/mlp_norm", f"{at}.layernorm_after", **stack),
        *linear(f"{path}/mlp/up", f"{at}.intermediate.dense", **stack),
        *linear(f"{path}/mlp/down", f"{at}.output.dense", **stack),
    ]
    for part in ("query", "key", "value"):
        bias = config.qkv_bias and (part != "key" or config.key_bias)
        name = f"{at}.attention.attention.{part}"
        layout = "(N H) D -> D N H"
        rows += linear(
            f"{path}/attention/{part}", name, bias=bias, layout=layout, sizes=heads, **stack
        )
    name = f"{at}.attention.output.dense"
    layout = "D (N H) -> N H D"
    return [*rows, *linear(f"{path}/attention/out", name, layout=layout, sizes=heads, **stack)]
