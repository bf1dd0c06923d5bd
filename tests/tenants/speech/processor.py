"""Recordings and what is said in them: Whisper's frames, and letters."""

import dataclasses

import numpy as np
from tenants.sounds.processor import tone

from mmjax.processors import base
from mmjax.transforms.audio import DecodeAudio
from mmjax.transforms.mel import LogMel

LETTERS = "^$ abcdefghijklmnopqrstuvwxyz'"  # the start, the end, and what is written


@dataclasses.dataclass(frozen=True)
class Config:
    seconds: float = 8.0  # of a window
    bins: int = 16  # of the mel scale
    longest: int = 120  # letters of a text


@dataclasses.dataclass(frozen=True)
class Spell:
    longest: int
    field: str = "text"

    def __call__(self, example, rng=None):
        written = [LETTERS.index(one) for one in example["text"].lower() if one in LETTERS[2:]]
        ids = [0, *written[: self.longest - 2], 1]
        return {**example, "text": np.asarray(ids, np.int32)}


class Processor(base.Processor):
    ragged = {"text": 1}
    arguments = {"audio": "features", "text": "inputs", "text_mask": "mask"}

    def __init__(self, config):
        self.config = config
        self.mel = LogMel(bins=config.bins, seconds=config.seconds)

    @property
    def evaluate(self):
        return (DecodeAudio(), self.mel, Spell(self.config.longest))

    @property
    def sizes(self):
        return {
            "bins": self.config.bins,
            "frames": int(self.config.seconds * 100),
            "vocab_size": len(LETTERS),
            "context_length": self.config.longest,
        }

    def plan(self, plan, sources):
        return dataclasses.replace(plan, shape={"text": (self.config.longest,)})

    def shape(self, source):
        return {"text": (self.config.longest,)}

    def show(self, arrays, row):
        ids = np.asarray(arrays["text"][row])[np.asarray(arrays["text_mask"][row])]
        return {"text": "".join(LETTERS[one] for one in ids if one > 1)}


def build(config, sources, saved):
    return Processor(config)


def paper(config):
    return {"audio": tone(), "text": "a tone", "group": 0}
