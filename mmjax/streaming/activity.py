"""Voice activity: which frames of 20 ms are speech, by loudness over the noise and by spectrum.

* Loudness is the power between 150 and 4,000 Hz. The noise is its minimum over the last seconds, in
  which every voice has paused once (Martin 2001, minimum statistics). A frame is loud some dB above
  the noise; to stay loud, fewer are needed.
* Speech begins with a frame whose spectrum is not flat: the geometric over the arithmetic mean of
  the powers is 0.56 for white noise of any loudness, far less for a voice.
* A short silence inside a word is bridged (`hang`).
* A frame depends on itself and those before: any blocks of a stream give the same as all of it.
* Replaceable: any callable (frames [F, 320]) -> bool [F], called with frame after frame.

Letters: F frames, S samples of one.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable

import numpy as np

from mmjax.typing import Bool, Float

RATE = 16_000
FRAME = 320  # samples, 20 ms

Gate = Callable[[Float[np.ndarray, "F S"]], Bool[np.ndarray, " F"]]


@dataclasses.dataclass(frozen=True)
class Config:
    above: float = 12.0  # dB over the noise from which on a frame is loud
    stay: float = 7.0  # dB over the noise that keep it loud
    least: float = -58.0  # dB of full scale below which nothing is loud
    flat: float = 0.4  # spectral flatness up to which speech may begin
    hang: float = 0.16  # seconds of silence that are bridged
    memory: float = 3.0  # seconds over which the noise is the minimum
    quiet: float = -65.0  # dB of the noise before anything is heard


class Activity:
    """The gate of one stream."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        length = round(self.config.memory * RATE / FRAME)
        self._levels = deque([self.config.quiet] * length, length)  # dB of the last frames
        self._loud = False
        self._silent = 0  # frames since the last loud one

    def __call__(self, frames: Float[np.ndarray, "F S"]) -> Bool[np.ndarray, " F"]:
        """Which of the next frames are speech."""
        level, flatness = measured(frames)
        rows = zip(level.tolist(), flatness.tolist(), strict=True)
        return np.array([self._next(*row) for row in rows], bool)

    def _next(self, level: float, flatness: float) -> bool:
        c = self.config
        seconds = FRAME / RATE
        needed = max(min(self._levels) + (c.stay if self._loud else c.above), c.least)
        if level > needed and (self._loud or flatness <= c.flat):
            self._loud = True
            self._silent = 0
        else:
            self._silent += 1
            self._loud = self._loud and self._silent * seconds <= c.hang
        self._levels.append(level)
        return self._loud


def measured(
    frames: Float[np.ndarray, "F S"],
) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
    """Loudness in dB of full scale and flatness of each frame's spectrum, 150 to 4,000 Hz."""
    window = np.hanning(frames.shape[1] + 1)[:-1]
    spectrum = np.fft.rfft(frames.astype(np.float64) * window)
    hertz = np.arange(spectrum.shape[1]) * RATE / frames.shape[1]
    power = np.abs(spectrum[:, (hertz >= 150) & (hertz <= 4000)]) ** 2 + 1e-12
    scale = 2 / (frames.shape[1] * np.sum(window**2))  # Parseval, both halves of the spectrum
    level = 10 * np.log10(power.sum(1) * scale + 1e-12)
    flatness = np.exp(np.log(power).mean(1)) / power.mean(1)
    return level, flatness
