"""CTC in a stream: frames computed once where the network allows it, letters read once always.

* `Frames`: a network whose frame sees a bounded span of samples (the convolutions in front of
  wav2vec 2.0 with "layer" norm; any spectrogram) gives the same frames chunk by chunk. Not the
  "group" norm, which looks at the whole clip, and not the blocks behind the front, whose attention
  looks both ways: their logits of a longer window are others.
* `Reading`: the greedy reading of CTC (repeats are one, then blanks go) of logits that come in
  pieces equals that of all of them at once, whatever the pieces.
* `recogniser`: any network from samples to letters, over whole windows, as a listener asks for it.

Letters: T samples, L frames, V letters, F samples that a frame sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mmjax.streaming.recognition import Window, Word
from mmjax.tokenizers.letters import Letters
from mmjax.typing import Float, Int, Shaped


class Frames:
    """The frames of a stream.

    Args:
      network: samples [T] -> frames [L, ...]; frame l sees the samples from l * stride on.
      field: samples that a frame sees.
      stride: samples from frame to frame.
    """

    def __init__(
        self, network: Callable[[np.ndarray], Shaped[np.ndarray, "L ..."]], field: int, stride: int
    ) -> None:
        self._network = network
        self._field = field
        self._stride = stride
        self._samples = np.zeros(0, np.float32)  # those that frames to come will see

    def push(self, samples: Float[np.ndarray, " T"]) -> Shaped[np.ndarray, "L ..."] | None:
        """The frames that more samples complete; None: not one."""
        self._samples = np.concatenate([self._samples, samples])
        count = (len(self._samples) - self._field) // self._stride + 1
        if count < 1:
            return None
        seen = self._samples[: (count - 1) * self._stride + self._field]
        self._samples = self._samples[count * self._stride :].copy()
        return np.asarray(self._network(seen))


class Letter(NamedTuple):
    """A letter that CTC said, and its frames."""

    id: int
    start: int
    end: int  # behind the last frame of it


class Reading:
    """Reads what CTC says frame by frame; `letters` are complete when another one, or a blank,
    follows."""

    def __init__(self, blank: int) -> None:
        self._blank = blank
        self._open: Letter | None = None  # that may go on
        self._frame = 0  # the next one

    def push(self, ids: Int[np.ndarray, " L"]) -> list[Letter]:
        """The letters that end in the next frames."""
        done = []
        for one in np.asarray(ids).tolist():
            if self._open is not None and one != self._open.id:
                done.append(self._open)
                self._open = None
            if one != self._blank:
                start = self._frame if self._open is None else self._open.start
                self._open = Letter(one, start, self._frame + 1)
            self._frame += 1
        return done

    def close(self) -> list[Letter]:
        """The letter that the end ends."""
        last = [] if self._open is None else [self._open]
        self._open = None
        return last


def words(letters: Sequence[Letter], tokenizer: Letters, seconds: float) -> list[Word]:
    """Letters -> words.

    Args:
      seconds: of a frame.
    """
    found: list[list[Letter]] = [[]]
    for letter in letters:
        if letter.id == tokenizer.space:
            found.append([])
        else:
            found[-1].append(letter)
    out = []
    for word in found:
        text = tokenizer.decode(letter.id for letter in word)
        if text:
            out.append(Word(text, word[0].start * seconds, word[-1].end * seconds))
    return out


def recogniser(
    logits: Callable[[Float[np.ndarray, " T"]], Float[np.ndarray, "L V"]],
    tokenizer: Letters,
    seconds: float,
) -> Callable[[Window], list[Word]]:
    """Hears windows with a CTC model.

    Args:
      logits: of a window's samples, as they are: what normalises them belongs to it.
      seconds: of a frame.
    """

    def recognise(window: Window) -> list[Word]:
        reading = Reading(tokenizer.blank)
        letters = reading.push(np.asarray(logits(window.samples)).argmax(-1))
        return words([*letters, *reading.close()], tokenizer, seconds)

    return recognise
