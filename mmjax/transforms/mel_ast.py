"""Spectrograms of the Audio Spectrogram Transformer (https://arxiv.org/abs/2104.01778), in numpy.

* Kaldi's filter banks: frames of 25 ms every 10 ms without mirrored ends, each freed of its mean
  and emphasised, a Hann window that is 0 at both ends, triangles in mel from 20 Hz, natural
  logarithm, no dither.
* 1,024 frames: longer clips are cut, shorter ones filled up. Then AudioSet's mean is taken away and
  what is left divided by twice its standard deviation, as the released code has it; so are the
  frames that were filled up.
* The numbers are those of the extractor of `transformers` where torchaudio is not installed.

Letters: T frames, M mel bins.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mmjax.data.source import CorruptExample, Example
from mmjax.layers.mel_scale import Bank
from mmjax.layers.spectrum import Spectrum
from mmjax.typing import Bool, Float

LOWEST_POWER = np.finfo(np.float32).eps  # Kaldi's floor


@dataclasses.dataclass(frozen=True)
class AstMel:
    """float32 [samples] -> float32 [T, M], and `<field>_mask` [T]: which frames are sound."""

    bins: int = 128  # M
    rate: int = 16_000  # samples per second
    frames: int | None = 1_024  # T; None: as many as the clip has
    mean: float = -4.2677393  # of AudioSet's log-mel frames
    std: float = 4.5689974
    field: str = "audio"  # that it works on
    deterministic = True

    @property
    def spectrum(self) -> Spectrum:
        """Its frames and filters: 25 ms in a Fourier transform of the next power of two."""
        window = round(self.rate * 0.025)
        fft = 1 << (window - 1).bit_length()
        bank = Bank(self.bins, fft, self.rate, 20.0, self.rate / 2, "kaldi")
        hop = round(self.rate * 0.01)
        return Spectrum(bank, window, hop, centred=False, periodic=False, level=True, emphasis=0.97)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        features, mask = self.of(example[self.field])
        return {**example, self.field: features, f"{self.field}_mask": mask}

    def of(self, samples: np.ndarray) -> tuple[Float[np.ndarray, "T M"], Bool[np.ndarray, " T"]]:
        """Of one clip, [samples] of one channel.

        Raises:
          CorruptExample: too short for one frame.
        """
        spectrum = self.spectrum
        count = spectrum.frames(len(samples))
        count = count if self.frames is None else min(self.frames, count)
        if not count:
            raise CorruptExample(
                f"{len(samples) / self.rate:.4f} seconds of sound ({len(samples)} samples); one "
                f"frame is {spectrum.window}"
            )
        out = np.zeros((self.frames or count, self.bins), np.float32)
        mel = spectrum(np.asarray(samples, np.float32), count)
        out[:count] = np.log(np.maximum(mel, LOWEST_POWER))
        out -= np.float32(self.mean)
        out /= np.float32(2 * self.std)
        return out, np.arange(len(out)) < count
