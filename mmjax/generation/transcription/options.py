"""How sound is written down; defaults are those of the released code.

https://github.com/openai/whisper (whisper/transcribe.py)
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from mmjax.config import ConfigError
from mmjax.typing import Positive


@dataclasses.dataclass(frozen=True)
class Options:
    language: str = ""  # of what is said, "en", "fr"; "": heard from the first 30 seconds
    task: Literal["transcribe", "translate"] = "transcribe"  # translate: into English
    timestamps: bool = True  # the model says times; without: one segment for each window
    words: bool = False  # each word has a start and an end
    prompt: str = ""  # stands before the first window, as if said before: names, spellings
    # the text of a window is the prompt of the next one; without: loops end with their window
    condition: bool = True
    # a long recording is cut at quiet places, and its pieces are written down side by side; the
    # text before is no prompt then
    pieces: bool = False

    beams: Positive = 1  # texts that are followed side by side at temperature 0
    # tried one after the other, until a text is good enough; 0: the likeliest tokens
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    # a text that zlib makes this many times shorter repeats itself: the next temperature
    compression: float | None = 2.4
    # mean log-probability of a token, below which the next temperature is tried
    log_prob: float | None = -1.0
    # probability of <|nospeech|> above which a window with a low log-probability is silent
    no_speech: float | None = 0.6
    # loudest sample of a window, up to which it is silent whatever the model says: -60 dB of full
    # scale is 0.001
    silence: float = 0.0
    forget_above: float = 0.5  # temperature of a text that is no prompt for the next window
    latest_start: float | None = 1.0  # seconds: a window's first word starts by then
    suppressed: tuple[int, ...] | None = None  # tokens that never come; None: the checkpoint's
    max_new_tokens: Positive = 224  # of a window at most
    seed: int = 0  # of the random numbers above temperature 0

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise ConfigError("temperatures is empty: (0.0,) takes the likeliest tokens once")
        for one in self.temperatures:
            if one < 0:
                raise ConfigError(f"temperatures holds {one}: each is 0 or more")
        if self.no_speech is not None and not 0 <= self.no_speech <= 1:
            raise ConfigError(f"no_speech is {self.no_speech}: a probability, 0 to 1")
        if self.pieces and self.condition:
            object.__setattr__(self, "condition", False)  # pieces do not follow each other
