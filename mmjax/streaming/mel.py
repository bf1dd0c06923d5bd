"""Log-mel frames of a stream, each computed once; the spectrogram of any window of it.

    streamed = StreamedMel(LogMel(), seconds=30.0)
    streamed.append(samples)
    streamed.window(start, end)  # [T, M], what LogMel gives for samples[start:end]

* A frame's logarithms depend on its 400 samples alone, so they are kept. What depends on the window
  is made for each window: its ends are mirrored (two frames at either), and everything more than 8
  decades below its loudest frame is cut off there.
* So the features equal those of the window computed whole. They are not those of a longer clip:
  Whisper's features of the same second differ with what is loudest around it.

Letters: T frames, M mel bins.
"""

from __future__ import annotations

import numpy as np

from mmjax.transforms.mel import LogMel
from mmjax.typing import Float


class StreamedMel:
    """The frames of one stream.

    Args:
      mel: how they are made; `seconds` is the length that windows are padded to.
      seconds: that are kept at least.
    """

    def __init__(self, mel: LogMel, seconds: float) -> None:
        self.mel = mel
        self._keep = round(seconds * mel.rate)
        self._first = 0  # frame of the first row that is kept
        self._log = np.zeros((0, mel.bins))  # [T, M]
        self._from = 0  # place of the first sample that is kept
        self._samples = np.zeros(0, np.float32)

    @property
    def end(self) -> int:
        """Place of the sample that comes next."""
        return self._from + len(self._samples)

    def append(self, samples: Float[np.ndarray, " S"]) -> None:
        """Samples that follow the last ones."""
        mel = self.mel
        self._samples = np.concatenate([self._samples, samples])
        half = mel.window // 2
        next_frame = self._first + len(self._log)
        if not len(self._log):  # the first frame that lies within the stream
            next_frame = -(-(self._from + half) // mel.hop)
            self._first = next_frame
        begin = next_frame * mel.hop - half - self._from
        if len(self._samples) - begin >= mel.window:
            views = np.lib.stride_tricks.sliding_window_view(self._samples[begin:], mel.window)
            self._log = np.concatenate([self._log, mel.logarithms(views[:: mel.hop])])
        self._forget()

    def restart(self, place: int) -> None:
        """Forgets everything; the next sample is at this place, a multiple of the hop."""
        self._from = place
        self._samples = self._samples[:0]
        self._log = self._log[:0]

    def window(self, start: int, end: int) -> Float[np.ndarray, "T M"]:
        """The features of samples[start:end].

        Raises:
          IndexError: samples that are forgotten, or have not come yet.
          ValueError: a start that is no multiple of the hop.
        """
        mel = self.mel
        if not self._from <= start <= end <= self.end:
            raise IndexError(
                f"samples {start} to {end} are asked for; {self._from} to {self.end} are here"
            )
        if start % mel.hop:
            raise ValueError(f"a window begins at a multiple of {mel.hop} samples, not {start}")
        clip = self._samples[start - self._from : end - self._from]
        samples = len(clip) if mel.seconds is None else round(mel.seconds * mel.rate)
        out = np.empty((samples // mel.hop, mel.bins), np.float32)
        views = mel.frames(clip, samples)[: mel.reached(len(clip), len(out))]
        # those that see neither end of the window, nor what is before it
        half = mel.window // 2
        first = -(-half // mel.hop)
        last = max(first, (len(clip) - half) // mel.hop + 1)
        inside = self._log[start // mel.hop + first - self._first :][: last - first]
        ends = np.concatenate([views[:first], views[first + len(inside) :]])
        found = mel.logarithms(ends)
        mel.scale((found[:first], inside, found[first:]), out)
        return out

    def _forget(self) -> None:
        """What is older than `seconds`, where it has become half of what is kept."""
        if len(self._samples) < 2 * self._keep:
            return
        place = (self.end - self._keep) // self.mel.hop * self.mel.hop
        self._samples = self._samples[place - self._from :].copy()
        self._from = place
        frame = -(-(place + self.mel.window // 2) // self.mel.hop)
        self._log = self._log[frame - self._first :].copy()
        self._first = frame
