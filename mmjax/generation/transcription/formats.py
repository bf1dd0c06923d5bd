"""Transcripts as files: txt, srt, vtt, tsv, json.

* A format is a function of this file's FORMATS, transcript -> text.
* Where words have times, subtitles are of a few words each: a line is broken where it would be too
  long, or at a pause; without, a subtitle is a segment.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping

from mmjax.generation.transcription.transcript import Segment, Transcript, Word

LETTERS = 84  # of a subtitle with words that have times: two lines of 42, as broadcasters write
PAUSE = 3.0  # seconds of silence that end a subtitle


def txt(transcript: Transcript) -> str:
    """A line for each segment."""
    return "".join(f"{segment.text.strip()}\n" for segment in transcript.segments)


def srt(transcript: Transcript) -> str:
    """SubRip: numbered subtitles."""
    blocks = []
    for number, (start, end, text) in enumerate(_subtitles(transcript), 1):
        times = f"{_clock(start, ',')} --> {_clock(end, ',')}"
        blocks.append(f"{number}\n{times}\n{text.replace('-->', '->')}\n\n")
    return "".join(blocks)


def vtt(transcript: Transcript) -> str:
    """WebVTT, https://www.w3.org/TR/webvtt1/"""
    blocks = ["WEBVTT\n\n"]
    for start, end, text in _subtitles(transcript):
        for letter, name in {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.items():
            text = text.replace(letter, name)
        blocks.append(f"{_clock(start, '.')} --> {_clock(end, '.')}\n{text}\n\n")
    return "".join(blocks)


def tsv(transcript: Transcript) -> str:
    """Start, end (milliseconds) and text of each segment, with tabs between."""
    lines = ["start\tend\ttext\n"]
    for segment in transcript.segments:
        text = " ".join(segment.text.split())
        lines.append(f"{_milliseconds(segment.start)}\t{_milliseconds(segment.end)}\t{text}\n")
    return "".join(lines)


def to_json(transcript: Transcript) -> str:
    """Everything, words and numbers included."""
    found = dataclasses.asdict(transcript)
    for segment in found["segments"]:
        if not segment["words"]:
            del segment["words"]
    return json.dumps({"text": transcript.text, **found}, ensure_ascii=False, indent=1) + "\n"


FORMATS: Mapping[str, Callable[[Transcript], str]] = {
    "txt": txt, "srt": srt, "vtt": vtt, "tsv": tsv, "json": to_json,
}  # fmt: skip


def _subtitles(transcript: Transcript) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of each."""
    for segment in transcript.segments:
        if not segment.words:
            yield segment.start, segment.end, segment.text.strip()
            continue
        for words in _parts(segment):
            yield words[0].start, words[-1].end, "".join(word.text for word in words).strip()


def _parts(segment: Segment) -> Iterator[list[Word]]:
    part: list[Word] = []
    for word in segment.words:
        length = sum(len(one.text) for one in part) + len(word.text)
        if part and (length > LETTERS or word.start - part[-1].end > PAUSE):
            yield part
            part = []
        part.append(word)
    yield part


def _milliseconds(seconds: float) -> int:
    return max(0, round(1000 * seconds))


def _clock(seconds: float, point: str) -> str:
    """3661.5 -> 01:01:01,500."""
    whole, thousandths = divmod(_milliseconds(seconds), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}{point}{thousandths:03d}"
