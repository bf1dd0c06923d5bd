"""SigLIP and SigLIP 2 as the hub keeps them: `SiglipModel`, `Siglip2Model` of `transformers`.

SigLIP https://arxiv.org/abs/2303.15343, SigLIP 2 https://arxiv.org/abs/2502.14786.

* The pooling head keeps queries, keys and values in one tensor; the towers do not.
* Captions are padded in full and read with their padding: a mask is honoured, and the processor's
  leaves nothing out. What is pooled is the final position either way.
* model_type "siglip2" is NaFlex: patches that are cut already, so their embedding is a plain
  linear map. SigLIP 2 of one fixed size is "siglip".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
from tokenizers import normalizers

from mmjax.conversion.clip import PATCHES, blocks, body, part, sizes, words
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, multihead, norm
from mmjax.models import clip, text, vit
from mmjax.models.clip import inputs as inputs
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor
from mmjax.tokenizers import pretrained

MODEL_TYPES = ("siglip", "siglip2")
IGNORED = r"(vision|text)_model\.embeddings\.position_ids"


def config(upstream: Mapping[str, Any]) -> clip.Config:
    """Of config.json; towers without fields have the sizes of B/16."""
    fields.only(upstream, "architectures", ["SiglipModel"], ["Siglip2Model"], None)
    vision = part(upstream, "vision_config")
    words = part(upstream, "text_config")
    fields.only(vision, "vision_use_head", True)
    defaults = (768, 12, 12, 3072, "gelu_pytorch_tanh", 1e-6)
    picture = body(vision, *defaults)
    native = upstream.get("model_type") == "siglip2"
    patch = fields.square(vision, "patch_size", 16)
    size = fields.square(vision, "image_size", 224)
    if native:
        count = vision.get("num_patches", 256)
        grid = round(count**0.5)
        if grid**2 != count:
            raise fields.Unsupported(f"config.json: num_patches = {count} is not a square")
        size = grid * patch
    return clip.Config(
        image=vit.Config(
            size,
            patch,
            vision.get("num_channels", 3),
            transformer=picture,
            pool="attention",
            native_aspect=native,
        ),
        text=text.Config(
            words.get("vocab_size", 32000),
            words.get("max_position_embeddings", 64),
            body(words, *defaults),
            causal=False,
            pool="final",
            end_id=words.get("eos_token_id", 49407),
            pad_id=words.get("pad_token_id", 1),
            start_id=words.get("bos_token_id", 49406),
        ),
        embedding=picture.width,
        image_projection=False,
        projection_bias=True,
        scale_init=10.0,
        scale_max=None,
        bias_init=-10.0,
    )


def upstream(config: clip.Config) -> dict[str, Any]:
    """The config.json of a model."""
    image = config.image
    words = config.text
    family = "siglip2" if image.native_aspect else "siglip"
    size = (
        {"num_patches": image.patches} if image.native_aspect else {"image_size": image.image_size}
    )
    return {
        "model_type": family,
        "architectures": [f"{family.capitalize()}Model"],
        "vision_config": {
            "model_type": f"{family}_vision_model",
            "patch_size": image.patch_size,
            "num_channels": image.channels,
            **size,
            **sizes(image.transformer),
        },
        "text_config": {
            "model_type": f"{family}_text_model",
            "vocab_size": words.vocab_size,
            "max_position_embeddings": words.context_length,
            "projection_size": config.embedding,
            "eos_token_id": words.end_id,
            "bos_token_id": words.start_id,
            "pad_token_id": words.pad_id,
            **sizes(words.transformer),
        },
    }


def model(config: clip.Config) -> nn.Module:
    """The dual encoder."""
    return clip.Model(config)


def processor(folder: Path, config: clip.Config) -> Any:
    """Captions are padded to the longest length and read with their padding, as both were trained.

    SigLIP's own tokenizer makes texts plain; SigLIP 2 was trained in lower case, which not every
    class of its tokenizer knows.
    """
    own = pretrained.settings_of(folder)["tokenizer_class"] == "SiglipTokenizer"
    return checkpoint_processor.load(
        folder,
        padding="max_length",
        max_length=config.text.context_length,
        clean=None if own else normalizers.Lowercase().normalize_str,
        read_padding=True,
    )


def table(config: clip.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    at = "vision_model.embeddings"
    image = config.image
    split = "D E -> E D" if image.native_aspect else PATCHES
    edges = {} if image.native_aspect else {"p": image.patch_size, "q": image.patch_size}
    patches = f"{at}.patch_embedding"
    return [
        Entry("log_scale", "logit_scale", "1 ->"),
        Entry("bias", "logit_bias", "1 ->"),
        Entry("image/positions", f"{at}.position_embedding.weight"),
        Entry("image/patch_embedding/kernel", f"{patches}.weight", split, edges),
        Entry("image/patch_embedding/bias", f"{patches}.bias"),
        *blocks("image/transformer/blocks", "vision_model.encoder", image.transformer),
        *norm("image/norm", "vision_model.post_layernorm"),
        *pooling("image/pool", "vision_model.head", image.transformer.heads),
        *words(config.text),
        *linear("text_head", "text_model.head"),
    ]


def pooling(path: str, name: str, heads: int) -> list[Entry]:
    """The attention that pools the patches."""
    return [
        Entry(f"{path}/probe", f"{name}.probe", "1 1 D -> 1 D"),
        *multihead(f"{path}/attention", f"{name}.attention", heads),
        *norm(f"{path}/norm", f"{name}.layernorm"),
        *linear(f"{path}/mlp/up", f"{name}.mlp.fc1"),
        *linear(f"{path}/mlp/down", f"{name}.mlp.fc2"),
    ]
