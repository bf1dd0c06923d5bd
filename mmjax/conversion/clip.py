"""CLIP as the hub keeps it: `CLIPModel` of `transformers`, https://arxiv.org/abs/2103.00020.

* Queries, keys and values are three tensors [N * H, D].
* The image tower's first norm is called "pre_layrnorm" in every file.
* Configs of the first releases give eos_token_id = 2, which no caption holds: the highest id of a
  row is the end then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.layers import transformer
from mmjax.models import clip, text, vit
from mmjax.models.clip import inputs as inputs

MODEL_TYPES = ("clip",)
IGNORED = r"(vision|text)_model\.embeddings\.position_ids"
PATCHES = "D C p q -> (p q C) D"  # a convolution whose stride is its kernel, as a matmul


def config(upstream: Mapping[str, Any]) -> clip.Config:
    """Of config.json; towers without fields have the sizes of B/32."""
    fields.only(upstream, "architectures", ["CLIPModel"], None)
    vision = part(upstream, "vision_config")
    words = part(upstream, "text_config")
    end = words.get("eos_token_id", 49407)
    return clip.Config(
        image=vit.Config(
            fields.square(vision, "image_size", 224),
            fields.square(vision, "patch_size", 32),
            vision.get("num_channels", 3),
            transformer=body(vision, 768, 12, 12, 3072, "quick_gelu", 1e-5),
            patch_bias=False,
            pre_norm=True,
        ),
        text=text.Config(
            words.get("vocab_size", 49408),
            words.get("max_position_embeddings", 77),
            body(words, 512, 12, 8, 2048, "quick_gelu", 1e-5),
            end_id=-1 if end in (2, None) else end,
            pad_id=words.get("pad_token_id", 1),
            start_id=words.get("bos_token_id", 49406),
        ),
        embedding=upstream.get("projection_dim", 512),
        scale_init=math.exp(upstream.get("logit_scale_init_value", 2.6592)),
        scale_max=None,
    )


def part(upstream: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The fields of one tower; old releases wrote them a second time, and these count."""
    return {**(upstream.get(key) or {}), **(upstream.get(f"{key}_dict") or {})}


def body(
    tower: Mapping[str, Any],
    width: int,
    layers: int,
    heads: int,
    hidden: int,
    activation: str,
    epsilon: float,
) -> transformer.Config:
    """A tower's transformer; the arguments are the defaults of the reference."""
    return transformer.Config(
        width=tower.get("hidden_size", width),
        layers=tower.get("num_hidden_layers", layers),
        heads=tower.get("num_attention_heads", heads),
        hidden=tower.get("intermediate_size", hidden),
        activation=fields.activation(tower, "hidden_act", activation),
        norm_epsilon=tower.get("layer_norm_eps", epsilon),
    )


def upstream(config: clip.Config) -> dict[str, Any]:
    """The config.json of a model."""
    image = config.image
    words = config.text
    end = 2 if words.end_id == -1 else words.end_id
    return {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": config.embedding,
        "logit_scale_init_value": math.log(config.scale_init),
        "vision_config": {
            "model_type": "clip_vision_model",
            "image_size": image.image_size,
            "patch_size": image.patch_size,
            "num_channels": image.channels,
            "projection_dim": config.embedding,
            **sizes(image.transformer),
        },
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": words.vocab_size,
            "max_position_embeddings": words.context_length,
            "projection_dim": config.embedding,
            # a model trained here ends its captions with the last id, as CLIP's vocabulary does
            "eos_token_id": words.vocab_size - 1 if end is None else end,
            "bos_token_id": words.start_id,
            "pad_token_id": words.pad_id,
            **sizes(words.transformer),
        },
    }


def sizes(config: transformer.Config) -> dict[str, Any]:
    """A transformer's fields in config.json: the inverse of `body`."""
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden,
        "hidden_act": fields.activation_name(config.activation),
        "layer_norm_eps": config.norm_epsilon,
    }


def model(config: clip.Config) -> nn.Module:
    """The dual encoder."""
    return clip.Model(config)


def rename(name: str) -> str:
    """Towers that were saved from inside another model carry its prefix."""
    return name.removeprefix("clip.")


def table(config: clip.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    at = "vision_model.embeddings"
    patches = {"p": config.image.patch_size, "q": config.image.patch_size}
    return [
        Entry("log_scale", "logit_scale"),
        Entry("image/class_token", f"{at}.class_embedding", "D -> 1 D"),
        Entry("image/positions", f"{at}.position_embedding.weight"),
        Entry("image/patch_embedding/kernel", f"{at}.patch_embedding.weight", PATCHES, patches),
        *norm("image/pre_norm", "vision_model.pre_layrnorm"),
        *blocks("image/transformer/blocks", "vision_model.encoder", config.image.transformer),
        *norm("image/norm", "vision_model.post_layernorm"),
        *words(config.text),
        *linear("image_head", "visual_projection", bias=False),
        *linear("text_head", "text_projection", bias=False),
    ]


def words(config: text.Config) -> list[Entry]:
    """The part of the table that is the text tower's."""
    at = "text_model.embeddings"
    return [
        Entry("text/tokens", f"{at}.token_embedding.weight"),
        Entry("text/positions", f"{at}.position_embedding.weight"),
        *blocks("text/transformer/blocks", "text_model.encoder", config.transformer),
        *norm("text/norm", "text_model.final_layer_norm"),
    ]


def blocks(path: str, name: str, config: transformer.Config) -> list[Entry]:
    """The stacked blocks of a tower."""
    at = f"{name}.layers.{{layer}}"
    stack = {"layers": config.layers}
    heads = {"N": config.heads}
    split = dict(layout="(N H) D -> D N H", sizes=heads, **stack)
    return [
        *linear(f"{path}/attention/query", f"{at}.self_attn.q_proj", **split),
        *linear(f"{path}/attention/key", f"{at}.self_attn.k_proj", **split),
        *linear(f"{path}/attention/value", f"{at}.self_attn.v_proj", **split),
        *linear(
            f"{path}/attention/out",
            f"{at}.self_attn.out_proj",
            layout="D (N H) -> N H D",
            sizes=heads,
            **stack,
        ),
        *norm(f"{path}/attention_norm", f"{at}.layer_norm1", **stack),
        *norm(f"{path}/mlp_norm", f"{at}.layer_norm2", **stack),
        *linear(f"{path}/mlp/up", f"{at}.mlp.fc1", **stack),
        *linear(f"{path}/mlp/down", f"{at}.mlp.fc2", **stack),
    ]
