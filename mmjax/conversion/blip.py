"""BLIP as the hub keeps it: `BlipForConditionalGeneration` (captions), `BlipForQuestionAnswering`
and `BlipForImageTextRetrieval`, https://arxiv.org/abs/2201.12086.

* The first of a config's architectures says which text models there are: a decoder, an encoder and
  a decoder, or an encoder with the heads that compare and match.
* What ends a text is `sep_token_id`; `eos_token_id` means nothing in the reference, and is written
  as the same.
* [ENC] is in no config.json: it is the word behind [DEC]. The reference's own matching leaves [CLS]
  in its place.
* A model whose encoder and decoder are shared has no class of the reference: `separated` makes one
  of it that has.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax import tree
from mmjax.conversion import bert
from mmjax.conversion.clip import PATCHES, body, part, sizes
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.layers import transformer
from mmjax.models import blip, vit
from mmjax.models.blip import inputs as inputs
from mmjax.processors import blip as blip_processor

MODEL_TYPES = ("blip",)
# The name of an architecture -> the text models that it has.
ARCHITECTURES = {
    "BlipForConditionalGeneration": "decoder",
    "BlipForQuestionAnswering": "both",
    "BlipForImageTextRetrieval": "encoder",
}
WORDS = "text_decoder.cls.predictions"
# A tied head is the token table and its bias the head's: files hold them twice or once.
IGNORED = (
    r"text_(encoder|decoder\.bert)\.embeddings\.position_ids|"
    r"text_decoder\.cls\.predictions\.(bias|decoder\.weight|decoder\.bias)"
)


def config(upstream: Mapping[str, Any]) -> blip.Config:
    """Of config.json; towers without fields have the sizes of the reference's defaults."""
    fields.only(upstream, "architectures", None, *([one] for one in ARCHITECTURES))
    vision = part(upstream, "vision_config")
    words = part(upstream, "text_config")
    fields.only(words, "is_decoder", True)
    texts = ARCHITECTURES[(upstream.get("architectures") or [*ARCHITECTURES])[0]]
    compared = texts == "encoder"
    inner = body(words, 768, 12, 8, 3072, "gelu", 1e-12)
    vocab_size = words.get("vocab_size", 30_524)
    start = words.get("bos_token_id", 30_522)
    end = words.get("sep_token_id", 102)
    has_match_id = start is not None and start + 1 < vocab_size
    return blip.Config(
        image=vit.Config(
            fields.square(vision, "image_size", 384),
            fields.square(vision, "patch_size", 16),
            transformer=body(vision, 768, 12, 12, 3072, "gelu", 1e-5),
        ),
        vocab_size=vocab_size,
        context_length=words.get("max_position_embeddings", 512),
        text=dataclasses.replace(inner, norm="post", initialisation="bert"),
        texts=texts,
        embedding=upstream.get("image_text_hidden_size", 256) if compared else 0,
        matching=compared,
        scale_init=None,
        tied=upstream.get("tie_word_embeddings", True),
        start_id=start,
        match_id=start + 1 if has_match_id else None,
        end_ids=() if end is None else (end,),
        padding_id=words.get("pad_token_id", 0),
    )


def upstream(config: blip.Config) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
      Unsupported: parts that no class of the reference has together.
    """
    c = config
    names = {texts: name for name, texts in ARCHITECTURES.items()}
    if c.texts not in names:
        raise fields.Unsupported(
            "the reference has no class of a BLIP whose encoder and decoder share parameters: "
            "export what mmjax.conversion.blip.separated makes of it"
        )
    compared = c.texts == "encoder"
    if c.matching != compared or bool(c.embedding) != compared or c.scale_init is not None:
        raise fields.Unsupported(
            f"the reference's {names[c.texts]} has {'both' if compared else 'none'} of the heads "
            f"that compare and match, and no scale; this model has embedding = {c.embedding}, "
            f"matching = {c.matching}, scale_init = {c.scale_init}"
        )
    width = c.image.transformer.width
    if c.texts == "both" and width != c.text.width:
        raise fields.Unsupported(
            f"the reference's {names[c.texts]} has images as wide as questions; here they are "
            f"{width} and {c.text.width} wide"
        )
    end = c.end_ids[0] if c.end_ids else None
    return {
        "model_type": "blip",
        "architectures": [names[c.texts]],
        "image_text_hidden_size": c.embedding or 256,
        "tie_word_embeddings": c.tied,
        "vision_config": {
            "model_type": "blip_vision_model",
            "image_size": c.image.image_size,
            "patch_size": c.image.patch_size,
            **sizes(c.image.transformer),
        },
        "text_config": {
            "model_type": "blip_text_model",
            "vocab_size": c.vocab_size,
            "max_position_embeddings": c.context_length,
            "encoder_hidden_size": width,
            "is_decoder": True,
            "tie_word_embeddings": c.tied,
            "bos_token_id": c.start_id,
            "eos_token_id": end,
            "sep_token_id": end,
            "pad_token_id": c.padding_id,
            **sizes(c.text),
        },
    }


def model(config: blip.Config) -> nn.Module:
    """The whole model."""
    return blip.Model(config)


def table(config: blip.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    c = config
    rows = _image(c.image)
    if c.texts in ("encoder", "both"):
        rows += _text("text", "text_encoder", c.text)
    if c.texts in ("decoder", "both"):
        rows += _text("decoder", "text_decoder.bert", c.text)
        rows += bert.words(WORDS, c.tied, path="decoder/head")
    if c.embedding:
        rows += linear("image_head", "vision_proj")
        rows += linear("text_head", "text_proj")
    if c.matching:
        rows += linear("match_head", "itm_head")
    return rows


def _image(config: vit.Config) -> list[Entry]:
    at = "vision_model.embeddings"
    layer = "vision_model.encoder.layers.{layer}"
    block = "image/transformer/blocks"
    stack = {"layers": config.transformer.layers}
    heads = {"N": config.transformer.heads}
    edges = {"p": config.patch_size, "q": config.patch_size}
    rows = [
        Entry("image/class_token", f"{at}.class_embedding", "1 1 D -> 1 D"),
        Entry("image/positions", f"{at}.position_embedding", "1 L D -> L D"),
        Entry("image/patch_embedding/kernel", f"{at}.patch_embedding.weight", PATCHES, edges),
        Entry("image/patch_embedding/bias", f"{at}.patch_embedding.bias"),
        *norm(f"{block}/attention_norm", f"{layer}.layer_norm1", **stack),
        *norm(f"{block}/mlp_norm", f"{layer}.layer_norm2", **stack),
        *linear(f"{block}/mlp/up", f"{layer}.mlp.fc1", **stack),
        *linear(f"{block}/mlp/down", f"{layer}.mlp.fc2", **stack),
        *norm("image/norm", "vision_model.post_layernorm"),
    ]
    name = f"{layer}.self_attn.qkv"  # queries, keys and values in one
    for index, projection in enumerate(("query", "key", "value")):
        path = f"{block}/attention/{projection}"
        kwargs = dict(sizes={"Q": 3, **heads}, index=index, **stack)
        rows.append(Entry(f"{path}/kernel", f"{name}.weight", "(Q N H) D -> Q D N H", **kwargs))
        rows.append(Entry(f"{path}/bias", f"{name}.bias", "(Q N H) -> Q N H", **kwargs))
    merge = dict(layout="D (N H) -> N H D", sizes=heads, **stack)
    return [*rows, *linear(f"{block}/attention/out", f"{layer}.self_attn.projection", **merge)]


def _text(path: str, name: str, config: transformer.Config) -> list[Entry]:
    """Of a BERT whose blocks attend to a context as well."""
    block = f"{path}/transformer/blocks"
    layer = f"{name}.encoder.layer.{{layer}}"
    return [
        Entry(f"{path}/tokens", f"{name}.embeddings.word_embeddings.weight"),
        Entry(f"{path}/positions", f"{name}.embeddings.position_embeddings.weight"),
        *norm(f"{path}/embedding_norm", f"{name}.embeddings.LayerNorm"),
        *bert.blocks(block, layer, config),
        *bert.attention(f"{block}/cross", f"{layer}.crossattention", config),
    ]


def processor(folder: Path, config: blip.Config) -> blip_processor.Processor | None:
    """Pixels and ids, and how texts begin and end that the decoder writes."""
    return blip_processor.load(folder, config)


def separated(
    config: blip.Config, params: Mapping[str, Any], texts: str
) -> tuple[blip.Config, dict[str, Any]]:
    """The part of a model with shared parameters that a class of the reference has.

    Args:
      texts: "decoder" (captions), "both" (answers) or "encoder" (retrieval).

    Returns:
      Config and parameters; what was shared is there twice in "both".
    """
    compared = texts == "encoder"
    config = dataclasses.replace(
        config,
        texts=texts,
        embedding=config.embedding if compared else 0,
        matching=config.matching and compared,
        scale_init=None,
    )
    out = {}
    for path, value in tree.flatten(params).items():
        if path.startswith("image/") or (compared and "_head/" in path):
            out[path] = value
        if not path.startswith("text/"):
            continue
        if texts != "decoder" and not re.search("/causal_attention|^text/head/", path):
            out[path] = value
        if texts != "encoder" and not re.search("/attention(_norm)?/", path):
            path = path.replace("text/", "decoder/", 1)
            out[path.replace("causal_attention", "attention")] = value
    return config, tree.unflatten(out)
