"""PaliGemma and PaliGemma 2 as the hub keeps them: `PaliGemmaForConditionalGeneration`.

https://arxiv.org/abs/2407.07726, https://arxiv.org/abs/2412.03555.

* SigLIP's tower without its pooling head, a linear projector, Gemma or Gemma 2; names as llava.py
  says.
* Pictures and prompt see each other both ways, and answers only what was before: `prefix_lm`.
* Patches enter as they leave the projector; Gemma's factor is on words alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.conversion import llama as llamas
from mmjax.conversion import llava, tower
from mmjax.conversion.llava import inputs as inputs
from mmjax.conversion.llava import model as model
from mmjax.conversion.llava import rename as rename
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry
from mmjax.conversion.mapping.table import linear as linear_rows
from mmjax.layers.projectors import linear
from mmjax.models import vlm
from mmjax.processors.prompting import image_prompts, prompts

MODEL_TYPES = ("paligemma",)
IGNORED = llava.IGNORED
# The reference's own defaults, where a config.json leaves a part out.
VISION = dict(
    model_type="siglip_vision_model", hidden_size=1152, intermediate_size=4096, patch_size=14,
    image_size=224, num_hidden_layers=27, num_attention_heads=16,
)  # fmt: skip
TEXT = dict(
    model_type="gemma", hidden_size=2048, num_hidden_layers=18, intermediate_size=16_384,
    num_attention_heads=8, num_key_value_heads=1, vocab_size=257_152,
)  # fmt: skip


def config(upstream: Mapping[str, Any]) -> vlm.Config:
    """Of config.json."""
    read = upstream.get
    fields.only(upstream, "architectures", None, ["PaliGemmaForConditionalGeneration"])
    vision = {**VISION, **(read("vision_config") or {})}
    # of the pooling head nothing is read, and files do not hold it
    fields.only(vision, "vision_use_head", False)
    vision.pop("vision_use_head", None)
    text = {**TEXT, **(read("text_config") or {})}
    # it says what `prefix_lm` says here
    fields.only(text, "use_bidirectional_attention", None, True)
    text.pop("use_bidirectional_attention", None)
    image = llava.image_config(vision)
    language = llava.language_config(text)
    fields.only(vision, "projection_dim", language.decoder.width)
    return vlm.Config(
        dataclasses.replace(image, pool="mean"),
        linear.Config(),
        dataclasses.replace(language, tied=read("tie_word_embeddings", True)),
        read("image_token_index", read("image_token_id", 256_000)),
        prefix_lm=True,
    )


def upstream(ours: vlm.Config) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
      Unsupported: no file of this family has this combination of fields.
    """
    llava.check_parts(ours, linear.Config)
    language = ours.language
    width = language.decoder.width
    vision = tower.upstream(_tower(ours))
    text = {**llamas.upstream(language), "use_bidirectional_attention": True}
    return llava.faithful(
        {
            "model_type": "paligemma",
            "architectures": ["PaliGemmaForConditionalGeneration"],
            "image_token_index": ours.image_id,
            "projection_dim": width,
            "hidden_size": width,
            "vocab_size": language.vocab_size,
            "tie_word_embeddings": language.tied,
            "text_config": {**text, "num_image_tokens": ours.image_tokens},
            "vision_config": {**vision, "vision_use_head": False, "projection_dim": width},
        },
        config,
        ours,
    )


def _tower(config: vlm.Config) -> tower.Config:
    """The tower with the head that its family has."""
    return llava.tower_config(dataclasses.replace(config.image, pool="attention"))


def processor(folder: Path, config: vlm.Config) -> Any:
    """Pictures and prompts together."""
    about = {
        "start": prompts.special_token(folder, "bos_token"),
        "end": prompts.special_token(folder, "eos_token"),
    }
    return image_prompts.load(folder, config.image_id, config.image_tokens, **about)


def table(config: vlm.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    rows = [row for row in llava.towers(config) if not row.path.startswith("image/pool/")]
    return [*rows, *linear_rows("projector/map", f"{llava.PROJECTOR}.linear")]
