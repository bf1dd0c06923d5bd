"""Transcribe: what is said in recordings, as text or subtitles.

    python -m mmjax.main --mode=transcribe --audio=talk.mp3
    python -m mmjax.main --mode=transcribe --audio=talks,film.mp4 --words --formats=srt,json \\
        --out=subtitles
    python -m mmjax.main --mode=transcribe --audio=discours.ogg --model=whisper-base --language=fr

* A recording is whatever soundfile or PyAV opens, the sound track of a video too; a folder stands
  for all of them below it.
* A recording that cannot be read is named, and alone: the others go on, the exit status is 1.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mmjax.config import ConfigError
from mmjax.data.storage import Progress
from mmjax.datasets import prepared
from mmjax.datasets.prepared import weights
from mmjax.generation.transcription.formats import FORMATS
from mmjax.generation.transcription.options import Options as Transcription
from mmjax.generation.transcription.transcript import Transcript
from mmjax.readers import folder
from mmjax.run import heard
from mmjax.run.transcribe import DEFAULT, Transcriber
from mmjax.terminal import printable
from mmjax.transforms.audio import seconds_of
from mmjax.typing import Positive

# what is taken out of a folder; a file that is named may be called anything
ENDINGS = (
    *folder.MEDIA["audio"], *folder.MEDIA["video"],
    ".m4a", ".m4b", ".aac", ".wma", ".aif", ".aiff", ".au", ".caf", ".mka", ".oga", ".amr",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    audio: tuple[str, ...] = ()  # recordings, and folders of them
    model: str = DEFAULT  # a name, a folder, a work directory, or "owner/name" of the hub
    language: str = ""  # of what is said, "fr"; "": heard from the first 30 seconds
    task: Literal["transcribe", "translate"] = "transcribe"  # translate: into English
    words: bool = False  # each word has a start and an end
    formats: tuple[str, ...] = ("txt",)  # txt, srt, vtt, tsv, json
    out: str = ""  # folder for a file of each recording in each format; "": they are printed
    pictures: bool = False  # with --out, a .png of each: spectrogram, words, what they looked at
    prompt: str = ""  # stands before the first window, as if said before: names, spellings
    forget: bool = False  # the text of a window is no prompt for the next one
    pieces: bool = False  # a long recording is cut at quiet places, for speed; forgets too
    greedy: bool = False  # the likeliest words, even where they are doubtful or repeat themselves
    beams: Positive = 1  # texts that are followed side by side
    batch_size: Positive = 8  # windows of 30 seconds that are computed together
    seed: int = 0  # of the random numbers, where the likeliest words were no good


def run(options: Options) -> int:
    """Writes the recordings down; the exit status.

    Raises:
      ConfigError: no recording, a format or a language that is not there, a model that writes
        nothing down.
    """
    if not options.audio:
        raise ConfigError("--mode=transcribe needs --audio, such as --audio=talk.mp3")
    unknown = [name for name in options.formats if name not in FORMATS]
    if unknown or not options.formats:
        raise ConfigError(f"--formats={','.join(options.formats)}: of {', '.join(FORMATS)}")
    if options.pictures and not options.out:
        raise ConfigError("--pictures needs --out, a folder for them")
    paths, faults = found(options.audio)
    if options.model in weights.WEIGHTS and not weights.there(options.model):
        raise ConfigError(
            f"the weights {options.model} are not on this machine yet; run\n"
            f"    {prepared.COMMAND}{options.model}"
        )
    transcriber = Transcriber(options.model, _transcription(options), options.batch_size)
    names = _names(paths)
    if options.out:
        Path(options.out).expanduser().mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    total = sum(filter(None, map(seconds_of, paths)))
    with Progress("transcribing, seconds of sound", round(total)) as bar:

        def advance(more: float) -> None:
            nonlocal seconds
            seconds += more
            bar.update(round(seconds), round(max(total, seconds)))

        def fault(number: int, error: Exception) -> None:
            faults.append(f"{paths[number]}: {_reason(error)}")

        for number, transcript in transcriber.several(paths, advance, fault):
            _put(transcript, paths[number], names[number], options, len(paths) > 1)
            if options.pictures:
                sheet = heard.picture(transcriber, paths[number], transcript)
                sheet.save(Path(options.out).expanduser() / f"{names[number]}.png")
    for one in faults:
        print(printable(f"not transcribed: {one}"), file=sys.stderr)
    return 1 if faults else 0


def found(named: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Recordings of files and folders, and what is wrong with the others."""
    paths: list[Path] = []
    faults: list[str] = []
    for name in named:
        path = Path(name).expanduser()
        if path.is_dir():
            inside = sorted(one for one in folder.below(path) if one.lower().endswith(ENDINGS))
            paths += [path / one for one in inside]
            if not inside:
                faults.append(f"{name}: a folder without recordings")
        elif path.exists():
            paths.append(path)
        else:
            faults.append(f"{name}: there is no such file or folder")
    return paths, faults


def _transcription(options: Options) -> Transcription:
    return Transcription(
        language=options.language,
        task=options.task,
        words=options.words or options.pictures,
        prompt=options.prompt,
        condition=not (options.forget or options.pieces),
        pieces=options.pieces,
        temperatures=(0.0,) if options.greedy else Transcription.temperatures,
        beams=options.beams,
        seed=options.seed,
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Of the files that are written: "talk", or "talk.mp3" and "talk.mp3-2" where that is taken."""
    taken: set[str] = set()
    names = []
    for path in paths:
        tried = [path.stem, path.name, *(f"{path.name}-{i}" for i in range(2, len(paths) + 2))]
        name = next(one for one in tried if one not in taken)
        taken.add(name)
        names.append(name)
    return names


def _put(transcript: Transcript, path: Path, name: str, options: Options, several: bool) -> None:
    """Writes or prints one transcript."""
    if not options.out:
        if several:
            print(printable(f"{path}:"))
        for kind in options.formats:
            print(printable(FORMATS[kind](transcript), keep="\n\t"), end="", flush=True)
        return
    for kind in options.formats:
        target = Path(options.out).expanduser() / f"{name}.{kind}"
        target.write_text(FORMATS[kind](transcript), encoding="utf-8")
    about = f"{transcript.language}, {transcript.seconds:.1f} s"
    count = len(transcript.segments)
    parts = "1 segment" if count == 1 else f"{count} segments"
    print(printable(f"{path}: {about}, {parts}"), flush=True)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
