"""Tokens -> words, as people count them.

* A token may be half a letter, so tokens are gathered until they spell; a piece that begins with a
  space begins a word. Languages that do not part words are taken letter by letter.
* Punctuation marks are words at first, so that a pause belongs to no word, and join one afterwards.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mmjax.tokenizers.bpe import Tokenizer

UNPARTED = ("zh", "ja", "th", "lo", "my", "yue")  # languages that are written without spaces
OPENING = "\"'“¿([{-"  # joins the word behind it
CLOSING = "\"'.。,，!！?？:：”)]}、"  # joins the word before it
HALF = "\N{REPLACEMENT CHARACTER}"


class Spelled(NamedTuple):
    """A word and its tokens."""

    text: str  # with the space before it
    tokens: tuple[int, ...]


class Spelling:
    """Reads the tokens of a Whisper.

    Args:
      end: <|endoftext|>: what is below it are words.
    """

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        self._backend = tokenizer.copy_of_backend()
        self.end = end

    def text(self, tokens: Sequence[int]) -> str:
        """With the space before the first word; times and other special tokens leave no trace."""
        words = [int(token) for token in tokens if token < self.end]
        return self._backend.decode(words, skip_special_tokens=False)

    def encode(self, text: str) -> tuple[int, ...]:
        """The tokens of a text in the middle of a recording."""
        return tuple(self._backend.encode(f" {text.strip()}", add_special_tokens=False).ids)

    def words(self, tokens: Sequence[int], language: str) -> list[Spelled]:
        """The words of a text without special tokens.

        Args:
          language: "en", ...
        """
        pieces = list(self._pieces(tokens))
        if language in UNPARTED:
            return pieces
        words: list[Spelled] = []
        for piece in pieces:
            mark = piece.text.strip() in string.punctuation
            if not words or mark or piece.text.startswith(" "):
                words.append(piece)
            else:
                text, before = words[-1]
                words[-1] = Spelled(text + piece.text, before + piece.tokens)
        return words

    def _pieces(self, tokens: Sequence[int]) -> Iterator[Spelled]:
        """As few tokens at a time as spell something."""
        whole = self.text(tokens)
        gathered: tuple[int, ...] = ()
        place = 0  # in the text
        for token in tokens:
            gathered += (int(token),)
            text = self.text(gathered)
            half = text.find(HALF)
            # a text may really hold that letter
            if half < 0 or whole[place + half : place + half + 1] == HALF:
                yield Spelled(text, gathered)
                gathered = ()
                place += len(text)
        if gathered:
            yield Spelled(self.text(gathered), gathered)
