"""HuBERT of the hub (HubertModel, HubertForCTC): wav2vec 2.0's network under names of its own."""

from __future__ import annotations

import functools

from mmjax.conversion import wav2vec2
from mmjax.conversion.wav2vec2 import IGNORED, LEFT_OUT, inputs, model, processor

__all__ = [
    "IGNORED", "LEFT_OUT", "MODEL_TYPES", "config", "inputs", "model", "processor", "rename",
    "table", "upstream",
]  # fmt: skip
MODEL_TYPES = ("hubert",)
rename, config, upstream, table = (
    functools.partial(one, prefix="hubert")
    for one in (wav2vec2.rename, wav2vec2.config, wav2vec2.upstream, wav2vec2.table)
)
