"""Qwen2-Audio as the hub keeps it: `Qwen2AudioForConditionalGeneration`.

https://arxiv.org/abs/2407.10759.

* The encoder is Whisper's with a mask, its vectors averaged in pairs before the last norm; the
  projector is linear, the language model Qwen2: rows of whisper.py and llama.py with a prefix each.
* Names of a file: "language_model.model.", "language_model.lm_head.", "audio_tower."; in the memory
  of release 5 the first two are turned about, as LLaVA's.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion import llama as llamas
from mmjax.conversion import llava
from mmjax.conversion import whisper as whispers
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry
from mmjax.conversion.mapping.table import linear as linear_rows
from mmjax.layers.projectors import linear, mlp
from mmjax.models import llama, token_tower, vlm, whisper, whisper_encoder
from mmjax.models.vlm import inputs as inputs
from mmjax.processors.prompting import audio_prompts

MODEL_TYPES = ("qwen2_audio",)
IGNORED = r"language_model\..*\.rotary_emb\.inv_freq"
# The reference's own defaults, where a config.json leaves a part out.
AUDIO = dict(
    model_type="qwen2_audio_encoder", num_mel_bins=128, d_model=1280, encoder_layers=32,
    encoder_attention_heads=20, encoder_ffn_dim=5120, max_source_positions=1500,
)  # fmt: skip
POOL = 2  # vectors that the reference averages


def config(upstream: Mapping[str, Any]) -> vlm.Config:
    """Of config.json."""
    read = upstream.get
    fields.only(upstream, "architectures", None, ["Qwen2AudioForConditionalGeneration"])
    audio = {**AUDIO, **(read("audio_config") or {})}
    fields.only(audio, "model_type", "qwen2_audio_encoder")
    fields.only(audio, "scale_embedding", False)
    text = {"model_type": "qwen2", **(read("text_config") or {})}
    for place in (upstream, text):
        fields.only(place, "tie_word_embeddings", False)  # the reference never ties them
    ears = whispers.config({**audio, "decoder_layers": 0, "architectures": None}).ears
    return vlm.Config(
        None,
        language=llava.language_config(text),
        audio=token_tower.Config(
            dataclasses.replace(ears, pool=POOL), projector=linear.Config(), masked=True
        ),
        audio_id=read("audio_token_index", read("audio_token_id", 151_646)),
    )


def upstream(ours: vlm.Config) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
      Unsupported: no file of this family has this combination of fields.
    """
    if ours.image is not None or ours.audio is None:
        raise fields.Unsupported("the reference hears and does not see: audio alone has a place")
    parts = (
        ("language", ours.language, llama.Config),
        ("audio.projector", ours.audio.projector, linear.Config),
        ("audio.encoder", ours.audio.encoder, whisper_encoder.Config),
    )
    for part, value, kind in parts:
        if not isinstance(value, kind):
            raise fields.Unsupported(
                f"{type(value).__module__} as {part} has no place in the reference's file: "
                "`mmjax.export` writes mmjax's own format, which has one"
            )
    stack = ours.audio.encoder.transformer
    out = {
        "model_type": "qwen2_audio",
        "architectures": ["Qwen2AudioForConditionalGeneration"],
        "audio_token_index": ours.audio_id,
        "text_config": llamas.upstream(ours.language),
        "audio_config": {
            **AUDIO,
            "num_mel_bins": ours.audio.encoder.bins,
            "max_source_positions": ours.audio.encoder.frames // 2,
            "d_model": stack.width,
            "encoder_layers": stack.layers,
            "encoder_attention_heads": stack.heads,
            "encoder_ffn_dim": stack.hidden,
            "activation_function": fields.activation_name(stack.activation),
        },
    }
    if config(out) != _without_execution(ours):
        raise fields.Unsupported(f"no file of model_type 'qwen2_audio' has {ours}")
    return out


def _without_execution(ours: vlm.Config) -> vlm.Config:
    """Without what a file does not say: how a model is computed and trained."""
    run = dict(remat="none", unroll=1, dtype="float32", stream="float32")
    ears = ours.audio.encoder
    kept = dict(dropout=0.0, initialisation=whisper.STACK.initialisation)
    ears = dataclasses.replace(
        ears, transformer=dataclasses.replace(ears.transformer, **kept, **run)
    )
    return dataclasses.replace(
        ours,
        projector=mlp.Config(),
        audio=dataclasses.replace(
            ours.audio,
            encoder=ears,
            projector=dataclasses.replace(ours.audio.projector, dtype="float32"),
        ),
        language=dataclasses.replace(
            ours.language, decoder=dataclasses.replace(ours.language.decoder, **run)
        ),
    )


def model(config: vlm.Config) -> nn.Module:
    """The whole model."""
    return vlm.Model(config)


def processor(folder: Path, config: vlm.Config) -> Any:
    """Sounds and prompts together."""
    return audio_prompts.load(folder, config)


def rename(name: str) -> str:
    """Names of other releases -> those of the table."""
    name = re.sub(r"^model\.(audio_tower|multi_modal_projector)\.", r"\1.", name)
    name = re.sub(r"^model\.language_model\.", "language_model.model.", name)
    return re.sub(r"^lm_head\.", "language_model.lm_head.", name)


def table(config: vlm.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    ears = config.audio.encoder
    whole = whisper.Config(ears.bins, ears.frames, encoder=ears.transformer)
    encoder = (row for row in whispers.table(whole) if row.path.startswith("encoder/"))
    return [
        *(_under(row, "audio/", "model.encoder.", "audio_tower.") for row in encoder),
        *linear_rows("audio/projector/map", f"{llava.PROJECTOR}.linear"),
        *(_under(row, "language/", "", "language_model.") for row in llamas.table(config.language)),
    ]


def _under(row: Entry, path: str, old: str, new: str) -> Entry:
    """A row of a part, as it is in the whole."""
    name = f"{new}{row.name.removeprefix(old)}"
    return dataclasses.replace(row, path=f"{path}{row.path}", name=name)
