"""Sounds and what they are called: log-mel frames of one length, and words."""

import dataclasses
from pathlib import Path

import numpy as np

from mmjax.processors import base
from mmjax.processors.base import AtLeast
from mmjax.tokenizers import bpe, words
from mmjax.transforms.audio import DecodeAudio, Sound
from mmjax.transforms.mel import LogMel
from mmjax.transforms.text import ChooseCaption, Tokenize, text_shape


@dataclasses.dataclass(frozen=True)
class Config:
    seconds: float = 0.5  # of a sound; longer ones are cut
    bins: int = 16  # of the mel scale
    max_length: int = 8  # tokens of a caption


class Processor(base.Processor):
    ragged = {"text": 2}
    arguments = {"audio": "audio", "text": "ids", "text_mask": "mask"}

    def __init__(self, config, tokenizer):
        self.config = config
        self.tokenizer = tokenizer
        self.mel = LogMel(bins=config.bins, seconds=config.seconds, truncate=True)
        self.tokenize = Tokenize(tokenizer, config.max_length)

    @property
    def train(self):
        return (DecodeAudio(), self.mel, ChooseCaption(), self.tokenize)

    @property
    def evaluate(self):
        return (DecodeAudio(), self.mel, self.tokenize)

    @property
    def sizes(self):
        return {
            "audio.bins": self.config.bins,
            "text.vocab_size": AtLeast(self.tokenizer.vocab_size),
            "text.context_length": AtLeast(self.config.max_length),
        }

    def plan(self, plan, sources):
        return dataclasses.replace(plan, shape={"text": (self.config.max_length,)})

    def shape(self, source):
        return {"text": text_shape(source, self.tokenize)}

    def show(self, arrays, row):
        """The spectrogram as a grey picture, and the words."""
        frames = np.asarray(arrays["audio"][row]).T[::-1]
        grey = ((frames - frames.min()) / max(float(np.ptp(frames)), 1e-6) * 255).astype(np.uint8)
        ids = arrays["text"][row][np.asarray(arrays["text_mask"][row])]
        return {"audio": np.repeat(grey[..., None], 3, -1), "text": self.tokenizer.decode(ids)}

    def save(self, folder):
        path = Path(folder) / "tokenizer.json"
        if not path.exists():
            self.tokenizer.save(path)


def build(config, sources, saved):
    if saved is not None and (saved / "tokenizer.json").exists():
        return Processor(config, bpe.load(saved / "tokenizer.json"))
    texts = ["a sound"]
    if sources is not None:
        texts = [text for source in sources() for text in source.column("text")]
    return Processor(config, words.train(texts, 300))


def paper(config):
    return {"audio": tone(), "text": "a sound", "label": 0, "group": 0}


def tone():
    """A WAV file of a tenth of a second."""
    import io

    import soundfile

    file = io.BytesIO()
    heard = Sound(np.sin(np.arange(1600) / 5).astype(np.float32), 16_000)
    soundfile.write(file, heard.samples, heard.rate, format="WAV")
    return file.getvalue()
