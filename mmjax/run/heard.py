"""What a Whisper heard, as a picture: the words on the spectrogram, and where they were looked for.

picture(Transcriber("whisper-tiny.en"), "talk.mp3").save("talk.png")  # a notebook shows it
"""

from __future__ import annotations

import dataclasses
from typing import Any

from PIL import Image

from mmjax.evaluation.drawing import speech_sheet
from mmjax.evaluation.drawing.speech_sheet import Attention, Spoken
from mmjax.generation.transcription.transcript import Transcript
from mmjax.run.transcribe import Transcriber


def picture(
    transcriber: Transcriber,
    recording: Any,
    transcript: Transcript | None = None,
    *,
    attention: bool = True,
) -> Image.Image:
    """The sheet of a recording.

    Args:
      transcript: of it, with words; None: it is written down first.
      attention: what the tokens of its first 30 seconds looked at, below.

    Raises:
      CorruptExample, OSError: a recording that cannot be used.
    """
    listener = transcriber.listener
    samples = transcriber.samples(recording)
    options = dataclasses.replace(transcriber.options, words=True)
    found = transcript or transcriber.with_options(options)(samples)
    whole = dataclasses.replace(listener.mel, seconds=max(0.03, len(samples) / listener.mel.rate))
    spectrogram = whole.batch([samples]).features[0]
    words = [Spoken(word.text, word.start, word.end) for word in found.words]
    looked = None
    window = listener.frames / 100
    text = [token for segment in found.segments if segment.end <= window
            for token in segment.tokens if token < listener.decoding.end]  # fmt: skip
    if attention and text:
        part = samples[: round(window * listener.mel.rate)]
        context = listener.encode(listener.mel.batch([part]).features)
        frames = max(1, len(part) // listener.mel.hop)
        aligned = listener.attention(context, 0, text, found.language, frames)
        names = [listener.spelling.text([token]) for token in text]
        looked = Attention(names, aligned.weights, aligned.times)
    title = f"{found.text[:120]}" or "no speech"
    return speech_sheet.draw(spectrogram, words, title, looked)
