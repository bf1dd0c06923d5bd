"""Byte-level BPE: trained on the captions at hand, or read from any `tokenizer.json`.

Merges of pairs (https://arxiv.org/abs/1508.07909) over the 256 bytes, as in GPT-2.

* Training is deterministic: the same texts in the same order give the same file.
* Special tokens are found by name (`tokenizer.special["<end>"]`); a wrong name lists those that
  exist. "<start>", "<end>" and "<pad>" also find what CLIP, GPT-2, BERT and others call so.
* A caption never produces special tokens: "<end>" inside a text is encoded as five characters.
* Ids carry no start or end token; `data.text.Tokenize` adds them.
* A trained tokenizer makes texts NFC, lower-case if asked, and collapses runs of white space; a
  loaded file keeps its own rules.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from mmjax.errors import UserError
from mmjax.tokenizers import cleaning
from mmjax.tokenizers.cleaning import Clean

SPECIALS = ("<pad>", "<start>", "<end>")
# What other tokenizers call these. CLIP, GPT-2 and SigLIP pad with their end; GPT-2 starts with it.
ROLES = {
    "<start>": ("<|startoftext|>", "[CLS]", "<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "<end>": ("<|endoftext|>", "[SEP]", "</s>", "<eos>", "<|end_of_text|>"),
    "<pad>": ("[PAD]", "<|endoftext|>", "</s>"),
}


CLEAN = "clean"  # beside the keys of the package in a file: what every text goes through first


class TokenizerError(UserError, ValueError):
    """A tokenizer file cannot be read, or lacks a special token that was asked for."""


class SpecialTokens(Mapping[str, int]):
    """Name -> id. A name that is missing raises TokenizerError, which lists the others.

    The names of ROLES find their counterparts too, where there is none of that very name.
    """

    def __init__(self, ids: Mapping[str, int], where: str):
        self._ids = dict(sorted(ids.items(), key=lambda item: item[1]))
        self._where = where

    def _known(self, name: object) -> str | None:
        if name in self._ids:
            return name
        return next((other for other in ROLES.get(name, ()) if other in self._ids), None)

    def __getitem__(self, name: str) -> int:
        known = self._known(name)
        if known is None:
            have = ", ".join(f"{key!r} ({value})" for key, value in self._ids.items()) or "none"
            raise TokenizerError(f"{self._where} has no special token {name!r}; it has: {have}")
        return self._ids[known]

    def __contains__(self, name: object) -> bool:  # Mapping's own `in` and `get` expect KeyError
        return self._known(name) is not None

    def get(self, name: str, default: int | None = None) -> int | None:
        return self[name] if name in self else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return repr(self._ids)


class Tokenizer:
    """Text -> ids and back.

    special:     name -> id of the special tokens
    vocab_size:  every id is below it
    fingerprint: identity of its contents
    clean:       what every text goes through first; None: nothing
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        where: str = "the tokenizer",
        clean: Clean | None = None,
    ):
        backend.no_padding()  # a file's own padding and truncation would act unseen
        backend.no_truncation()
        if getattr(backend.model, "dropout", None):  # merges left out at random, by no seed
            backend.model.dropout = None
        backend.encode_special_tokens = True  # "<end>" written in a caption is text, no command
        suffix = getattr(backend.model, "end_of_word_suffix", "")
        if suffix and isinstance(backend.decoder, decoders.ByteLevel):  # CLIP's file leaves it in
            spaces = decoders.Replace(suffix, " ")
            backend.decoder = decoders.Sequence([decoders.ByteLevel(), spaces])
        self._backend = backend
        self._where = where
        self._text = backend.to_str()
        self.clean = clean
        added = backend.get_added_tokens_decoder().items()
        special = {token.content: key for key, token in added if token.special}
        self.special = SpecialTokens(special, where)
        self.vocab_size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)

    def cleaned(self, clean: Clean) -> "Tokenizer":
        """The same tokenizer, with a cleaner that mends each text before it."""
        return Tokenizer(self._backend, self._where, clean)

    def copy_of_backend(self) -> tokenizers.Tokenizer:
        """A copy that reads special tokens in a text as such, and cleans nothing."""
        return tokenizers.Tokenizer.from_str(self._text)

    def encode(self, text: str) -> list[int]:
        """Ids of one text, without special tokens."""
        text = self.clean(text) if self.clean else text
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, on all cores."""
        texts = list(map(self.clean, texts)) if self.clean else list(texts)
        encoded = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in encoded]

    def decode(self, ids: Iterable[Any]) -> str:
        """Text of ids [length] (integers of any kind); special tokens leave no trace."""
        return self._backend.decode([int(one) for one in ids], skip_special_tokens=True).strip()

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The piece of text behind each id, for pictures and messages."""
        return [self._backend.id_to_token(int(one)) or f"<{int(one)}?>" for one in ids]

    @functools.cached_property
    def json(self) -> str:
        """The text of its `tokenizer.json`."""
        if self.clean is None:
            return self._text
        return json.dumps(
            {**json.loads(self._text), CLEAN: cleaning.to_json(self.clean)}, ensure_ascii=False
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.json.encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes a `tokenizer.json`, readable here and by the `tokenizers` package.

        The package, which cannot clean, refuses one that says how: its ids would be others.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.json, encoding="utf-8")

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, fingerprint={self.fingerprint[:12]!r})"

    def __getstate__(self) -> tuple[Any, ...]:  # the backend's own forgets encode_special_tokens
        return self._text, self._where, self.clean

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        text, *rest = state
        self.__init__(tokenizers.Tokenizer.from_str(text), *rest)


def normalizer(lowercase: bool) -> normalizers.Sequence:
    """NFC, runs of white space as one space, none at the ends; lower case if asked."""
    spaces = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
    rules = [normalizers.NFC(), spaces, normalizers.Strip()]
    return normalizers.Sequence(rules + [normalizers.Lowercase()] * lowercase)


def train(
    texts: Iterable[str],
    vocab_size: int,
    *,
    specials: Sequence[str] = SPECIALS,
    lowercase: bool = True,
    min_frequency: int = 2,
) -> Tokenizer:
    """A byte-level BPE of at most `vocab_size` ids: specials first, then bytes, then merges.

    min_frequency: rarer pairs are not merged. Raises ValueError when there is no text, or no room
    for the 256 bytes.
    """
    smallest = len(specials) + 256
    if vocab_size < smallest:
        raise TokenizerError(
            f"vocab_size={vocab_size} has no room for {len(specials)} specials and 256 bytes: "
            f"{smallest} at least"
        )
    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise TokenizerError("there is no text to train a tokenizer on")
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizer(lowercase)
    # With the prefix space a word is the same token at the start of a caption and inside it.
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer, length=len(texts))
    return Tokenizer(backend, "the trained tokenizer")


def load(path: str | Path) -> Tokenizer:
    """Reads a `tokenizer.json`. Raises FileNotFoundError, or TokenizerError if it is not one."""
    path = Path(path)
    if not path.is_file():
        beside = sorted(one.name for one in path.parent.glob("*.json"))
        raise FileNotFoundError(f"no tokenizer file {path}; JSON files there: {beside or 'none'}")
    try:
        text = path.read_text(encoding="utf-8")
        keys = json.loads(text)
    except ValueError as error:  # broken UTF-8 or broken JSON
        raise TokenizerError(f"{path} is not a tokenizer.json: {error}") from error
    if not isinstance(keys, dict) or "model" not in keys:
        raise TokenizerError(
            f"{path} is JSON, but has no 'model' entry: it is not a tokenizer.json (vocab.json and "
            "tokenizer_config.json are other files)"
        )
    try:
        clean = cleaning.from_json(keys.pop(CLEAN)) if CLEAN in keys else None
        backend = tokenizers.Tokenizer.from_str(json.dumps(keys) if clean else text)
    except Exception as error:  # the package raises bare Exception for every fault of the file
        raise TokenizerError(f"{path} is not a readable tokenizer.json: {error}") from error
    return Tokenizer(backend, str(path), clean)
