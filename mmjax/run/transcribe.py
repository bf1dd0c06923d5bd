"""What is said in recordings, written down.

    transcript = mmjax.transcribe("talk.mp3", "whisper-tiny.en", words=True)
    transcript.text, transcript.segments[0].start, transcript.words[0].end

    transcriber = Transcriber(mmjax.load("openai/whisper-small"), Options(language="fr"))
    for number, transcript in transcriber.several(["a.wav", "b.mp4"]): ...

* A recording is a path, the bytes of a file, a `Sound`, or samples [T] at 16 kHz.
* How it is done: generation/transcription/. Subtitles: its formats.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.source import CorruptExample
from mmjax.generation.transcription import long_form
from mmjax.generation.transcription.listener import Listener
from mmjax.generation.transcription.options import Options
from mmjax.generation.transcription.transcript import Transcript
from mmjax.processors.inference import Inference
from mmjax.processors.raw import raw
from mmjax.run import load, workdir
from mmjax.run.options import Execution
from mmjax.run.restore import restore
from mmjax.run.runtime import prepare
from mmjax.transforms.audio import DecodeAudio

LONGEST = 8 * 3600.0  # seconds of a recording at most: two gigabytes of samples
DEFAULT = "whisper-tiny.en"

Fault = Callable[[int, Exception], None]


class Transcriber:
    """A Whisper that writes recordings down.

    Args:
      model: a Whisper, loaded or restored, or what finds one: a name, a folder, a work directory,
        "owner/name" of the hub.
      batch_size: windows of 30 seconds that are computed together.

    Raises:
      ConfigError: a model that writes nothing down. And what `mmjax.load` raises.
    """

    def __init__(
        self,
        model: Inference | str | Path = DEFAULT,
        options: Options | None = None,
        batch_size: int = 8,
    ) -> None:
        if not isinstance(model, Inference):
            prepare(Execution())
            model = restore(model) if workdir.holds_run(model) else load.load(model)
        params = jax.tree.map(_computed, model.variables["params"])
        self.listener = Listener(model.model, {"params": params}, model.processor)
        self.options = options or Options()
        self.batch_size = batch_size

    def __call__(self, recording: Any) -> Transcript:
        """One recording.

        Raises:
          CorruptExample, OSError: one that cannot be used.
        """
        ((_, transcript),) = self.several([recording])
        return transcript

    def several(
        self,
        recordings: Sequence[Any],
        advance: long_form.Advance = lambda seconds: None,
        fault: Fault | None = None,
    ) -> Iterator[tuple[int, Transcript]]:
        """The transcripts of recordings, each with its number, in the order in which they are done.

        Args:
          advance: told how many seconds more are done.
          fault: told the number of a recording that cannot be used, and why; None: it raises.
        """
        numbers: list[int] = []

        def sounds() -> Iterator[np.ndarray]:
            for number, recording in enumerate(recordings):
                try:
                    samples = self.samples(recording)
                except (CorruptExample, OSError) as error:
                    if fault is None:
                        raise
                    fault(number, error)
                    continue
                numbers.append(number)
                yield samples

        found = long_form.transcribe(
            self.listener, sounds(), self.options, self.batch_size, advance
        )
        for place, transcript in found:
            yield numbers[place], transcript

    def samples(self, recording: Any) -> np.ndarray:
        """A recording at the model's rate, one channel."""
        decode = DecodeAudio(self.listener.mel.rate, longest=LONGEST)
        return decode({"audio": raw("audio", recording)})["audio"]


def transcribe(
    recording: Any, model: Inference | str | Path = DEFAULT, **options: Any
) -> Transcript:
    """One recording, written down; options: those of generation/transcription/options.py.

    A program that writes several down keeps a `Transcriber`.
    """
    return Transcriber(model, dataclasses.replace(Options(), **options))(recording)


def _computed(parameter: Any) -> Any:
    """In a type that is computed in: float16 is one of files."""
    return parameter.astype(jnp.float32) if parameter.dtype == np.float16 else parameter
