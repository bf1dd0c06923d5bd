"""HuBERT of the hub (HubertModel, HubertForCTC): wav2vec 2.0's network under names of its own."""

from __future__ import annotations

import functools

from mmjax.conversion import wav2vec2
from mmjax.conversion.wav2vec2 import IGNORED, LEFT_OUT, inputs, model, processor

__all__ = [
    "IGNORED", "LEFT_OUT", "MODEL_TYPES", "config", "inputs", "model", "processor", "rename",
    "saved", "table", "upstream",
]  # fmt: skip
MODEL_TYPES = ("hubert",)
rename = functools.partial(wav2vec2.rename, prefix="hubert")
saved = functools.partial(wav2vec2.saved, prefix="hubert")
config = functools.partial(wav2vec2.config, prefix="hubert")
upstream = functools.partial(wav2vec2.upstream, prefix="hubert")
table = functools.partial(wav2vec2.table, prefix="hubert")
