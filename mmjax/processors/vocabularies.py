"""Tokenizers by name: CLIP's, GPT-2's and BERT's are in the package; any other is a path.

* "clip": 49,408 ids, lower case, as `transformers` has it. "open_clip": the same vocabulary behind
  the mending of web text that `open_clip` does. "gpt2": 50,257 ids. "bert": 30,522 ids, uncased.
  Those of the bundled models go by their names.
* A path is a `tokenizer.json` or a hub folder.
"""

import functools
import gzip
from pathlib import Path

from mmjax.datasets import bundled
from mmjax.tokenizers import pretrained
from mmjax.tokenizers.bpe import Tokenizer

NAMES = ("clip", "open_clip", "gpt2", "bert")


@functools.cache
def named(name: str) -> Tokenizer:
    """The tokenizer of the package that is called so, one of NAMES; read once per process."""
    if name == "bert":
        return pretrained.bert(_lines("bert_words").split("\n"))
    if name == "gpt2":
        return pretrained.gpt2(pretrained.merges_of(_lines("gpt2_merges")))
    return pretrained.clip(pretrained.merges_of(_lines("clip_merges")), web=name == "open_clip")


def load(name: str | Path) -> Tokenizer:
    """The tokenizer of a name in NAMES, of a bundled model, or of a file or folder.

    Raises FileNotFoundError or TokenizerError.
    """
    if name in NAMES:
        return named(str(name))
    if name in bundled.MODELS and not Path(name).exists():
        return pretrained.load(bundled.model(str(name)))
    if not Path(name).exists():
        raise FileNotFoundError(
            f"no tokenizer {str(name)!r}: neither a file or folder, nor one of {', '.join(NAMES)}"
        )
    return pretrained.load(name)


def _lines(stem: str) -> str:
    return gzip.decompress(bundled.read("vocabularies", f"{stem}.txt.gz")).decode()
