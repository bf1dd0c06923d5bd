"""Whisper of the hub (WhisperForConditionalGeneration, WhisperModel) and of CTranslate2.

* The output is the token table: `proj_out` is in old files and left aside there.
* CTranslate2's names are brought to the hub's, its stacked queries, keys and values taken apart;
  sizes are read off the shapes, the rest of config.json is Whisper's own.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.conversion.formats import ctranslate2
from mmjax.conversion.formats.files import CheckpointFileError
from mmjax.conversion.gpt2 import special, special_fields
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.layers import transformer
from mmjax.models import whisper
from mmjax.processors.checkpoints import speech as speech_processor

MODEL_TYPES = ("whisper",)
IGNORED = r"proj_out\.weight"
ENGLISH_END = 50_256  # <|endoftext|> of the English vocabulary
MULTILINGUAL = 51_865  # ids of the vocabulary of all languages, whose <|endoftext|> is one later
ARCHITECTURES = ("WhisperForConditionalGeneration", "WhisperModel")


def rename(name: str) -> str:
    """WhisperModel's own names lack the first part."""
    return f"model.{name}" if name.startswith(("encoder.", "decoder.")) else name


def config(upstream: Mapping[str, Any]) -> whisper.Config:
    """A parsed config.json -> ours.

    Raises:
      Unsupported: an output of its own, or another activation.
    """
    get = upstream.get
    fields.only(upstream, "tie_word_embeddings", True)
    for one in get("architectures") or ():
        if one not in ARCHITECTURES:
            raise fields.Unsupported(
                f"config.json: architectures = {one!r} is not supported; "
                f"{' and '.join(ARCHITECTURES)} are"
            )

    def stack(side: str) -> transformer.Config:
        return dataclasses.replace(
            whisper.STACK,
            width=get("d_model", 384),
            layers=get(f"{side}_layers", 4),
            heads=get(f"{side}_attention_heads", 6),
            hidden=get(f"{side}_ffn_dim", 1536),
            activation=fields.activation(upstream, "activation_function"),
        )

    return whisper.Config(
        bins=get("num_mel_bins", 80),
        frames=2 * get("max_source_positions", 1500),
        vocab_size=get("vocab_size", 51_865),
        context_length=get("max_target_positions", 448),
        encoder=stack("encoder"),
        decoder=stack("decoder"),
        **special(upstream, start=ENGLISH_END, end=ENGLISH_END, padding=ENGLISH_END),
        decoder_start_id=get("decoder_start_token_id", ENGLISH_END + 1),
    )


def upstream(config: whisper.Config) -> dict[str, Any]:
    """Ours -> a config.json that the reference opens.

    Raises:
      Unsupported: biases of keys, for which its files have no place.
    """
    if config.encoder.key_bias or config.decoder.key_bias:
        raise fields.Unsupported(
            "a Whisper with key_bias=True cannot be written as WhisperForConditionalGeneration, "
            "which has no biases of keys: train it with key_bias=False, or keep it as a run and "
            "write that with mmjax.export, in mmjax's own format"
        )
    out = {
        "model_type": "whisper",
        "architectures": [ARCHITECTURES[0]],
        "num_mel_bins": config.bins,
        "max_source_positions": config.frames // 2,
        "max_target_positions": config.context_length,
        "vocab_size": config.vocab_size,
        "d_model": config.encoder.width,
        "num_hidden_layers": config.encoder.layers,
        "activation_function": fields.activation_name(config.encoder.activation),
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
        **_special_fields(config),
    }
    for side in ("encoder", "decoder"):
        stack = getattr(config, side)
        out[f"{side}_layers"] = stack.layers
        out[f"{side}_attention_heads"] = stack.heads
        out[f"{side}_ffn_dim"] = stack.hidden
    return out


def _special_fields(config: whisper.Config) -> dict[str, Any]:
    """Special ids of a config; a published vocabulary has its own where the config names none."""
    ids = {**special_fields(config), "decoder_start_token_id": config.decoder_start_id}
    if any(number is not None for number in ids.values()) or config.vocab_size <= ENGLISH_END + 1:
        return ids
    end = ENGLISH_END + (config.vocab_size >= MULTILINGUAL)
    return {**dict.fromkeys(ids, end), "decoder_start_token_id": end + 1}


def model(config: whisper.Config) -> whisper.Model:
    """The module of a config."""
    return whisper.Model(config)


def inputs(config: whisper.Config) -> tuple:
    """Arguments that make every parameter."""
    return jnp.zeros((1, config.frames, config.bins)), jnp.zeros((1, 1), jnp.int32)


def table(config: whisper.Config) -> list[Entry]:
    """One row for each parameter."""
    rows = []
    for conv in ("conv1", "conv2"):
        at, name = f"encoder/{conv}", f"model.encoder.{conv}"
        rows.append(Entry(f"{at}/kernel", f"{name}.weight", "O C K -> K C O"))
        rows.append(Entry(f"{at}/bias", f"{name}.bias"))
    rows.append(Entry("decoder/tokens", "model.decoder.embed_tokens.weight"))
    for side, blocks in (
        ("encoder", "encoder/transformer/blocks"),
        ("decoder", "decoder/transformer/blocks"),
    ):
        stack, name = getattr(config, side), f"model.{side}"
        rows.append(Entry(f"{side}/positions", f"{name}.embed_positions.weight"))
        rows += norm(f"{side}/norm", f"{name}.layer_norm")
        layer, each = f"{name}.layers.{{layer}}", dict(layers=stack.layers)
        parts = {"attention": "self_attn", "cross": "encoder_attn"}
        for ours, theirs in list(parts.items())[: 1 + (side == "decoder")]:
            sizes = dict(each, sizes={"N": stack.heads})
            for part, to in (("query", "q"), ("key", "k"), ("value", "v")):
                at, of = f"{blocks}/{ours}/{part}", f"{layer}.{theirs}.{to}_proj"
                rows += linear(at, of, bias=to != "k", layout="(N H) D -> D N H", **sizes)
            at, of = f"{blocks}/{ours}/out", f"{layer}.{theirs}.out_proj"
            rows += linear(at, of, layout="D (N H) -> N H D", **sizes)
            rows += norm(f"{blocks}/{ours}_norm", f"{layer}.{theirs}_layer_norm", **each)
        rows += linear(f"{blocks}/mlp/up", f"{layer}.fc1", **each)
        rows += linear(f"{blocks}/mlp/down", f"{layer}.fc2", **each)
        rows += norm(f"{blocks}/mlp_norm", f"{layer}.final_layer_norm", **each)
    return rows


def processor(folder: Path, config: whisper.Config) -> speech_processor.Whisper:
    """Sounds to frames, texts to ids, and the numbers that decoding goes by."""
    return speech_processor.whisper(
        folder, bins=config.bins, seconds=config.frames / 100, vocab_size=config.vocab_size
    )


PARTS = (  # of a name in CTranslate2's file
    (r"layer_(\d+)", r"layers.\1"),
    (r"position_encodings/encodings", "embed_positions/weight"),
    (r"embeddings/weight", "embed_tokens/weight"),
    (r"self_attention/layer_norm", "self_attn_layer_norm"),
    (r"attention/layer_norm", "encoder_attn_layer_norm"),
    (r"ffn/layer_norm", "final_layer_norm"),
    (r"self_attention/linear_1", "self_attn/out_proj"),
    (r"/attention/linear_0", "/encoder_attn/q_proj"),
    (r"/attention/linear_2", "/encoder_attn/out_proj"),
    (r"ffn/linear_0", "fc1"),
    (r"ffn/linear_1", "fc2"),
    (r"/gamma", ".weight"),
    (r"/beta", ".bias"),
    (r"/", "."),
)
# Tensors that hold several projections, stacked along their first axis.
STACKED = {"self_attention/linear_0": "qkv", "attention/linear_1": "kv"}


def from_ctranslate2(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names and shapes of the hub, as views; the biases of keys are zeros and left out.

    Raises:
      CheckpointFileError: numbers that were rounded to integers.
    """
    out = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 0 or name.endswith(("alignment_heads", "projection/weight")):
            continue
        if name.endswith("weight_scale") or tensor.dtype.kind == "i":
            raise CheckpointFileError(
                f"{name} is rounded to integers ({tensor.dtype}): convert with "
                "--quantization float16 or float32"
            )
        stem, _, kind = name.rpartition("/")
        prefix, _, part = stem.partition("/layer_")
        number, _, part = part.partition("/")
        where = "self_attn" if part.startswith("self") else "encoder_attn"
        if prefix and part in STACKED:
            shares = np.split(tensor, len(STACKED[part]))
            for letter, share in zip(STACKED[part], shares, strict=True):
                if letter != "k" or kind != "bias":
                    to = f"model.{prefix}.layers.{number}.{where}.{letter}_proj.{kind}"
                    out[to] = share
            continue
        for old, new in PARTS:
            name = re.sub(old, new, name)
        out[f"model.{name}"] = tensor
    return out


def foreign(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """config.json and tensors of a folder of CTranslate2; None: another model's."""
    file = ctranslate2.read(folder / "model.bin")
    if file.spec != "WhisperSpec":
        return None
    tensors = from_ctranslate2(file.tensors)
    try:
        stacks = {}
        heads = {}
        for side in ("encoder", "decoder"):
            names = [re.match(rf"model\.{side}\.layers\.(\d+)\.", name) for name in tensors]
            heads[side] = int(file.tensors[f"{side}/num_heads"])
            hidden = len(tensors[f"model.{side}.layers.0.fc1.bias"])
            layers = 1 + max(int(one[1]) for one in names if one)
            sizes = dict(layers=layers, heads=heads[side], hidden=hidden)
            stacks[side] = dataclasses.replace(whisper.STACK, **sizes)
        width, bins, _ = tensors["model.encoder.conv1.weight"].shape
        ours = whisper.Config(
            bins=bins,
            frames=2 * len(tensors["model.encoder.embed_positions.weight"]),
            vocab_size=len(tensors["model.decoder.embed_tokens.weight"]),
            context_length=len(tensors["model.decoder.embed_positions.weight"]),
            **{side: dataclasses.replace(one, width=width) for side, one in stacks.items()},
        )
    except (KeyError, ValueError) as error:
        raise CheckpointFileError(
            f"{folder / 'model.bin'} is a {file.spec} of revision {file.revision}, but lacks what "
            f"every Whisper has: {error}"
        ) from error
    for name, only in (("pre_norm", 1), ("activation", 3), ("scale_embeddings", 0)):
        found = file.tensors.get(f"decoder/{name}", only)
        if int(found) != only:
            raise fields.Unsupported(f"model.bin: decoder/{name} = {found}; {only} is supported")
    return upstream(ours), tensors
