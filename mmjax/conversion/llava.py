"""LLaVA as the hub keeps it: `LlavaForConditionalGeneration`, https://arxiv.org/abs/2310.03744.

* The image tower is CLIP's or SigLIP's (tower.py), the language model one of llama.py: their rows
  with a prefix each.
* "vision_feature_layer" says behind which block the tower is read, "default" of
  "vision_feature_select_strategy" without its class token, "full" with it.
* Names of a file: "language_model.model.", "language_model.lm_head.", "vision_tower."; between the
  releases the first two were turned about, and "vision_model." stood behind the last.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion import llama as llamas
from mmjax.conversion import tower
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear
from mmjax.layers.projectors import mlp
from mmjax.models import clip, llama, vit, vlm
from mmjax.models.vlm import inputs as inputs
from mmjax.processors.prompting import image_prompts

MODEL_TYPES = ("llava",)
IGNORED = (
    r"vision_tower\.embeddings\.position_ids|language_model\.lm_head\.weight"
    r"|language_model\..*\.rotary_emb\.inv_freq"
)
PROJECTOR = "multi_modal_projector"
# The reference's own defaults, where a config.json leaves a part out.
VISION = dict(
    model_type="clip_vision_model", hidden_size=1024, intermediate_size=4096, patch_size=14,
    image_size=336, num_hidden_layers=24, num_attention_heads=16,
)  # fmt: skip


def config(upstream: Mapping[str, Any]) -> vlm.Config:
    """Of config.json."""
    read = upstream.get
    fields.only(upstream, "architectures", None, ["LlavaForConditionalGeneration"])
    fields.only(upstream, "vision_feature_select_strategy", "default", "full")
    layer = read("vision_feature_layer", -2)
    if not isinstance(layer, int):
        raise fields.Unsupported(
            f"config.json: vision_feature_layer = {layer} is not supported; one layer is"
        )
    image = image_config({**VISION, **(read("vision_config") or {})})
    language = language_config({"model_type": "llama", **(read("text_config") or {})})
    whole = read("vision_feature_select_strategy", "default") == "full"
    if not whole and not image.learned_tokens:
        raise fields.Unsupported(
            "config.json: vision_feature_select_strategy = 'default' leaves out the class token, "
            "and this image tower has none; 'full' is supported"
        )
    return vlm.Config(
        dataclasses.replace(image, feature_layer=layer),
        mlp.Config(
            fields.activation(upstream, "projector_hidden_act", "gelu"),
            read("multimodal_projector_bias", True),
        ),
        dataclasses.replace(language, tied=language.tied or read("tie_word_embeddings", False)),
        read("image_token_index", read("image_token_id", 32_000)),
        learned_tokens=whole and image.learned_tokens > 0,
    )


def image_config(vision: Mapping[str, Any]) -> vit.Config:
    """Of a "vision_config"."""
    kind = vision["model_type"]
    if kind not in ("clip_vision_model", "siglip_vision_model"):
        raise fields.Unsupported(
            f"config.json: vision_config.model_type = {kind!r} is not supported; "
            "'clip_vision_model' or 'siglip_vision_model' is"
        )
    return tower.config({**vision, "architectures": None}).pair.image


def language_config(text: Mapping[str, Any]) -> llama.Config:
    """Of a "text_config"."""
    if text["model_type"] not in llamas.MODEL_TYPES:
        raise fields.Unsupported(
            f"config.json: text_config.model_type = {text['model_type']!r} is not supported; "
            f"{', '.join(llamas.MODEL_TYPES)} are"
        )
    return llamas.config({**text, "architectures": None})


def upstream(ours: vlm.Config) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
      Unsupported: no file of this family has this combination of fields.
    """
    check_parts(ours, mlp.Config)
    image = ours.image
    plain = not ours.learned_tokens and image.learned_tokens
    return faithful(
        {
            "model_type": "llava",
            "architectures": ["LlavaForConditionalGeneration"],
            "image_token_index": ours.image_id,
            "image_seq_length": ours.image_tokens,
            "projector_hidden_act": fields.activation_name(ours.projector.activation),
            "multimodal_projector_bias": ours.projector.bias,
            "vision_feature_layer": image.feature_layer,
            "vision_feature_select_strategy": "default" if plain else "full",
            "tie_word_embeddings": ours.language.tied,
            "text_config": llamas.upstream(ours.language),
            "vision_config": tower.upstream(tower_config(image)),
        },
        config,
        ours,
    )


def check_parts(config: vlm.Config, projector: type) -> None:
    """Raises Unsupported: a part that the reference does not have."""
    for part, kind in (("language", llama.Config), ("projector", projector), ("image", vit.Config)):
        value = getattr(config, part)
        if not isinstance(value, kind):
            raise fields.Unsupported(
                f"{type(value).__module__} as {part} has no place in the reference's file: "
                "`mmjax.export` writes mmjax's own format, which has one"
            )


def faithful(
    out: dict[str, Any], read: Callable[[Mapping[str, Any]], vlm.Config], ours: vlm.Config
) -> dict[str, Any]:
    """`out`, if it says all that the config does.

    Raises:
      Unsupported: what is read from it is another model.
    """
    run = dict(remat="none", unroll=1, dtype="float32", stream="float32")  # not the file's matter
    body = dataclasses.replace(
        ours.image.transformer, dropout=0.0, initialisation="clip", **run
    )
    said = dataclasses.replace(
        ours,
        image=dataclasses.replace(ours.image, transformer=body),
        projector=dataclasses.replace(ours.projector, dtype="float32"),
        language=dataclasses.replace(
            ours.language, decoder=dataclasses.replace(ours.language.decoder, **run)
        ),
    )
    if read(out) != said:
        raise fields.Unsupported(f"no file of model_type {out['model_type']!r} has {ours}")
    return out


def tower_config(image: vit.Config) -> tower.Config:
    """The family that the tower is of, from what sets them apart."""
    family = "clip" if image.pre_norm else "siglip"
    width = image.transformer.width
    pair = clip.Config(
        dataclasses.replace(image, feature_layer=None), embedding=width, image_projection=False
    )
    return tower.Config(family, "vision", pair)


def model(config: vlm.Config) -> nn.Module:
    """The whole model."""
    return vlm.Model(config)


def processor(folder: Path, config: vlm.Config) -> Any:
    """Pictures and prompts together."""
    return image_prompts.load(folder, config.image_id, config.image_tokens)


def rename(name: str) -> str:
    """Names of other releases -> those of the table."""
    name = re.sub(r"^model\.(vision_tower|multi_modal_projector)\.", r"\1.", name)
    name = re.sub(r"^model\.language_model\.", "language_model.model.", name)
    name = re.sub(r"^lm_head\.", "language_model.lm_head.", name)
    return re.sub(r"^vision_tower\.vision_model\.", "vision_tower.", name)


def table(config: vlm.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    bias = config.projector.bias
    return [
        *towers(config),
        *linear("projector/up", f"{PROJECTOR}.linear_1", bias=bias),
        *linear("projector/down", f"{PROJECTOR}.linear_2", bias=bias),
    ]


def towers(config: vlm.Config) -> list[Entry]:
    """The rows of the image tower and of the language model."""

    def within(row: Entry, path: str, name: str) -> Entry:
        return dataclasses.replace(row, path=f"{path}{row.path}", name=f"{name}{row.name}")

    image = tower.table(tower_config(config.image))
    language = llamas.table(config.language)
    return [
        *(within(row, "", "vision_tower.") for row in image),
        *(within(row, "language/", "language_model.") for row in language),
    ]
