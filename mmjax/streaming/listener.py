"""Listening: chunks of sound in, words and utterances out.

    listener = Listener(recogniser)
    for chunk in source:
        for event in listener.push(chunk):
            print(event)
    events = listener.close()

* Every hop of an utterance, the window is recognised: from its beginning to now. A longer one than
  `window` is cut behind a confirmed word, where the pause is longest; what was confirmed before is
  the recogniser's prompt. In pauses nothing is recognised, and nothing twice.
* `context` keeps earlier utterances in the window, where they are near enough: the recogniser then
  hears a word in the sentences around it.
* Everything depends on the samples alone: on no clock, no thread and no chunking.
* Memory: a window and a hop of samples, the words of a window and of an utterance; an utterance
  that does not end is told in pieces of `longest`.

Letters: H samples of a hop, F frames of voice activity.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from mmjax.streaming import endpoint
from mmjax.streaming.activity import FRAME, RATE, Activity, Gate
from mmjax.streaming.agreement import Agreement, in_order
from mmjax.streaming.blocks import Block, Blocks, Chunk
from mmjax.streaming.endpoint import Endpoint, Span
from mmjax.streaming.events import Confirmed, Event, Lost, Tentative, Utterance
from mmjax.streaming.recognition import Recogniser, Window, Word
from mmjax.streaming.ring import Ring

HEARD = 0.1  # seconds behind the last speech, that a look has to see for the speech to be whole


@dataclasses.dataclass(frozen=True)
class Config:
    hop: float = 1.0  # seconds from one look at the window to the next; a multiple of 0.02
    window: float = 20.0  # seconds of a window at most
    context: float = 0.0  # seconds before an utterance from which earlier ones stay in its window
    least: float = 0.8  # seconds of a window from which on it is looked at before it is complete
    prompt: int = 40  # words before the window that the recogniser is told
    longest: float = 60.0  # seconds of an utterance that is told in one piece
    jitter: float = 0.1  # seconds that the time stamps of chunks may be off
    endpoint: endpoint.Config = endpoint.Config()  # where utterances begin and end

    def __post_init__(self) -> None:
        if self.hop <= 0 or round(self.hop * RATE) % FRAME:
            raise ValueError(f"hop={self.hop:g}: a multiple of {FRAME / RATE:g} seconds")
        if self.window < 2 * self.hop or not 0 <= self.context <= self.window - self.hop:
            raise ValueError(
                f"window={self.window:g} is two hops or more, and has room for context="
                f"{self.context:g} and a hop of {self.hop:g} seconds"
            )


class Listener:
    """Follows one stream at 16 kHz.

    Args:
      gate: the voice activity; None: activity.py's.
    """

    def __init__(
        self, recogniser: Recogniser, config: Config | None = None, gate: Gate | None = None
    ) -> None:
        c = config or Config()
        self.config = c
        self.blocks = Blocks(RATE, round(c.hop * RATE), c.jitter)
        self._recogniser = recogniser
        self._gate = gate or Activity()
        self._endpoint = Endpoint(c.endpoint)
        # what is behind the end of an utterance when it is known to be over, comes besides
        room = c.window + c.hop + c.endpoint.lead + c.endpoint.pause
        self._ring = Ring(round(room * RATE))
        self._agreement = Agreement()
        self._start: int | None = None  # of the window; None: nothing is recognised
        self._looked = 0  # end of the last window that was recognised
        self._begins: deque[int] = deque(maxlen=64)  # where utterances began that context may reach
        self._words: deque[Word] = deque()  # confirmed, on the stream's clock (place / RATE)
        self._utterance: list[Word] = []  # of which these are the running utterance's
        self._told = 0  # where the running utterance, or its last piece, begins

    def push(self, chunk: Chunk) -> Iterator[Event]:
        """What becomes known with a chunk; block after block, however large it is."""
        for one in self.blocks.push(chunk):
            yield from [one] if isinstance(one, Lost) else self.hear([one])

    def close(self) -> Iterator[Event]:
        """The end of the stream: what is left is recognised."""
        for block in self.blocks.flush():
            yield from self.hear([block])
        for span in self._endpoint.close():
            self._open(span.begin)
            yield from self._end(span)

    def hear(self, blocks: Sequence[Block]) -> Iterator[Event]:
        """Looks at the window once for several blocks, half of one at most: load is shed so."""
        for block in blocks:
            yield from self._append(block)
        begin = self._endpoint.begin
        if begin is None:
            return
        self._open(begin)
        if self._looked >= self._endpoint.speech * FRAME + round(HEARD * RATE):
            return
        if self._ring.end - self._start < round(self.config.least * RATE):
            return
        yield from self._cut(self._ring.end)
        yield from self._recognise(self._ring.end, final=False)
        yield from self._pieces()

    def _append(self, block: Block) -> Iterator[Event]:
        missing = block.start - self._ring.end
        if missing:  # whole hops are left out
            for span in self._endpoint.skip(missing // FRAME):
                self._open(span.begin)
                yield from self._end(span)
            self._ring.restart(block.start)
            self._begins.clear()
        self._ring.append(block.samples)
        speech = self._gate(block.samples.reshape(-1, FRAME))
        known = block.there.reshape(-1, FRAME).all(1)
        for span in self._endpoint.push(np.asarray(speech, bool) & known):
            self._open(span.begin)
            yield from self._end(span)

    def _open(self, begin: int) -> None:
        """Puts the beginning of the window before an utterance, where none is open yet."""
        if self._start is not None:
            return
        place = begin * FRAME
        reach = place - round(self.config.context * RATE)
        near = [one for one in self._begins if reach <= one and self._ring.start <= one]
        self._start = min([*near, max(place, self._ring.start)])
        self._told = self._start if not near else place
        self._begins.append(place)

    def _end(self, span: Span) -> Iterator[Event]:
        """Recognises an utterance to its end, and tells it.

        Where the last look saw all of its speech, what it heard is what was said.
        """
        end = span.end * FRAME
        if self._looked >= span.speech * FRAME + round(HEARD * RATE):
            yield from self._confirm(self._agreement.tentative)
            self._agreement.tentative = ()
        else:
            yield from self._cut(end)
            yield from self._recognise(end, final=True)
        if self._utterance:
            yield self._utterance_of(self._utterance, end)
        self._utterance = []
        self._start = None
        self._forget()

    def _recognise(self, end: int, final: bool) -> Iterator[Event]:
        samples = self._ring.read(self._start, end)
        start = self._start / RATE
        before = [word.text for word in self._words if word.start < start]
        told = before[max(0, len(before) - self.config.prompt) :]
        window = Window(samples, self._start, tuple(told), final)
        found = [word.moved(start) for word in self._recogniser(window)]
        inside = [word for word in self._words if word.start >= start]
        self._looked = end
        yield from self._confirm(self._agreement.hear(inside, found, final))
        if self._agreement.tentative:
            yield Tentative(self._on_clock(self._agreement.tentative))

    def _cut(self, end: int) -> Iterator[Event]:
        """Takes the beginning of a window that has become too long."""
        limit = round(self.config.window * RATE)
        if end - self._start <= limit:
            return
        place = self._best_cut(end)
        waiting = [word for word in self._agreement.tentative if word.end * RATE <= place]
        yield from self._confirm(waiting)  # no second hypothesis will hear them
        self._agreement.tentative = self._agreement.tentative[len(waiting) :]
        self._start = max(place, end - limit, self._ring.start)
        self._forget()

    def _confirm(self, words: Sequence[Word]) -> Iterator[Event]:
        last = self._words[-1].end if self._words else 0.0
        words = in_order(words, last)
        self._words.extend(words)
        self._utterance.extend(words)
        if words:
            yield Confirmed(self._on_clock(words))

    def _best_cut(self, end: int) -> int:
        """The middle of the longest pause behind a confirmed word that leaves a quarter to half of
        a window; without one, half of a window."""
        window = self.config.window
        now = end / RATE
        inside = [word for word in self._words if word.start * RATE >= self._start]
        following = [*inside[1:], *self._agreement.tentative[:1]]
        pauses = zip(inside, following, strict=False)
        cuts = [(two.start - one.end, (one.end + two.start) / 2) for one, two in pauses]
        good = [cut for cut in cuts if window / 4 <= now - cut[1] <= window / 2]
        place = max(good)[1] if good else now - window / 2
        return round(place * RATE)

    def _pieces(self) -> Iterator[Event]:
        """An utterance that does not end is told up to its last confirmed word."""
        longest = round(self.config.longest * RATE)
        if self._ring.end - self._told < longest or not self._utterance:
            return
        end = round(self._utterance[-1].end * RATE)
        yield self._utterance_of(self._utterance, end)
        self._utterance = []
        self._told = end

    def _utterance_of(self, words: Sequence[Word], end: int) -> Utterance:
        seconds = self.blocks.seconds
        return Utterance(self._on_clock(words), seconds(self._told), seconds(end))

    def _on_clock(self, words: Sequence[Word]) -> tuple[Word, ...]:
        return tuple(word.moved(self.blocks.offset) for word in words)

    def _forget(self) -> None:
        """Confirmed words that neither a window nor its prompt will have."""
        oldest = self._ring.start if self._start is None else self._start
        behind = sum(word.start * RATE < oldest for word in self._words)
        for _ in range(behind - self.config.prompt):
            self._words.popleft()
