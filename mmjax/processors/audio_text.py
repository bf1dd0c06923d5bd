"""The processor of sounds with texts: recordings and captions -> frames and token ids, and back.

* Sound is heard as hearing.py says: log-mel frames of Whisper, of the Audio Spectrogram Transformer
  or of CLAP, or samples, each clip at its own length with `audio_mask`. Of a longer recording
  training takes a stretch at random, and evaluation the middle.
* Batches are padded to the bucket of their longest clip, and not chosen by length: the contrastive
  loss compares rows that meet by chance.
* Captions: captioned.py.

Letters: B batch, T frames or samples, M mel bins, L tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.plan import BatchPlan, Shape
from mmjax.data.source import Example, Source
from mmjax.processors import captioned, hearing
from mmjax.processors.base import AtLeast, Sources
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms import mel_sound


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(captioned.Config):
    # how recordings are heard
    audio: hearing.Config = hearing.Config(longest=10.0, shortest=0.0, long="cut", alike=0)
    drop_words: float = 0.0  # in training, probability of each word of a caption to be left out


class Processor(captioned.Processor):
    """Frames [T, M], pictures of frames [N, T, M] or samples [T], and captions."""

    arguments = {"audio": "audio", "audio_mask": "audio_mask", **captioned.Processor.arguments}

    def __init__(self, config: Config, tokenizer: Tokenizer, vocab_size: int | None = None):
        """
        Raises:
          ConfigError: batches that are chosen by length.
        """
        super().__init__(config, tokenizer, vocab_size)
        self.audio = config.audio
        self.ragged = {**captioned.Processor.ragged, **self.audio.ragged}
        if self.audio.alike:
            raise ConfigError(
                f"data.processor.audio.alike={self.audio.alike}: rows that are compared must not "
                "be chosen by length; set 0"
            )

    @property
    def train(self) -> tuple[Transform, ...]:
        return (*self.audio.train, *self.one_caption(self.config.drop_words))

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        return (*self.audio.evaluate, self.tokenize)

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Mel bins and the longest clip; ids and positions."""
        sizes = {**super().sizes}
        if self.audio.kind != "samples":
            for tower in ("audio", "audio.encoder"):
                sizes[f"{tower}.bins"] = self.audio.bins
                sizes[f"{tower}.frames"] = AtLeast(self.audio.frames)
        if self.audio.kind == "clap":
            sizes["audio.fusion"] = self.audio.fusion
        return sizes

    def lengths(self, source: Source) -> Mapping[str, np.ndarray]:
        audio = self.audio.lengths(source, train=False) if self.audio.ragged else None
        return {**super().lengths(source), **({} if audio is None else {"audio": audio})}

    def plan(self, plan: BatchPlan, sources: Sequence[Source]) -> BatchPlan:
        return self.audio.bucketed(super().plan(plan, sources), sources)

    def shape(self, source: Source) -> Shape:
        return {**super().shape(source), **self.audio.shape(source)}

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The clip as the model hears it, as a picture of its frames and to be listened to, and the
        caption that its ids spell."""
        shown = self.audio.shown(arrays, row)
        if self.audio.kind == "mel" and shown:
            clip = np.asarray(arrays["audio"][row], np.float32)
            shown["sound"] = mel_sound.sound(clip[arrays["audio_mask"][row]], self.audio.log_mel)
        return shown | super().show(arrays, row)

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> Arrays:
        """As every processor's, clips padded to the next bucket, so that a model is compiled for
        few lengths."""
        inputs = super().inputs(fields)
        if "audio_mask" not in inputs or not self.audio.ragged:
            return inputs
        length = inputs["audio_mask"].shape[1]
        room = min(edge for edge in self.audio.edges(self.audio.frames) if edge >= length) - length
        for name in ("audio", "audio_mask"):
            edges = [(0, 0), (0, room)] + [(0, 0)] * (inputs[name].ndim - 2)
            inputs[name] = np.pad(inputs[name], edges)
        return inputs

    def __call__(
        self,
        audio: Any = None,
        text: str | Sequence[str] | None = None,
        *,
        refuse_unknown: bool = True,
    ) -> Arrays:
        """A batch: "audio" float32 [B, T, M] or [B, T] and "audio_mask" bool [B, T], "ids" int32
        and "mask" bool [B, L].

        Args:
          audio: one or several of: a path, encoded bytes, a `Sound`, samples at the config's rate.
          refuse_unknown: texts of which the tokenizer knows no word; else they are empty ones.

        Raises:
          CorruptExample: a sound that cannot be read; a text without a word that is known.
        """
        return self.batch("audio", audio, text, refuse_unknown)


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """With the tokenizer that was saved, that the config names, or that is trained on the captions
    now, in this order."""
    return captioned.with_tokenizer(Processor, config, sources, saved)


def paper(config: Config) -> Example:
    """A silent clip and a caption as long as may be, for plans on paper."""
    seconds = config.audio.longest
    samples = np.zeros(round(seconds * config.audio.rate), np.float32)
    return {"audio": samples, "text": captioned.paper(config), "seconds": seconds}
