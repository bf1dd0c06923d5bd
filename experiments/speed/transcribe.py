"""Whisper tiny.en over short recordings, beside `transformers` and faster-whisper.

    python -m experiments.speed.transcribe                # 400 of them: minutes
    python -m experiments.speed.transcribe --clips=0      # all 551

* The same weights, float32, full windows of 30 seconds, the likeliest token each time, no times;
  from samples to tokens, spectrograms included. `transformers` and mmjax take batches,
  faster-whisper one recording after the other with 2 threads, as it is made.
* All in one process and in turn, batch by batch: what else the machine does is shared. Each side is
  warmed up by one batch before.
* Then the encoder alone beside a product of matrices, in GFLOP/s.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed.whisper_encoder import best
from experiments.transcription.measure import Clip, clips
from mmjax.conversion import load as checkpoints
from mmjax.data.storage import Progress
from mmjax.datasets.prepared import weights
from mmjax.generation.transcription import programs
from mmjax.generation.transcription.options import Options
from mmjax.run.options import Execution
from mmjax.run.runtime import prepare
from mmjax.run.transcribe import Transcriber

NAME = "whisper-tiny.en"
GFLOP = 37.9  # of the encoder, for one window
WINDOW = 30 * 16_000  # samples

Tokens = list[list[int]]
Side = Callable[[Sequence[Clip]], Tokens]


def ours(loaded: checkpoints.Loaded, tokens: int) -> tuple[Side, Transcriber]:
    """By mmjax."""
    options = Options(language="en", temperatures=(0.0,), timestamps=False, max_new_tokens=tokens)
    transcriber = Transcriber(loaded, options)
    listener = transcriber.listener
    prompt = listener.prompt(options, "en")

    def run(given: Sequence[Clip]) -> Tokens:
        context = listener.encode(listener.mel.batch([clip.samples for clip in given]).features)
        drafts = listener.write(context, [prompt] * len(given), options)
        return [list(draft.tokens) for draft in drafts]

    return run, transcriber


def hub(loaded: checkpoints.Loaded, tokens: int) -> Side:
    """By `transformers`."""
    import torch
    import transformers

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.save(loaded, folder)
        model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
        extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    rules = loaded.processor.decoding

    def run(given: Sequence[Clip]) -> Tokens:
        sounds = [clip.samples for clip in given]
        found = extractor(sounds, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            said = model.generate(
                found.input_features, do_sample=False, num_beams=1, max_new_tokens=tokens
            )
        return [[one for one in row if one < rules.end] for row in said.tolist()]

    return run


def faster(tokens: int) -> Side:
    """By faster-whisper."""
    from faster_whisper import WhisperModel

    folder = str(weights.folder(NAME))
    model = WhisperModel(folder, device="cpu", compute_type="float32", cpu_threads=2)
    kwargs = dict(beam_size=1, temperature=0.0, language="en", without_timestamps=True)
    kwargs |= dict(max_new_tokens=tokens, condition_on_previous_text=False)
    # what it takes for silence is written down as well
    kwargs |= dict(no_speech_threshold=None, log_prob_threshold=None)

    def run(given: Sequence[Clip]) -> Tokens:
        out = []
        for clip in given:
            whole = np.pad(clip.samples, (0, WINDOW - len(clip.samples)))
            segments, _ = model.transcribe(whole, **kwargs)
            out.append([token for segment in segments for token in segment.tokens])
        return out

    return run


def compare(sides: dict[str, Side], given: Sequence[Clip], batch: int) -> None:
    """Prints the seconds of each side, and how many texts are those of mmjax."""
    seconds = dict.fromkeys(sides, 0.0)
    said: dict[str, Tokens] = {name: [] for name in sides}
    for run in sides.values():
        run(given[:batch])
    with Progress("clips", len(given)) as bar:
        for start in range(0, len(given), batch):
            part = given[start : start + batch]
            for name, run in sides.items():
                before = time.perf_counter()
                said[name] += run(part)
                seconds[name] += time.perf_counter() - before
            bar.advance(len(part))
    sound = sum(len(clip.samples) for clip in given) / 16_000
    print(f"{len(given)} recordings, {sound / 60:.1f} minutes, batches of {batch}")
    print(f"{'':16s} {'seconds':>8s} {'real-time factor':>17s} {'ratio':>6s}  the same tokens")
    for name in sides:
        same = np.mean([a == b for a, b in zip(said[name], said["mmjax"], strict=True)])
        ratio = seconds[name] / seconds["mmjax"]
        factor = seconds[name] / sound
        print(f"{name:16s} {seconds[name]:8.1f} {factor:17.3f} {ratio:6.2f}  {same:.1%}")


def encoder(transcriber: Transcriber, turns: int) -> None:
    """Prints the encoder's rate beside that of a product of matrices."""
    matrix = jnp.ones((2048, 2048))
    seconds = best(turns, jax.jit(jnp.matmul), matrix, matrix)
    rate = 2 * 2048**3 / seconds / 1e9
    print(f"\na product of two matrices of 2,048: {rate:.0f} GFLOP/s")
    listener = transcriber.listener
    for batch in (1, 8):
        features = jnp.zeros((batch, listener.frames, listener.mel.bins))
        seconds = best(turns, programs.encode, listener.model, listener.variables, features)
        mine = GFLOP * batch / seconds
        print(f"the encoder, batch {batch}: {mine:.0f} GFLOP/s, {mine / rate:.0%} of it")


def main(options: argparse.Namespace) -> None:
    """Measures and prints."""
    prepare(Execution())
    loaded = checkpoints.load(Path(weights.folder(NAME)), dtype=jnp.float32)
    given = [clip for clip in clips("asterisk", 0) if len(clip.samples) <= WINDOW]
    if options.clips:
        rows = np.random.default_rng(0).permutation(len(given))[: options.clips]
        given = [given[row] for row in rows]
    # short texts together: a batch is done with its longest
    given.sort(key=lambda clip: len(clip.samples))
    run, transcriber = ours(loaded, options.tokens)
    sides = {"mmjax": run}
    for name, make in (
        ("transformers", lambda: hub(loaded, options.tokens)),
        ("faster-whisper", lambda: faster(options.tokens)),
    ):
        try:
            sides[name] = make()
        except ImportError:
            print(f"{name} is not installed, and left out")
    compare(sides, given, options.batch)
    encoder(transcriber, options.turns)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=400, help="at most; 0: all")
    parser.add_argument("--batch", type=int, default=8, help="windows together")
    parser.add_argument("--tokens", type=int, default=200, help="new tokens at most")
    parser.add_argument("--turns", type=int, default=3, help="of the encoder; the fastest counts")
    main(parser.parse_args())
