"""What prepares the inputs of a speech checkpoint, and the numbers that its decoding goes by.

* `whisper`: log-mel frames (transforms/mel.py), the tokenizer, and `Decoding`: the prompt, the
  tokens that never come and those that never come first. From the hub's files or CTranslate2's.
* `waveform`: samples of zero mean and unit variance, padded, with a mask where the checkpoint was
  trained with one. As in the reference, a checkpoint without a mask has its padding counted into
  mean and variance.
* Numbers are those of the reference's extractors; `save` writes their files.

Letters: B batch, T samples.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mmjax.data.batching import Transform
from mmjax.errors import UserError
from mmjax.processors import base
from mmjax.processors.raw import raw
from mmjax.tokenizers import letters, pretrained
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.tokenizers.letters import Letters
from mmjax.transforms.audio import DecodeAudio
from mmjax.transforms.mel import Features, LogMel
from mmjax.transforms.samples import NormalizeAudio
from mmjax.typing import Bool, Float

TOKENIZERS = ("tokenizer.json", "vocab.json")
EXTRACTOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
GENERATION = "generation_config.json"


class ProcessorError(UserError, ValueError):
    """A processor's file that cannot be read, or asks for what is not here."""


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Which tokens Whisper starts with, and which it may not say."""

    start: int  # <|startoftranscript|>, the first token of every text
    end: int  # <|endoftext|>
    forced: tuple[int | None, ...] = ()  # behind the start; None: the model says it (the language)
    # never said: brackets, notes, other starts
    suppressed: tuple[int, ...] = dataclasses.field(default=(), repr=False)
    suppressed_first: tuple[int, ...] = ()  # not said first: a space, the end
    no_timestamps: int | None = None  # <|notimestamps|>; ids above it are times, 0.02 s apart
    # "<|en|>" -> id
    languages: Mapping[str, int] = dataclasses.field(default_factory=dict, repr=False)
    tasks: Mapping[str, int] = dataclasses.field(default_factory=dict)  # "transcribe" -> id
    longest: int = 448  # tokens of a text, prompt included
    # (layer, head) of the cross-attention that follows the sound; empty: no file names them
    alignment_heads: tuple[tuple[int, int], ...] = ()
    # the file, as it was
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    # The ids between the last language or task and the first time are in the same order everywhere.

    @property
    def first_time(self) -> int | None:
        """<|0.00|>; the next id is 0.02 seconds later, and so on."""
        return None if self.no_timestamps is None else self.no_timestamps + 1

    @property
    def no_speech(self) -> int | None:
        """<|nospeech|>, of old <|nocaptions|>."""
        return None if self.no_timestamps is None else self.no_timestamps - 1

    @property
    def previous(self) -> int | None:
        """<|startofprev|>, before the text of the window before."""
        return None if self.no_timestamps is None else self.no_timestamps - 2

    def prompt(
        self, language: str = "", task: str = "transcribe", *, timestamps: bool = False
    ) -> tuple[int | None, ...]:
        """The tokens that a text begins with; None where the model is to say the language.

        Raises:
          ValueError: a language or task that the model has no token for.
        """
        out: list[int | None] = [self.start]
        if self.languages:
            key = language if language in self.languages else f"<|{language}|>"
            if language and key not in self.languages:
                names = ", ".join(name.strip("<|>") for name in self.languages)
                raise ProcessorError(f"no language {language!r}; there are {names}")
            if task not in self.tasks:
                raise ProcessorError(f"no task {task!r}; there are {', '.join(self.tasks)}")
            out += [self.languages[key] if language else None, self.tasks[task]]
        elif language not in ("", "en") or task != "transcribe":
            raise ProcessorError(
                f"the model writes down English: it takes no language={language!r}, task={task!r}"
            )
        if not timestamps and self.no_timestamps is not None:
            out.append(self.no_timestamps)
        return tuple(out)


def decoding(settings: Mapping[str, Any]) -> Decoding:
    """What a parsed generation_config.json says (in old checkpoints: config.json)."""
    end = settings.get("eos_token_id", 50_256)
    forced = dict(settings.get("forced_decoder_ids") or ())
    missing = [place for place in range(1, 1 + max(forced, default=0)) if place not in forced]
    if missing:
        raise ProcessorError(f"forced_decoder_ids has no token at place {missing[0]}")
    return Decoding(
        start=settings.get("decoder_start_token_id", 50_257),
        end=end[0] if isinstance(end, Sequence) else end,
        forced=tuple(forced[place] for place in sorted(forced)),
        suppressed=tuple(one for one in settings.get("suppress_tokens") or () if one >= 0),
        suppressed_first=tuple(settings.get("begin_suppress_tokens") or ()),
        no_timestamps=settings.get("no_timestamps_token_id"),
        languages=settings.get("lang_to_id") or {},
        tasks=settings.get("task_to_id") or {},
        longest=settings.get("max_length") or 448,
        alignment_heads=tuple(tuple(pair) for pair in settings.get("alignment_heads") or ()),
        settings=settings,
    )


@dataclasses.dataclass(frozen=True)
class Whisper(base.Processor):
    """Sounds -> frames; `tokenizer` and `decoding` for the texts."""

    mel: LogMel
    decoding: Decoding
    tokenizer: Tokenizer | None = None  # None: the folder has no file of one
    arguments: ClassVar[Mapping[str, str]] = {"audio": "features"}

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """A recording's bytes -> log-mel frames of one window."""
        return (DecodeAudio(self.mel.rate), self.mel)

    def __call__(self, clips: Sequence[np.ndarray]) -> Features:
        """Clips [samples] of one channel at `mel.rate`, each at most `mel.seconds` long."""
        return self.mel.batch(clips)

    def save(self, folder: str | Path) -> None:
        """Writes the files that the reference reads."""
        mel = self.mel
        settings = {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "processor_class": "WhisperProcessor",
            "feature_size": mel.bins,
            "sampling_rate": mel.rate,
            "hop_length": mel.hop,
            "n_fft": mel.window,
            "chunk_length": int(mel.seconds) if mel.seconds == int(mel.seconds) else mel.seconds,
            "padding_value": 0.0,
            "padding_side": "right",
            "return_attention_mask": False,
        }
        _write(Path(folder) / EXTRACTOR, settings)
        _write(Path(folder) / GENERATION, self.decoding.settings)
        if self.tokenizer is not None:
            self.tokenizer.save(Path(folder) / "tokenizer.json")
            # without it the reference takes the file for a tokenizer of no kind
            _write(
                Path(folder) / "tokenizer_config.json", {"tokenizer_class": "WhisperTokenizerFast"}
            )


def whisper(
    folder: str | Path, *, bins: int = 80, seconds: float = 30.0, vocab_size: int = 51_865
) -> Whisper:
    """Of a checkpoint's folder.

    Args:
      bins, seconds, vocab_size: of the model; what the folder's files do not say.
    """
    folder = Path(folder)
    found = _extractor(folder, "WhisperFeatureExtractor")
    for name in ("padding_value", "dither"):
        if found.get(name, 0.0) != 0.0:
            raise ProcessorError(f"{folder}: {name} = {found[name]} is not supported; 0 is")
    mel = LogMel(
        bins=found.get("feature_size", bins),
        rate=found.get("sampling_rate", 16_000),
        window=found.get("n_fft", 400),
        hop=found.get("hop_length", 160),
        seconds=float(found.get("chunk_length", seconds)),
    )
    held = any((folder / name).exists() for name in TOKENIZERS)
    tokenizer = pretrained.load(folder) if held else None
    config = _read(folder / "config.json")
    settings = _read(folder / GENERATION)
    if not settings:
        settings = _settings(config, tokenizer, vocab_size)
    return Whisper(mel, decoding(settings), tokenizer)


def _settings(
    config: Mapping[str, Any], tokenizer: Tokenizer | None, vocab_size: int
) -> dict[str, Any]:
    """A generation_config.json from config.json, the hub's or CTranslate2's, and the tokenizer."""
    names = {"suppress_ids": "suppress_tokens", "suppress_ids_begin": "begin_suppress_tokens"}
    end = 50_257 if vocab_size >= 51_865 else 50_256  # the multilingual vocabulary, or the English
    if tokenizer is not None:
        end = dict(tokenizer.special).get("<|endoftext|>", end)
    out = {"eos_token_id": end, "decoder_start_token_id": end + 1, "max_length": 448}
    out = {key: config.get(key, value) for key, value in out.items()}
    for key in (*names, *names.values(), "forced_decoder_ids", "alignment_heads"):
        if config.get(key) is not None:
            out[names.get(key, key)] = config[key]
    if tokenizer is None:
        return out
    # the English tokenizer has names for languages and tasks as well, which the model never learned
    special = dict(tokenizer.special)
    multilingual = special.get("<|endoftext|>") == 50_257
    out["is_multilingual"] = multilingual
    out["no_timestamps_token_id"] = special.get("<|notimestamps|>")
    out["prev_sot_token_id"] = special.get("<|startofprev|>")
    if multilingual:
        # the ids of languages lie between these two
        first = special["<|startoftranscript|>"]
        last = special["<|translate|>"]
        out["lang_to_id"] = {name: one for name, one in special.items() if first < one < last}
        out["task_to_id"] = {name: special[f"<|{name}|>"] for name in ("transcribe", "translate")}
    return out


class Samples(NamedTuple):
    """A batch of recordings, padded to the longest."""

    samples: Float[np.ndarray, "B T"]
    mask: Bool[np.ndarray, "B T"] | None  # True: sound; None: the checkpoint takes no mask


@dataclasses.dataclass(frozen=True)
class Waveform(base.Processor):
    """Sounds -> samples of zero mean and unit variance; `tokenizer` for the letters of CTC."""

    rate: int = 16_000  # samples per second
    normalize: bool = True  # to zero mean and unit variance
    mask: bool = False  # whether the model is told what is padding
    padding: float = 0.0  # value of the samples behind a shorter recording
    tokenizer: Letters | None = None  # None: the folder has none
    ragged: ClassVar[Mapping[str, int]] = {"audio": 1}
    arguments: ClassVar[Mapping[str, str]] = {"audio": "samples", "audio_mask": "mask"}

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """A recording's bytes -> samples, each normalised by itself."""
        scale = (NormalizeAudio(),) if self.normalize else ()
        return (DecodeAudio(self.rate), *scale)

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """As every processor's: sounds in any form, normalised as a batch."""
        decode = DecodeAudio(self.rate)
        clips = [decode({"audio": raw("audio", clip)})["audio"] for clip in fields["audio"]]
        prepared = self(clips)
        if prepared.mask is None:
            return {"samples": prepared.samples}
        return prepared._asdict()

    def __call__(self, clips: Sequence[np.ndarray]) -> Samples:
        """Clips [samples] of one channel at `rate`, of any lengths.

        Raises:
          ValueError: more channels than one, or no samples.
        """
        clips = [np.asarray(clip, np.float32) for clip in clips]
        for clip in clips:
            if clip.ndim != 1 or not len(clip):
                raise ValueError(f"a clip is [samples] of one channel, not {list(clip.shape)}")
        lengths = np.array([len(clip) for clip in clips])
        out = np.full((len(clips), lengths.max()), self.padding, np.float32)
        for clip, row in zip(clips, out, strict=True):
            row[: len(clip)] = clip
            if self.normalize:
                counted = row[: len(clip)] if self.mask else row
                counted[:] = (counted - counted.mean()) / np.sqrt(counted.var() + 1e-7)
        return Samples(out, np.arange(out.shape[1]) < lengths[:, None] if self.mask else None)

    def save(self, folder: str | Path) -> None:
        """Writes the files that the reference reads."""
        settings = {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "sampling_rate": self.rate,
            "do_normalize": self.normalize,
            "return_attention_mask": self.mask,
            "padding_value": self.padding,
            "padding_side": "right",
        }
        _write(Path(folder) / EXTRACTOR, settings)
        if self.tokenizer is not None:
            self.tokenizer.save(folder)


def waveform(folder: str | Path, *, mask: bool = False) -> Waveform:
    """The processor of a checkpoint's folder.

    Args:
      mask: whether padding is masked, where the files do not say.
    """
    folder = Path(folder)
    found = _extractor(folder, "Wav2Vec2FeatureExtractor")
    return Waveform(
        rate=found.get("sampling_rate", 16_000),
        normalize=found.get("do_normalize", True),
        mask=found.get("return_attention_mask", mask),
        padding=found.get("padding_value", 0.0),
        tokenizer=letters.load(folder) if (folder / "vocab.json").exists() else None,
    )


def _extractor(folder: Path, kind: str) -> Mapping[str, Any]:
    """The extractor's settings: a file of their own, or a part of the processor's."""
    found = _read(folder / EXTRACTOR) or _read(folder / PROCESSOR).get("feature_extractor", {})
    given = found.get("feature_extractor_type", kind)
    if given != kind:
        raise ProcessorError(f"{folder}: feature_extractor_type = {given!r}; {kind!r} is read here")
    if found.get("padding_side", "right") != "right":
        raise ProcessorError(f"{folder}: padding_side = {found['padding_side']!r}; 'right' is read")
    return found


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProcessorError(f"{path} is not JSON: {error}") from error


def _write(path: Path, settings: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
