"""What a person reads on a terminal: in whatever encoding it has, and without orders to it.

* Captions, file names and labels come from anywhere. A control character among them could clear the
  screen, hide a line or rename the window, so it is shown as its escape, `\\x1b`.
* Where the output is ASCII or latin-1, other letters are shown as their escapes, not refused.
"""

from __future__ import annotations

import sys
import unicodedata

# overrides and isolates of the direction of writing: they show letters in another order
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# control characters, line and paragraph separators, halves of surrogate pairs
_CATEGORIES = ("Cc", "Zl", "Zp", "Cs")


def printable(text: str, keep: str = "") -> str:
    """The text with control characters as escapes: "a\\x1b[2J" -> "a\\\\x1b[2J".

    Args:
      keep: those that stay, "\\n" where a text has several lines.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter in keep else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    if letter in _DIRECTIONS or unicodedata.category(letter) in _CATEGORIES:
        return letter.encode("unicode_escape").decode("ascii")
    return letter


def accept_all_letters() -> None:
    """Lets standard output and standard error escape what their encoding does not hold."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's or a test's may lack it
            stream.reconfigure(errors="backslashreplace")
