"""BERT and RoBERTa as the hub keeps them: `BertModel`, `RobertaModel`.

https://arxiv.org/abs/1810.04805, https://arxiv.org/abs/1907.11692.

* The encoder is read, with its pooler where the architecture has one. Heads for masked words,
  classes or answers stay behind.
* Files of a model with a head carry the encoder's prefix; files that came from TensorFlow say gamma
  and beta for the scale and bias of a norm.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.conversion import fields
from mmjax.conversion.clip import body, sizes
from mmjax.conversion.table import Entry, linear, norm
from mmjax.models import bert

MODEL_TYPES = ("bert", "roberta")
# A pooler may be there and not asked for.
IGNORED = r"embeddings\.position_ids|embeddings\.token_type_ids|pooler\.dense\.(weight|bias)"
LEFT_OUT = r"(cls|lm_head|classifier|qa_outputs)\..*"
POOLED = ("Model", "ForPreTraining", "ForNextSentencePrediction", "ForSequenceClassification",
          "ForMultipleChoice")  # fmt: skip


def config(upstream: Mapping[str, Any]) -> bert.Config:
    """Of config.json; without fields, the sizes of BERT base."""
    roberta = upstream.get("model_type", "bert") == "roberta"
    fields.only(upstream, "position_embedding_type", "absolute", None)
    fields.only(upstream, "is_decoder", False)
    fields.only(upstream, "add_cross_attention", False)
    kind = (upstream.get("architectures") or ["BertModel"])[0]
    # RoBERTa's heads work on the first token themselves
    pooled = kind.endswith(("Model", "ForMultipleChoice") if roberta else POOLED)
    inner = body(upstream, 768, 12, 12, 3072, "gelu", 1e-12)
    return bert.Config(
        upstream.get("vocab_size", 50_265 if roberta else 30_522),
        upstream.get("max_position_embeddings", 512),
        upstream.get("type_vocab_size", 2),
        dataclasses.replace(inner, norm="post", initialisation="bert"),
        pool="dense" if pooled else "first",
        padding_id=upstream.get("pad_token_id", 1) if roberta else None,
    )


def upstream(config: bert.Config) -> dict[str, Any]:
    """The config.json of a model."""
    c = config
    roberta = c.padding_id is not None
    head = "Model" if c.pool == "dense" else "ForMaskedLM"  # which has no pooler
    return {
        "model_type": "roberta" if roberta else "bert",
        "architectures": [("Roberta" if roberta else "Bert") + head],
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.context_length,
        "type_vocab_size": c.types,
        "pad_token_id": c.padding_id if roberta else 0,
        **sizes(c.transformer),
    }


def model(config: bert.Config) -> nn.Module:
    """The encoder."""
    return bert.Model(config)


def inputs(config: bert.Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    return (jax.ShapeDtypeStruct((1, 4), jnp.int32),)


def rename(name: str) -> str:
    """Names without the encoder's prefix, in today's spelling."""
    name = re.sub(r"^(bert|roberta)\.", "", name)
    return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name))


def table(config: bert.Config) -> list[Entry]:
    """One row a parameter."""
    t = config.transformer
    stack, heads = {"layers": t.layers}, {"N": t.heads}
    at, block = "encoder.layer.{layer}", "transformer/blocks"
    rows = [
        Entry("tokens", "embeddings.word_embeddings.weight"),
        Entry("positions", "embeddings.position_embeddings.weight"),
        Entry("types", "embeddings.token_type_embeddings.weight"),
        *norm("embedding_norm", "embeddings.LayerNorm"),
        *norm(f"{block}/attention_norm", f"{at}.attention.output.LayerNorm", **stack),
        *norm(f"{block}/mlp_norm", f"{at}.output.LayerNorm", **stack),
        *linear(f"{block}/mlp/up", f"{at}.intermediate.dense", **stack),
        *linear(f"{block}/mlp/down", f"{at}.output.dense", **stack),
    ]
    for part in ("query", "key", "value"):
        path, name = f"{block}/attention/{part}", f"{at}.attention.self.{part}"
        rows += linear(path, name, layout="(N H) D -> D N H", sizes=heads, **stack)
    path, name = f"{block}/attention/out", f"{at}.attention.output.dense"
    rows += linear(path, name, layout="D (N H) -> N H D", sizes=heads, **stack)
    if config.pool == "dense":
        rows += linear("pooler", "pooler.dense")
    return rows
