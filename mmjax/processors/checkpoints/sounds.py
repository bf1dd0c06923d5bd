"""What prepares the inputs of a checkpoint of sounds, AST or CLAP: its clips, and its texts.

* A clip in any form (a path, bytes, samples at the checkpoint's rate, a `Sound`), of any length.
* Spectrograms: transforms/mel_ast.py, transforms/mel_clap.py, by the numbers in the folder's files.
  Of a clip that is too long the crops lie in the middle of where they may be. The reference draws
  them, and among clips none of which is longer it calls one so, at random: nothing is drawn here.
* A mask there is for fusion alone: which of the four spectrograms a clip has. AST and CLAP without
  fusion see what clips are filled up with, as they were trained to.
* Texts, and the files that `save` writes back: checkpoint.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.data.batching import Transform
from mmjax.data.source import Example
from mmjax.processors.checkpoints import checkpoint
from mmjax.processors.checkpoints.speech import EXTRACTOR, PROCESSOR, ProcessorError
from mmjax.processors.raw import raw
from mmjax.transforms.audio import DecodeAudio
from mmjax.transforms.mel_ast import AstMel
from mmjax.transforms.mel_clap import HOP, WINDOW, ClapMel

ARGUMENTS = {"text": "ids", "text_mask": "mask"}  # of the dual encoder's call
ALONE = {**ARGUMENTS, "audio_mask": "mask"}  # of a tower's


@dataclasses.dataclass(frozen=True)
class PrepareSound:
    """`audio`: a clip in any form -> float32 [N, T, M], of AST [T, M]; with fusion "audio_mask"
    [N]."""

    mel: ClapMel | AstMel
    field: ClassVar[str] = "audio"
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        decoded = DecodeAudio(self.mel.rate)(example)
        if isinstance(self.mel, ClapMel):
            return self.mel(decoded)
        frames, _ = self.mel.of(decoded["audio"])  # all are looked at
        return {**decoded, "audio": frames}


@dataclasses.dataclass(frozen=True)
class Processor(checkpoint.Processor):
    """Prepares sounds, texts or both, as a checkpoint was trained on them."""

    mel: ClapMel | AstMel | None = None  # None: it has no sounds

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """Spectrograms and ids, of those that the checkpoint takes."""
        sounds = (PrepareSound(self.mel),) if self.mel else ()
        return (*sounds, *super().evaluate)

    def __call__(self, audio: Any = None, text: str | Sequence[str] | None = None) -> dict:
        """A batch: "audio" (and its mask, of fusion), "ids" and "mask"; or by the names in
        `arguments`.

        Args:
          audio: one or several clips.
        """
        fields = {} if text is None else {"text": [text] if isinstance(text, str) else text}
        if audio is not None:
            fields["audio"] = audio if type(audio) in (list, tuple) else [audio]
        return self.inputs(fields)

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """As every processor's."""
        batch = super().__call__(text=fields.get("text")) if "text" in fields else {}
        if "audio" not in fields:
            return batch
        if self.mel is None:
            raise ProcessorError("the checkpoint's folder does not say how sounds are prepared")
        prepare = PrepareSound(self.mel)
        clips = [prepare({"audio": raw("audio", clip)}) for clip in fields["audio"]]
        for name in ("audio", "audio_mask"):
            if name in clips[0]:
                made = np.stack([clip[name] for clip in clips])
                batch[self.arguments.get(name, name)] = made
        return batch

    def show(self, arrays: Mapping[str, Any], row: int) -> dict[str, Any]:
        """The spectrogram of a row as a grey picture, low notes below, and its words."""
        shown = super().show(arrays, row)
        if "audio" in arrays:
            values = np.asarray(arrays["audio"][row])
            values = values if values.ndim == 2 else values[0]
            low, high = values.min(), max(values.max(), values.min() + 1e-6)
            grey = ((values.T[::-1] - low) / (high - low) * 255).astype(np.uint8)
            shown["audio"] = np.repeat(grey[..., None], 3, axis=2)
        return shown


def load(folder: str | Path, arguments: Mapping[str, str] = ARGUMENTS) -> Processor | None:
    """Of a folder; None where it has neither kind of file.

    Args:
      arguments: field -> name of the argument of the model's call, where it is another.

    Raises:
      ProcessorError: an extractor of another kind, or one that asks for what is not here.
    """
    folder = Path(folder)
    mel = _mel(folder)
    words = checkpoint.load(folder, arguments)
    if mel is None and words is None:
        return None
    files = {
        name: (folder / name).read_bytes()
        for name in checkpoint.KEPT
        if (folder / name).is_file()
    }
    return Processor(None, words.tokens if words else None, files, arguments, mel)


def _mel(folder: Path) -> ClapMel | AstMel | None:
    """What the extractor's file says; or a part of the processor's."""
    found: dict[str, Any] = {}
    for name in (EXTRACTOR, PROCESSOR):
        if (folder / name).is_file():
            try:
                found = json.loads((folder / name).read_text(encoding="utf-8"))
            except ValueError as error:
                raise ProcessorError(f"{folder / name} is not JSON: {error}") from error
            found = found.get("feature_extractor", found if name == EXTRACTOR else {})
        if found:
            break
    if not found:
        return None
    kind = found.get("feature_extractor_type")
    makes = {"ASTFeatureExtractor": _of_ast, "ClapFeatureExtractor": _of_clap}
    if kind not in makes:
        raise ProcessorError(
            f"{folder}: feature_extractor_type = {kind!r}; {' and '.join(makes)} are read here"
        )
    return makes[kind](found, folder)


def _of_ast(found: Mapping[str, Any], folder: Path) -> AstMel:
    scaled = found.get("do_normalize", True)
    return AstMel(
        bins=found.get("num_mel_bins", 128),
        rate=found.get("sampling_rate", 16_000),
        frames=found.get("max_length", 1_024),
        mean=found.get("mean", AstMel.mean) if scaled else 0.0,
        std=found.get("std", AstMel.std) if scaled else 0.5,
    )


def _of_clap(found: Mapping[str, Any], folder: Path) -> ClapMel:
    for name, only in (("hop_length", HOP), ("fft_window_size", WINDOW), ("top_db", None)):
        if found.get(name, only) != only:
            raise ProcessorError(f"{folder}: {name} = {found[name]}; {only} is read here")
    return ClapMel(
        truncation=found.get("truncation", "fusion"),
        filling=found.get("padding", "repeatpad"),
        bins=found.get("feature_size", 64),
        rate=found.get("sampling_rate", 48_000),
        seconds=found.get("max_length_s", 10),
        low=float(found.get("frequency_min", 0)),
        high=float(found.get("frequency_max", 14_000)),
    )
