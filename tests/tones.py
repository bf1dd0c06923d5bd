"""A language of tones, and a recogniser of it that errs as real ones do: at the end of a window.

A word is a tone of 0.3 seconds and 0.1 of silence; its pitch says which word it is.
"""

import numpy as np

from mmjax.streaming.recognition import Word

RATE = 16_000
WORD = 4_800  # samples of a tone
STEP = 6_400  # from word to word
NAMES = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def pitch(word):
    return 300.0 + 100.0 * word


def speech(words):
    """Samples of words in a row, with harmonics, as a voice has them."""
    time = np.arange(WORD) / RATE
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    out = np.zeros(len(words) * STEP, np.float32)
    for place, word in enumerate(words):
        tone = sum(np.sin(2 * np.pi * k * pitch(word) * time) / k for k in (1, 2))
        out[place * STEP : place * STEP + WORD] = 0.2 * fade * tone
    return out


def talk(seed, utterances, pause=1.2):
    """Utterances of random words with pauses behind them: samples, and the words of each."""
    rng = np.random.default_rng(seed)
    said = [rng.integers(0, len(NAMES), rng.integers(2, 14)).tolist() for _ in range(utterances)]
    silence = np.zeros(round(pause * RATE), np.float32)
    sound = np.concatenate([silence[:8000], *[x for one in said for x in (speech(one), silence)]])
    return sound, [" ".join(NAMES[word] for word in one) for one in said]


class Fake:
    """Finds the tones of a window by their pitch; one that is cut off at the end is heard wrong."""

    def __init__(self):
        self.windows = []  # (start, samples) of every call
        self.prompts = []

    def __call__(self, window):
        self.windows.append((window.start, len(window.samples)))
        self.prompts.append(window.before)
        frame = 400
        count = len(window.samples) // frame
        frames = window.samples[: count * frame].reshape(count, frame)
        loud = (frames**2).mean(1) > 1e-4
        edges = np.flatnonzero(np.diff(np.r_[False, loud, False].astype(int)))
        words = []
        for begin, end in (edges.reshape(-1, 2) * frame).tolist():
            if end - begin < 3 * frame:
                continue
            power = np.abs(np.fft.rfft(window.samples[begin:end], 16_000))
            word = int(np.clip(round((power[250:1050].argmax() + 250 - 300) / 100), 0, 7))
            cut = end - begin < WORD - 2 * frame
            words.append(Word("uh" if cut else NAMES[word], begin / RATE, end / RATE))
        return words
