"""From samples to mel power: what the spectrograms of Whisper, AST and CLAP have in common.

* In float64 inside: quiet frequencies beside loud ones are off by 1e-5 and more in float32.
* One Fourier transform over all frames of a clip.

Letters: T frames, M mel bins, F frequencies.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mmjax.layers.mel_scale import Bank, filters
from mmjax.typing import Float


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """How frames are cut and weighed."""

    bank: Bank
    window: int  # samples of a frame
    hop: int  # samples from frame to frame
    # frame t is centred at sample t * hop, and the ends are mirrored; False: it begins there
    centred: bool = True
    periodic: bool = True  # the Hann window's period is the frame; False: it is 0 at both ends
    level: bool = False  # the mean of each frame is taken away
    emphasis: float = 0.0  # of a sample, this share of the one before it is taken away

    def frames(self, samples: int) -> int:
        """How many frames so many samples have."""
        room = self.window // 2 * 2 if self.centred else 0
        return max(0, (samples + room - self.window) // self.hop + 1)

    def hann(self) -> np.ndarray:
        """The weights of a frame's samples."""
        period = self.window if self.periodic else self.window - 1
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / period)

    def __call__(self, samples: np.ndarray, count: int | None = None) -> Float[np.ndarray, "T M"]:
        """Power in each bin, before any logarithm; `count`: of the first so many frames."""
        return self.power(self.cut(samples)[:count])

    def cut(self, samples: np.ndarray) -> np.ndarray:
        """The samples of each frame, [T, window]; a view."""
        if self.centred:
            samples = np.pad(samples, self.window // 2, mode="reflect")
        return np.lib.stride_tricks.sliding_window_view(samples, self.window)[:: self.hop]

    def power(self, frames: np.ndarray) -> Float[np.ndarray, "T M"]:
        """Of frames that are cut already; each for itself."""
        frames = frames.astype(np.float64)
        if self.level:
            frames -= frames.mean(1, keepdims=True)
        if self.emphasis:
            before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
            frames -= self.emphasis * before
        spectrum = np.fft.rfft(frames * self.hann(), self.bank.fft)  # [T, F]
        power = spectrum.real**2 + spectrum.imag**2
        return power @ filters(self.bank).T
