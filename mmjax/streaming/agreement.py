"""Local agreement: a word is confirmed when two hypotheses in a row say it.

Liu et al. 2020, https://arxiv.org/abs/2005.11185; Macháček et al. 2023 (Whisper-Streaming),
https://arxiv.org/abs/2307.14743.

* Each hypothesis is of a window that holds confirmed words, too. How many of its words they are is
  found by the fewest edits between them and its beginning; the times of words settle what the words
  leave open (a window of "one one one").
* Of the words behind them, the longest prefix that the last hypothesis shares is confirmed. Case
  and punctuation do not have to agree; they are taken from the later one.
* A confirmed word never changes. The end of an utterance confirms what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmjax.streaming.recognition import Word

MISPLACED = 0.5  # edits that a word on the wrong side of the last confirmed one counts for
NEAR = 0.3  # seconds that the time of a word may be off


class Agreement:
    """What is confirmed, word by word, and what is not yet."""

    def __init__(self) -> None:
        self.tentative: tuple[Word, ...] = ()  # of the last hypothesis

    def hear(
        self, confirmed: Sequence[Word], hypothesis: Sequence[Word], final: bool = False
    ) -> tuple[Word, ...]:
        """The words that are confirmed now.

        Args:
          confirmed: the words of the window that were confirmed before.
          hypothesis: all words of the window, with times on the same clock.
          final: whether no other hypothesis will follow.
        """
        new = list(hypothesis[known(confirmed, hypothesis) :])
        if final:
            agreed = len(new)
        else:
            agreed = shared([one.text for one in self.tentative], [one.text for one in new])
        self.tentative = tuple(new[agreed:])
        return tuple(new[:agreed])


def normal(text: str) -> str:
    """A word without case and punctuation; what is nothing else stays itself."""
    return "".join(letter for letter in text.casefold() if letter.isalnum()) or text


def shared(a: Sequence[str], b: Sequence[str]) -> int:
    """How many words two texts begin with alike."""
    count = 0
    for one, other in zip(a, b, strict=False):
        if normal(one) != normal(other):
            break
        count += 1
    return count


def known(confirmed: Sequence[Word], hypothesis: Sequence[Word]) -> int:
    """How many words at the beginning of a hypothesis are the confirmed ones."""
    if not confirmed:
        return 0
    said = [normal(one.text) for one in hypothesis]
    edits = list(range(len(said) + 1))  # between no words and the first j
    for row, word in enumerate(confirmed, 1):
        wanted = normal(word.text)
        above = edits
        edits = [row]
        for j, one in enumerate(said, 1):
            kept = above[j - 1] + (one != wanted)
            edits.append(min(kept, above[j] + 1, edits[j - 1] + 1))
    last = confirmed[-1].end
    middles = [(one.start + one.end) / 2 for one in hypothesis]
    late = [middle > last + NEAR for middle in middles]
    early = [middle < last - NEAR for middle in middles]
    costs = [edits[j] + MISPLACED * (sum(late[:j]) + sum(early[j:])) for j in range(len(said) + 1)]
    by_time = sum(middle <= last for middle in middles)
    return min(range(len(costs)), key=lambda j: (costs[j], abs(j - by_time)))


def in_order(words: Sequence[Word], after: float) -> tuple[Word, ...]:
    """The words with times that never go back."""
    out = []
    for word in words:
        start = max(word.start, after)
        after = max(word.end, start)
        out.append(Word(word.text, start, after))
    return tuple(out)
