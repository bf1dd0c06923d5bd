"""Recordings of any length, written down window by window; several side by side.

    for number, transcript in transcribe(listener, recordings, Options(), batch_size=8): ...

* A window starts where the model's last complete segment ended, and is prompted with the text
  before it: section 4.5 of https://arxiv.org/abs/2212.04356, and the released code.
* Windows of different recordings are computed together. Those of one recording follow each other,
  unless it is cut into `pieces` at quiet places.
* The spectrogram is that of the whole recording: what is loud in it is loud in each window.
* Behind the end of a recording a window is filled with silence. (The released code fills it with
  zeros of the scaled spectrogram where it transcribes, which is noise; where it decodes one window,
  with silence too.)

Letters: T frames (10 ms), M mel bins, S samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmjax.generation.transcription import segments, timing
from mmjax.generation.transcription.listener import Draft, Listener, silent, too_quiet
from mmjax.generation.transcription.options import Options
from mmjax.generation.transcription.segments import FRAMES
from mmjax.generation.transcription.transcript import Segment, Transcript, Word
from mmjax.typing import Float

SEARCHED = 600  # frames at the end of a window in which a piece may end
SMOOTHED = 20  # frames over which the sound has to be quiet

Advance = Callable[[float], None]  # seconds of sound that are done


class Sound:
    """A recording and its spectrogram, in pieces that are written down by themselves.

    Args:
      number: of the recording among all.
      samples: of all of it, at the mel's rate.
    """

    def __init__(
        self, listener: Listener, number: int, samples: Float[np.ndarray, " S"], options: Options
    ) -> None:
        mel = listener.mel
        self.number = number
        self.samples = samples
        self.seconds = len(samples) / mel.rate
        # a mirrored half frame at the end has to be silence too
        padded = dataclasses.replace(mel, seconds=self.seconds + 2 * mel.window / mel.rate)
        self.features = padded.batch([samples]).features[0]
        self.silence = self.features.min()
        self.language = options.language
        self.probability = 1.0
        frames = max(1, len(samples) // mel.hop)
        edges = [0, frames]
        if options.pieces:
            edges = quiet_edges(self.features[:frames], listener.frames)
        self.pieces = [
            Piece(listener, self, start, end, options)
            for start, end in zip(edges[:-1], edges[1:], strict=True)
        ]

    @property
    def done(self) -> bool:
        """Whether all of it is written down."""
        return all(piece.done for piece in self.pieces)

    def transcript(self) -> Transcript:
        """All of it."""
        found = [segment for piece in self.pieces for segment in piece.segments]
        return Transcript(self.language, self.probability, self.seconds, tuple(found))


class Window(NamedTuple):
    """What a piece asks for next."""

    features: Float[np.ndarray, "T M"]
    frames: int  # of sound
    start: int  # frame of the recording
    before: tuple[int, ...]  # tokens of the text before it
    quiet: bool  # no sample can be heard


class Piece:
    """A recording, or a part of one, on its way: frames `start` to `end`."""

    def __init__(
        self, listener: Listener, sound: Sound, start: int, end: int, options: Options
    ) -> None:
        self.sound = sound
        self.end = end
        self.options = options
        self.segments: list[Segment] = []
        self._listener = listener
        self._seek = start
        self._spoken = 0.0  # end of the last word
        self._tokens = list(listener.spelling.encode(options.prompt) if options.prompt else ())
        self._forgotten = 0  # tokens that are no prompt any more

    @property
    def done(self) -> bool:
        """Whether all of it is written down."""
        return self._seek >= self.end

    def window(self) -> Window:
        """The next one."""
        start = self._seek
        frames = min(self._listener.frames, self.end - start)
        last = self.end == self.sound.pieces[-1].end
        # what of the silence behind a recording's end is not quite silent is heard too
        behind = start + (self._listener.frames if last else frames)
        features = self.sound.features[start:behind]
        padding = self._listener.frames - len(features)
        features = np.pad(features, [(0, padding), (0, 0)], constant_values=self.sound.silence)
        hop = self._listener.mel.hop
        samples = self.sound.samples[start * hop : (start + frames) * hop]
        before = tuple(self._tokens[self._forgotten :])
        return Window(features, frames, start, before, too_quiet(samples, self.options))

    def take(self, window: Window, draft: Draft, found: timing.Timing | None) -> float:
        """Takes what was written down of a window; the seconds that are done by it.

        Args:
          found: its words, where they are asked for.
        """
        if window.quiet or silent(draft, self.options):
            self._seek += window.frames
            return window.frames / FRAMES
        split = segments.split(draft.tokens, self._listener.decoding.first_time, window.frames)
        offset = window.start / FRAMES
        edges = [(span.start + offset, span.end + offset) for span in split.spans]
        words: list[tuple[Word, ...]] = [() for _ in edges]
        seek = window.start + split.frames
        if found is not None:
            placed = self._placed(split, edges, found, offset)
            edges = [(one.start, one.end) for one in placed]
            words = [timing.finished(one) for one in placed]
            ends = [own[-1].end for own in words if own]
            if ends:
                self._spoken = ends[-1]
            if ends and not split.complete and ends[-1] > offset:
                seek = round(ends[-1] * FRAMES)
        # a window that says nothing of its sound is not heard again
        self._seek = seek if seek > window.start else window.start + window.frames
        for span, (start, end), own in zip(split.spans, edges, words, strict=True):
            text = self._listener.spelling.text(span.tokens)
            if start == end or not text.strip():
                continue
            self._tokens += span.tokens
            about = (draft.temperature, draft.log_prob, draft.compression, draft.no_speech)
            self.segments.append(Segment(start, end, text, span.tokens, *about, own))
        if not self.options.condition or draft.temperature > self.options.forget_above:
            self._forgotten = len(self._tokens)
        return (min(self._seek, self.end) - window.start) / FRAMES

    def _placed(
        self,
        split: segments.Split,
        edges: Sequence[tuple[float, float]],
        found: timing.Timing,
        offset: float,
    ) -> list[timing.Placed]:
        end = self._listener.spelling.end
        counts = [sum(token < end for token in span.tokens) for span in split.spans]
        spans = [(count, *edge) for count, edge in zip(counts, edges, strict=True)]
        return timing.placed(found, spans, offset, self._spoken)


def transcribe(
    listener: Listener,
    recordings: Iterable[Float[np.ndarray, " S"]],
    options: Options,
    batch_size: int = 8,
    advance: Advance = lambda seconds: None,
) -> Iterator[tuple[int, Transcript]]:
    """The transcripts of recordings, each with its number, in the order in which they are done.

    Args:
      recordings: samples of one channel at the mel's rate; read when there is room.
      batch_size: windows that are computed together.
      advance: told how many seconds more are done.
    """
    waiting = enumerate(recordings)
    more = True
    sounds: list[Sound] = []
    while more or sounds:
        unfinished = [piece for sound in sounds for piece in sound.pieces if not piece.done]
        if more and len(unfinished) < batch_size:
            found = next(waiting, None)
            more = found is not None
            if found is not None:
                sounds.append(Sound(listener, *found, options))
            continue
        _step(listener, unfinished[:batch_size], options, advance)
        for sound in sounds:
            if sound.done:
                yield sound.number, sound.transcript()
        sounds = [sound for sound in sounds if not sound.done]


def _step(
    listener: Listener, pieces: Sequence[Piece], options: Options, advance: Advance
) -> None:
    """One window of each piece."""
    windows = [piece.window() for piece in pieces]
    context = listener.encode(np.stack([window.features for window in windows]))
    if not all(piece.sound.language for piece in pieces):
        # of a recording's pieces the first one is heard
        for piece, heard in zip(pieces, listener.languages(context), strict=False):
            if not piece.sound.language:
                piece.sound.language, piece.sound.probability = heard
    prompts = []
    seeds = []
    for piece, window in zip(pieces, windows, strict=True):
        prompts.append(listener.prompt(options, piece.sound.language, window.before))
        seeds.append(_seed(options.seed, piece.sound.number, window.start))
    drafts = listener.write(context, prompts, options, seeds)
    for row, (piece, window, draft) in enumerate(zip(pieces, windows, drafts, strict=True)):
        found = None
        if options.words and not window.quiet and not silent(draft, options):
            language = piece.sound.language
            found = listener.align(context, row, draft, language, options, window.frames)
        advance(piece.take(window, draft, found))


def _seed(seed: int, recording: int, start: int) -> int:
    """Of the random numbers of a window."""
    return int(np.random.SeedSequence([seed, recording, start]).generate_state(1)[0])


def quiet_edges(features: Float[np.ndarray, "T M"], longest: int) -> list[int]:
    """Frames at which a recording is cut into pieces of at most `longest`: each cut is the quietest
    place among the last frames at which the piece could end."""
    frames = len(features)
    loudness = features.mean(1, dtype=np.float64)
    kernel = np.full(SMOOTHED, 1 / SMOOTHED)
    smooth = np.convolve(np.pad(loudness, SMOOTHED // 2, mode="edge"), kernel, mode="valid")
    edges = [0]
    while frames - edges[-1] > longest:
        first = edges[-1] + max(longest - SEARCHED, longest // 2)
        behind = edges[-1] + longest
        edges.append(first + int(smooth[first:behind].argmin()))
    return [*edges, frames]
