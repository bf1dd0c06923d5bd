"""How long recordings are, without decoding them: what a plan needs to pad batches.

Letters: R rows.
"""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import soundfile

from mmjax.data.source import CorruptExample, Example, Source
from mmjax.transforms.audio import DecodeAudio, Sound
from mmjax.typing import Float

COLUMN = "seconds"  # of a source that knows


@dataclasses.dataclass(frozen=True)
class Lasting:
    """Lets decoded recordings pass that last as long as they may."""

    shortest: float  # seconds
    longest: float  # seconds
    rate: int  # samples per second
    field: str = "audio"  # that it looks at
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        """
        Raises:
          CorruptExample: another length.
        """
        seconds = len(example[self.field]) / self.rate
        if not self.shortest <= seconds <= self.longest:
            raise CorruptExample(
                f"{seconds:.2f} seconds of sound; from {self.shortest:g} to {self.longest:g} are "
                "taken (shortest and longest of data.processor.audio)"
            )
        return example


def durations(source: Source, field: str = "audio") -> Float[np.ndarray, " R"]:
    """Seconds of each row's sound, or of the part that is meant; 0 of one that cannot be read.

    From the column "seconds" where the source has one, else from the headers of the files.
    """
    known = source.column(COLUMN)
    if known is not None:
        return np.asarray(known, np.float64)
    out = np.zeros(len(source))
    for row in range(len(source)):
        try:
            out[row] = duration(source[row], field)
        except CorruptExample:
            continue  # the pipeline finds it again, and counts it
    return out


def duration(example: Example, field: str = "audio") -> float:
    """Seconds of one example's sound. Raises CorruptExample."""
    sound = example[field]
    seconds = 0.0
    if isinstance(sound, bytes):
        try:
            seconds = soundfile.info(io.BytesIO(sound)).duration
        except soundfile.LibsndfileError:  # another decoder may know the format
            decoder = DecodeAudio(field=field)
            return len(decoder(example)[field]) / decoder.rate
    elif isinstance(sound, Sound):
        seconds = len(sound.samples) / sound.rate
    else:
        seconds = len(sound) / DecodeAudio().rate
    end = example.get("end")
    return max(0.0, (seconds if end is None else min(end, seconds)) - example.get("start", 0.0))
