"""The processor of models that write down what is said (Whisper): recordings and texts.

* A recording is one window of log-mel frames, as the checkpoint has them; a longer one is refused
  in training, where its text would belong to all of it.
* Tokenizer, frames and rules of decoding are those of a Whisper that is trained on, or a tokenizer
  is trained on the texts, for a Whisper from scratch.

Letters: T frames, M mel bins, L tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.plan import BatchPlan, Bucketed, Shape, buckets
from mmjax.data.source import Example, Source
from mmjax.datasets.prepared import weights
from mmjax.processors import base
from mmjax.processors.base import AtLeast, Sources
from mmjax.processors.checkpoints import speech
from mmjax.processors.packed import ids_of
from mmjax.tokenizers import bpe
from mmjax.transforms import augment_audio
from mmjax.transforms.mel import LogMel, picture
from mmjax.transforms.text import all_captions, column_of_captions
from mmjax.transforms.transcript import EncodeTranscript
from mmjax.typing import Positive

END = "<|endoftext|>"
START = "<|startoftranscript|>"
PLAIN = "<|notimestamps|>"
SPECIALS = (END, START, PLAIN)


@dataclasses.dataclass(frozen=True)
class Config:
    # whose tokenizer, frames and rules are taken: prepared weights ("whisper-tiny.en") or the
    # folder of a Whisper; "": frames as below, and a tokenizer trained on the texts
    checkpoint: str = ""
    language: str = ""  # that is spoken ("fr"), where the checkpoint knows several; "": English
    max_length: Positive = 96  # L: tokens of a text at most, prompt and end included
    seconds: float = 30.0  # of a window, where no checkpoint says it
    bins: Positive = 80  # M, where no checkpoint says it
    vocab_size: Positive = 2048  # entries of a trained tokenizer at most
    augmentation: augment_audio.Config = augment_audio.Config()  # of training recordings


class Processor(base.Processor):
    """Frames [T, M] and token ids [L]."""

    ragged: ClassVar[Mapping[str, int]] = {
        "text": 1, "text_weight": 1, "answered": 1, "answered_weight": 1
    }  # fmt: skip
    arguments: ClassVar[Mapping[str, str]] = {
        "audio": "features", "text": "inputs", "text_mask": "mask"
    }  # fmt: skip

    def __init__(self, config: Config, whisper: speech.Whisper, vocab_size: int | None = None):
        self.config = config
        self.whisper = whisper
        self.vocab_size = vocab_size or whisper.tokenizer.vocab_size
        language = config.language or ("en" if whisper.decoding.languages else "")
        self.prompt = whisper.decoding.prompt(language)

    def _encode(self, learned: bool) -> EncodeTranscript:
        whisper = self.whisper
        length = self.config.max_length
        return EncodeTranscript(
            whisper.tokenizer, self.prompt, whisper.decoding.end, length, learned
        )

    @property
    def train(self) -> tuple[Transform, ...]:
        decode, mel = self.whisper.evaluate
        augmentation = self.config.augmentation
        of_samples, of_frames = augment_audio.transforms(augmentation, self.whisper.mel.rate)
        return (decode, *of_samples, mel, *of_frames, self._encode(learned=True))

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        return (*self.whisper.evaluate, self._encode(learned=False))

    @property
    def sizes(self) -> Mapping[str, Any]:
        rules = self.whisper.decoding
        mel = self.whisper.mel
        return {
            "bins": mel.bins,
            "frames": AtLeast(round(mel.seconds * mel.rate) // mel.hop),
            "vocab_size": AtLeast(self.vocab_size),
            "context_length": AtLeast(self.config.max_length),
            "decoder_start_id": rules.start,
            "end_ids": (rules.end,),
            "generate.end_ids": (rules.end,),
            "generate.padding_id": rules.end,
            "generate.suppressed": rules.suppressed,
            "generate.suppressed_first": rules.suppressed_first,
        }

    def lengths(self, source: Source) -> Mapping[str, np.ndarray]:
        encode = self._encode(learned=True)
        most = self.config.max_length
        rows = [
            len(self.prompt) + 1 + max((len(encode.words(text)) for text in found), default=0)
            for found in column_of_captions(source)
        ]
        return {"text": np.minimum(np.asarray(rows, np.int32), most)}  # a longer one is refused

    def plan(self, plan: BatchPlan, sources: Sequence[Source]) -> BatchPlan:
        lengths = [self.lengths(source)["text"] for source in sources]
        longest = max(int(rows.max()) for rows in lengths)
        return Bucketed(plan, lengths, tuple(buckets(longest, most=4)), also=("text_weight",))

    def shape(self, source: Source) -> Shape:
        prompt = (len(self.prompt),)
        whole = (self.config.max_length,)
        return {
            "text": prompt, "text_weight": prompt, "answered": whole, "answered_weight": whole
        }  # fmt: skip

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The token that ends a text."""
        return (self.whisper.decoding.end,)

    def decode(self, ids: Any) -> str:
        """The words of ids [L]; special tokens leave no trace."""
        return self.whisper.tokenizer.decode(ids)

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The spectrogram, grey, and the words."""
        shown: dict[str, Any] = {}
        if "audio" in arrays:
            shown["audio"] = picture(np.asarray(arrays["audio"][row]))
        if "text" in arrays:
            shown["text"] = self.decode(ids_of(arrays, row))
        return shown

    def save(self, folder: Path) -> None:
        """Writes what the reference reads as well, unless it is there."""
        if not (Path(folder) / "tokenizer.json").exists():
            self.whisper.save(folder)


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor as it was saved, of the checkpoint that the config names, or with a tokenizer
    trained on the texts, in this order.

    Raises:
      PackageError: prepared weights that cannot be fetched.
      ProcessorError: a checkpoint without a tokenizer, or one that is no Whisper's.
    """
    if saved is not None and (saved / "tokenizer.json").exists():
        return Processor(config, _of(config, saved))
    if config.checkpoint:
        folder = config.checkpoint
        if folder in weights.WEIGHTS:
            folder = weights.folder(folder)
        return Processor(config, _of(config, Path(folder)))
    mel = LogMel(bins=config.bins, seconds=config.seconds)
    texts = ["what is said"] if sources is None else all_captions(list(sources()))
    tokenizer = bpe.train(texts, config.vocab_size, specials=SPECIALS, lowercase=False)
    rules = {
        "eos_token_id": tokenizer.special[END],
        "decoder_start_token_id": tokenizer.special[START],
        "no_timestamps_token_id": tokenizer.special[PLAIN],
        "max_length": config.max_length,
    }
    whisper = speech.Whisper(mel, speech.decoding(rules), tokenizer)
    return Processor(config, whisper, config.vocab_size if sources is None else None)


def _of(config: Config, folder: Path) -> speech.Whisper:
    """What the files of a Whisper say."""
    found = speech.whisper(folder, bins=config.bins, seconds=config.seconds)
    if found.tokenizer is None:
        raise speech.ProcessorError(
            f"{folder} has no tokenizer: {' or '.join(speech.TOKENIZERS)} is needed"
        )
    return found


def paper(config: Config) -> Example:
    """A second of silence and what is said in it, for plans on paper."""
    return {"audio": np.zeros(16_000, np.float32), "text": "what is said", "group": 0}
