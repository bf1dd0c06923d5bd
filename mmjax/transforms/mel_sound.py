"""Log-mel frames -> sound: what a model hears, to be listened to.

Griffin and Lim 1984, https://ieeexplore.ieee.org/document/1164317: the phases that were thrown away
are guessed, round after round, until the frames that overlap agree. What the mel bins do not keep
is not heard.

Letters: T frames, M mel bins, F frequencies, W samples of a frame.
"""

from __future__ import annotations

import numpy as np

from mmjax.layers.mel_scale import filters
from mmjax.transforms.audio import Sound
from mmjax.transforms.mel import LogMel
from mmjax.typing import Float

ROUNDS = 24


def sound(features: Float[np.ndarray, "T M"], mel: LogMel) -> Sound:
    """The sound of frames that `mel` made, as loud as it was."""
    power = 10.0 ** (4.0 * np.asarray(features, np.float64) - 4.0)
    inverse = np.linalg.pinv(filters(mel.spectrum.bank))  # [F, M]
    strength = np.sqrt(np.maximum(power @ inverse.T, 0.0))  # [T, F]
    turns = np.random.default_rng(0).uniform(0, 2 * np.pi, strength.shape)
    samples = _overlapped(strength * np.exp(1j * turns), mel)
    for _ in range(ROUNDS):
        found = np.fft.rfft(mel.spectrum.cut(samples)[: len(strength)] * mel.spectrum.hann())
        samples = _overlapped(strength * np.exp(1j * np.angle(found)), mel)
    return Sound(samples.clip(-1, 1).astype(np.float32), mel.rate)


def _overlapped(spectrum: np.ndarray, mel: LogMel) -> np.ndarray:
    """Frames [T, F] laid over each other, as long as they follow each other."""
    hann = mel.spectrum.hann()
    frames = np.fft.irfft(spectrum, mel.window) * hann
    length = (len(frames) - 1) * mel.hop + mel.window
    samples = np.zeros(length)
    weights = np.zeros(length)
    for number, frame in enumerate(frames):
        place = slice(number * mel.hop, number * mel.hop + mel.window)
        samples[place] += frame
        weights[place] += hann**2
    middle = slice(mel.window // 2, mel.window // 2 + len(frames) * mel.hop)
    out = (samples / np.maximum(weights, 1e-3))[middle]
    # a clip of fewer samples than half a frame has no mirrored ends
    return np.pad(out, (0, max(0, mel.window // 2 + 1 - len(out))))
