"""Whole words, trained on the captions at hand: for sets so small that a word's parts mean nothing.

* A word is a run of letters, digits and marks; punctuation and space only separate.
* A word that training did not hold has no id and leaves nothing behind. A byte-level BPE makes
  pieces of it, whose vectors a small set has told nothing: noise in every caption with a new word.
* The file is a `tokenizer.json` as any other: bpe.load reads it.
"""

import collections
from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from mmjax.tokenizers import bpe


def train(
    texts: Iterable[str],
    vocab_size: int,
    *,
    specials: Sequence[str] = bpe.SPECIALS,
    lowercase: bool = True,
) -> bpe.Tokenizer:
    """At most `vocab_size` ids: specials first, then words, the most frequent first.

    Raises:
      TokenizerError: no text, or no room for a word.
    """
    if vocab_size <= len(specials):
        raise bpe.TokenizerError(
            f"vocab_size={vocab_size} has no room for {len(specials)} specials and a word"
        )
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = bpe.normalizer(lowercase)
    # The space put first marks a word's start: no piece of an unknown word is taken for a word.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(r"[^\p{L}\p{M}\p{N}]+"), "removed"),
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    counts = collections.Counter(
        word
        for text in texts
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(
            backend.normalizer.normalize_str(text)
        )
    )
    if not counts:
        raise bpe.TokenizerError("there is no text to train a tokenizer on")
    words = sorted(counts, key=lambda word: (-counts[word], word))[: vocab_size - len(specials)]
    vocabulary = {word: at for at, word in enumerate([*specials, *words])}
    backend.model = models.BPE(vocab=vocabulary, merges=[], ignore_merges=True)
    backend.add_special_tokens(list(specials))
    return bpe.Tokenizer(backend, "the trained tokenizer")
