"""What Whisper writes down where nobody speaks, and what it thinks of real speech.

    python -m experiments.transcription.silence

* Zeros, white noise of several loudnesses, a hum, clicks, and Asterisk's shortest clips; each with
  the probability of <|nospeech|>, the mean log-probability, and the text.
"""

from __future__ import annotations

import argparse

import numpy as np

from experiments.transcription.measure import clips
from mmjax.generation.transcription.listener import silent
from mmjax.generation.transcription.options import Options
from mmjax.run.transcribe import Transcriber


def sounds(seconds: float) -> dict[str, np.ndarray]:
    """Where nobody speaks."""
    rng = np.random.default_rng(0)
    count = round(16_000 * seconds)
    time = np.arange(count) / 16_000
    found = {"zeros": np.zeros(count)}
    for level in (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2):
        found[f"white noise, {level:g}"] = level * rng.normal(size=count)
    found["a hum of 50 Hz"] = 0.05 * np.sin(2 * np.pi * 50 * time)
    clicks = np.zeros(count)
    clicks[:: 16_000 // 2] = 0.5
    found["two clicks a second"] = clicks
    return {name: sound.astype(np.float32) for name, sound in found.items()}


def main(options: argparse.Namespace) -> None:
    """Prints a line for each."""
    transcriber = Transcriber("whisper-tiny.en", Options(temperatures=(0.0,), silence=-1.0))
    listener = transcriber.listener
    given = sounds(options.seconds)
    given["zeros of 0.05 seconds"] = np.zeros(800, np.float32)
    short = sorted(clips("asterisk", 0), key=lambda clip: len(clip.samples))[: options.clips]
    for clip in short:
        given[f"{clip.name}: {clip.text}"] = clip.samples
    print(f"{'no speech':>9s} {'log-prob':>8s}  silent")
    for start in range(0, len(given), 8):
        names = list(given)[start : start + 8]
        features = listener.mel.batch([given[name] for name in names]).features
        context = listener.encode(features)
        prompts = [listener.prompt(transcriber.options, "en")] * len(names)
        drafts = listener.write(context, prompts, transcriber.options)
        for name, draft in zip(names, drafts, strict=True):
            quiet = silent(draft, transcriber.options)
            numbers = f"{draft.no_speech:9.3f} {draft.log_prob:8.2f}  {str(quiet):6s}"
            print(f"{numbers}  {name!r} -> {draft.text!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of what is no speech")
    parser.add_argument("--clips", type=int, default=54, help="of Asterisk's shortest")
    main(parser.parse_args())
