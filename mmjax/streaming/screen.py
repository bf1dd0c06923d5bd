"""Words on a terminal as they are confirmed, and what is only heard behind them in grey.

* The line that grows is written anew; one that is full is left as it is. Elsewhere, in a file or a
  pipe, only confirmed words are written, and nothing is ever taken back.
"""

from __future__ import annotations

import io
import shutil
import sys

from mmjax.streaming.events import Confirmed, Tentative, Utterance
from mmjax.terminal import printable

GREY = "\x1b[90m"
PLAIN = "\x1b[0m"
ANEW = "\r\x1b[K"  # to the beginning of the line, which is made empty


class Screen:
    """Shows events on a stream of text."""

    def __init__(self, stream: io.TextIOBase, width: int | None = None) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._width = width
        self._line = ""  # confirmed words that stand on the line that grows

    def show(self, event: Confirmed | Tentative | Utterance) -> None:
        """Confirmed words, heard ones, or the end of a line."""
        if isinstance(event, Utterance):
            self.end()
        elif isinstance(event, Confirmed):
            self._confirm([printable(word.text) for word in event.words])
        elif self._terminal:
            heard = printable(" ".join(word.text for word in event.words))
            gap = " " if self._line else ""
            room = max(0, self._columns() - len(self._line) - len(gap) - 1)
            self._write(f"{ANEW}{self._line}{gap}{GREY}{heard[:room]}{PLAIN}")

    def line(self, text: str) -> None:
        """A line of its own."""
        self.end()
        self._write(f"{text}\n")

    def note(self, text: str) -> None:
        """What is to be known besides; on standard error."""
        if self._terminal and self._line:
            self.end()
        print(f"note: {printable(text)}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Ends the line that grows, without what is grey."""
        if self._line:
            self._write(f"{ANEW}{self._line}\n" if self._terminal else "\n")
        self._line = ""

    def _confirm(self, words: list[str]) -> None:
        for word in words:
            gap = " " if self._line else ""
            if self._terminal and len(self._line) + len(word) + 2 > self._columns():
                self.end()
                gap = ""
            self._line += gap + word
            if not self._terminal:
                self._write(gap + word)
        if self._terminal:
            self._write(ANEW + self._line)

    def _columns(self) -> int:
        return self._width or shutil.get_terminal_size().columns

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
