"""Letters as tokens, and what a CTC model says read back as text.

Graves et al. 2006 (https://www.cs.toronto.edu/~graves/icml_2006.pdf); the vocabularies of
wav2vec 2.0 and HuBERT.

* A `vocab.json` names the letters, one of them the space between words ("|"); the padding token is
  also CTC's blank.
* `collapse` is CTC's reading: repeats are one, then blanks go.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmjax.tokenizers.bpe import SpecialTokens, TokenizerError

SETTINGS = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
SPACE = "|"  # what stands for the space between words


class Letters:
    """Text -> ids and back.

    special:    name -> id of the special tokens
    vocab_size: every id is below it
    blank:      the id that CTC says for nothing
    """

    def __init__(
        self, vocab: Mapping[str, int], settings: Mapping[str, Any] | None = None, where: str = ""
    ):
        self.vocab = dict(vocab)
        self.settings = dict(settings or {})
        self._where = where or "the letters"
        tokens = {role: self.settings.get(role, name) for role, name in SETTINGS.items()}
        names = {role: self._token(token) for role, token in tokens.items()}
        known = {name: self.vocab[name] for name in names.values() if name in self.vocab}
        self.special = SpecialTokens(known, self._where)
        self.vocab_size = 1 + max(self.vocab.values(), default=-1)
        self.blank = self.special[names["pad_token"]]
        self._unknown = self.vocab.get(names["unk_token"])
        self._space = self._token(self.settings.get("word_delimiter_token", SPACE))
        self._lower = bool(self.settings.get("do_lower_case", False))
        self._names = {number: name for name, number in self.vocab.items()}

    @staticmethod
    def _token(value: Any) -> str:
        return value["content"] if isinstance(value, Mapping) else str(value)

    def encode(self, text: str) -> list[int]:
        """Ids of one text. Raises TokenizerError: a letter that is not there, and no <unk>."""
        text = (text.upper() if self._lower else text).replace(" ", self._space)
        ids = [self.vocab.get(letter, self._unknown) for letter in text]
        if None in ids:
            raise TokenizerError(
                f"{self._where} has no {text[ids.index(None)]!r} and no token for unknown letters"
            )
        return ids

    def known(self, text: str) -> str:
        """A text in the letters that there are, in their case; a space in place of others."""
        out = []
        for letter in text:
            cased = (letter, letter.upper(), letter.lower())
            out.append(next((one for one in cased if one in self.vocab), " "))
        return " ".join("".join(out).split())

    def decode(self, ids: Iterable[Any]) -> str:
        """Text of ids [length] as they are; special tokens leave no trace."""
        special = set(self.special.values())
        kept = (int(one) for one in ids if int(one) not in special)
        text = "".join(self._names.get(one, "") for one in kept).replace(self._space, " ").strip()
        return text.lower() if self._lower else text

    def collapse(self, ids: Iterable[Any]) -> str:
        """Text of what CTC says for each frame, [frames]."""
        return self.decode(one for one, _ in itertools.groupby(int(one) for one in ids))

    def save(self, folder: str | Path) -> None:
        """Writes `vocab.json` and `tokenizer_config.json`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"tokenizer_class": "Wav2Vec2CTCTokenizer", **self.settings}
        for name, value in (("vocab.json", self.vocab), ("tokenizer_config.json", settings)):
            text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, encoding="utf-8")


def train(texts: Iterable[str]) -> Letters:
    """Every letter that occurs, behind the blank and the space between words."""
    found = sorted(set().union(*map(set, texts)) - {" "})
    names = [SETTINGS["pad_token"], SPACE, *found]
    return Letters({name: number for number, name in enumerate(names)})


def load(folder: str | Path) -> Letters:
    """The letters of a hub folder. Raises FileNotFoundError or TokenizerError."""
    folder = Path(folder)
    found = []
    for name in ("vocab.json", "tokenizer_config.json"):
        path = folder / name
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})
        except ValueError as error:
            raise TokenizerError(f"{path} is not JSON: {error}") from error
    if not found[0]:
        raise FileNotFoundError(f"{folder} holds no vocab.json with letters")
    nested = [name for name, number in found[0].items() if not isinstance(number, int)]
    if nested:
        raise TokenizerError(
            f"{folder / 'vocab.json'}: {nested[0]!r} holds a vocabulary of its own; one is read"
        )
    return Letters(found[0], found[1], str(folder / "vocab.json"))
