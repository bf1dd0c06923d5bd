"""BERT and RoBERTa as the hub keeps them, with every head of `BertFor...` and `RobertaFor...`.

https://arxiv.org/abs/1810.04805, https://arxiv.org/abs/1907.11692.

* The first of a config's architectures names the head. Tensors of another head that a file holds
  besides stay behind and are named (a file of BertForMaskedLM often has BertForPreTraining's).
* RoBERTa classifies texts by a dense layer of its own on the first token: mathematically BERT's
  pooler, so it is the pooler here.
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

from mmjax.conversion.clip import body, sizes
from mmjax.conversion.gpt2 import special, special_fields
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.layers import transformer
from mmjax.models import bert

MODEL_TYPES = ("bert", "roberta")
# A pooler may be there and not asked for. A tied decoder is the token table, and its bias the
# head's: files hold them twice or once.
IGNORED = (
    r"embeddings\.position_ids|embeddings\.token_type_ids|pooler\.dense\.(weight|bias)|"
    r"(cls\.predictions|lm_head)\.decoder\.(weight|bias)"
)
LEFT_OUT = r"(cls|lm_head|classifier|qa_outputs)\..*"
# The end of an architecture's name -> our head, and whether it stands on a pooler.
HEADS = {
    "Model": ("none", True),
    "ForMaskedLM": ("words", False),
    "ForNextSentencePrediction": ("next_sentence", True),
    "ForPreTraining": ("pretraining", True),
    "ForSequenceClassification": ("classes", True),
    "ForTokenClassification": ("token_classes", False),
    "ForMultipleChoice": ("choice", True),
    "ForQuestionAnswering": ("answer", False),
}
BERT_ALONE = ("next_sentence", "pretraining")  # RoBERTa is trained on masked words alone


def config(upstream: Mapping[str, Any]) -> bert.Config:
    """Of config.json; without fields, the sizes of BERT base."""
    roberta = upstream.get("model_type", "bert") == "roberta"
    fields.only(upstream, "position_embedding_type", "absolute", None)
    fields.only(upstream, "is_decoder", False)
    fields.only(upstream, "add_cross_attention", False)
    prefix = "Roberta" if roberta else "Bert"
    architecture = (upstream.get("architectures") or [f"{prefix}Model"])[0]
    # another architecture is read for its encoder, without a pooler that it may not have
    head, pooled = HEADS.get(architecture.removeprefix(prefix), ("none", False))
    pooled = pooled and upstream.get("add_pooling_layer", True)
    inner = body(upstream, 768, 12, 12, 3072, "gelu", 1e-12)
    if roberta:
        ids = special(upstream, start=0, end=2, padding=1)
    else:
        ids = special(upstream, padding=0)
        ids["pad_id"] = ids.pop("padding_id")
    return bert.Config(
        vocab_size=upstream.get("vocab_size", 50_265 if roberta else 30_522),
        context_length=upstream.get("max_position_embeddings", 512),
        types=upstream.get("type_vocab_size", 2),
        transformer=dataclasses.replace(inner, norm="post", initialisation="bert"),
        pool="dense" if pooled else "first",
        head=head,
        labels=fields.labels(upstream) if head in bert.LABELLED else (),
        tied=not _says_words(head) or upstream.get("tie_word_embeddings", True),
        **ids,
    )


def upstream(config: bert.Config) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
      Unsupported: a head that the reference has not, or has on another pooled vector.
    """
    c = config
    roberta = c.padding_id is not None
    names = {head: (name, pooled) for name, (head, pooled) in HEADS.items()}
    name, pooled = names[c.head]
    if roberta and c.head in BERT_ALONE:
        raise fields.Unsupported(f"RoBERTa has no head {c.head!r}: no config.json says so")
    if pooled and c.head != "none" and c.pool != "dense":
        raise fields.Unsupported(
            f"head {c.head!r} with pool = {c.pool!r}: no config.json says so, the reference's pool "
            "there is dense"
        )
    ids = special_fields(c)
    if not roberta:
        ids["pad_token_id"] = c.pad_id
    out = {
        "model_type": "roberta" if roberta else "bert",
        "architectures": [("Roberta" if roberta else "Bert") + name],
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.context_length,
        "type_vocab_size": c.types,
        "tie_word_embeddings": c.tied,
        **ids,
        **sizes(c.transformer),
    }
    if c.head == "none" and c.pool != "dense":
        # the argument of `BertModel(config, add_pooling_layer=False)`, which config.json lacks
        out["add_pooling_layer"] = False
    if c.labels:
        out |= fields.label_fields(c.labels)
    return out


def _says_words(head: str) -> bool:
    return head in ("words", "pretraining")


def model(config: bert.Config) -> nn.Module:
    """The encoder with its head."""
    return bert.Model(config)


def inputs(config: bert.Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    return (jax.ShapeDtypeStruct((1, 4), jnp.int32),)


def rename(name: str) -> str:
    """Names without the encoder's prefix, in today's spelling."""
    name = re.sub(r"^(bert|roberta)\.", "", name)
    return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name))


def saved(name: str, config: bert.Config) -> str:
    """With the prefix that the encoder has beside a head."""
    if config.head == "none" or re.match(LEFT_OUT, name):
        return name
    return f"{'bert' if config.padding_id is None else 'roberta'}.{name}"


def table(config: bert.Config) -> list[Entry]:
    """The encoder's rows, then its head's."""
    return [
        Entry("tokens", "embeddings.word_embeddings.weight"),
        Entry("positions", "embeddings.position_embeddings.weight"),
        Entry("types", "embeddings.token_type_embeddings.weight"),
        *norm("embedding_norm", "embeddings.LayerNorm"),
        *blocks("transformer/blocks", "encoder.layer.{layer}", config.transformer),
        *_head(config),
    ]


def blocks(path: str, at: str, config: transformer.Config) -> list[Entry]:
    """The stacked blocks, of which a file keeps each as `at`."""
    stack = {"layers": config.layers}
    return [
        *attention(f"{path}/attention", f"{at}.attention", config),
        *norm(f"{path}/mlp_norm", f"{at}.output.LayerNorm", **stack),
        *linear(f"{path}/mlp/up", f"{at}.intermediate.dense", **stack),
        *linear(f"{path}/mlp/down", f"{at}.output.dense", **stack),
    ]


def attention(path: str, name: str, config: transformer.Config) -> list[Entry]:
    """The attention of each block with the norm behind it."""
    stack = {"layers": config.layers}
    heads = {"N": config.heads}
    rows = norm(f"{path}_norm", f"{name}.output.LayerNorm", **stack)
    for part in ("query", "key", "value"):
        split = dict(layout="(N H) D -> D N H", sizes=heads, **stack)
        rows += linear(f"{path}/{part}", f"{name}.self.{part}", **split)
    merge = dict(layout="D (N H) -> N H D", sizes=heads, **stack)
    return [*rows, *linear(f"{path}/out", f"{name}.output.dense", **merge)]


def _head(config: bert.Config) -> list[Entry]:
    """Rows of the pooler and the head."""
    roberta = config.padding_id is not None
    if roberta and config.head == "classes":
        return [*linear("pooler", "classifier.dense"), *linear("head", "classifier.out_proj")]
    rows = linear("pooler", "pooler.dense") if config.pool == "dense" else []
    if config.head in ("classes", "token_classes", "choice"):
        rows += linear("head", "classifier")
    if config.head == "answer":
        rows += linear("head", "qa_outputs")
    if config.head in ("next_sentence", "pretraining"):
        rows += linear("next_sentence", "cls.seq_relationship")
    if _says_words(config.head):
        at = "lm_head" if roberta else "cls.predictions"
        dense = "dense" if roberta else "transform.dense"
        layer_norm = "layer_norm" if roberta else "transform.LayerNorm"
        rows += words(at, config.tied, dense, layer_norm)
    return rows


def words(
    at: str,
    tied: bool,
    dense: str = "transform.dense",
    layer_norm: str = "transform.LayerNorm",
    path: str = "head",
) -> list[Entry]:
    """The head for words."""
    rows = [*linear(f"{path}/dense", f"{at}.{dense}"), *norm(f"{path}/norm", f"{at}.{layer_norm}")]
    if tied:
        return [*rows, Entry(f"{path}/bias", f"{at}.bias")]
    # the reference adds this bias; the other one, which it then has besides, nothing reads
    return [
        *rows,
        Entry(f"{path}/bias", f"{at}.decoder.bias"),
        Entry(f"{path}/table", f"{at}.decoder.weight"),
    ]
