"""Listen: live sound to words as they are spoken, utterances, and replies.

    python -m mmjax.main --mode=listen --model=whisper-tiny.en                # the microphone
    python -m mmjax.main --mode=listen --source=talk.wav --speed=1 --out=talk.jsonl
    ffmpeg -i talk.mp4 -f s16le -ar 16000 -ac 1 - | mmjax listen --source=- --reply=runs/chat

* Confirmed words never change, and are printed as they are confirmed; in a terminal, what is heard
  but not confirmed stands behind them in grey. An utterance is a line.
* --out gets a line of JSON for each utterance: text, start, end (seconds), its words with theirs,
  and the reply.
* The microphone needs sounddevice: pip install 'mmjax[microphone]'.
* A source that does not wait (the microphone, a file at its own speed) is buffered; where the
  recogniser is too slow, several hops are heard at once, and a note says so.
"""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mmjax.config import ConfigError
from mmjax.run.chat import Chat
from mmjax.run.listening import by_chat, recogniser
from mmjax.run.load import load
from mmjax.run.options import Execution
from mmjax.run.runtime import prepare
from mmjax.streaming import sources
from mmjax.streaming.activity import RATE
from mmjax.streaming.blocks import Chunk
from mmjax.streaming.conversation import TURNS, Conversation, Turn
from mmjax.streaming.endpoint import Config as Endpoint
from mmjax.streaming.events import Behind, Event, Lost, Utterance
from mmjax.streaming.listener import Config, Listener
from mmjax.streaming.live import BUFFER, live
from mmjax.streaming.microphone import microphone
from mmjax.streaming.recognition import Window
from mmjax.streaming.screen import Screen
from mmjax.terminal import printable
from mmjax.typing import Positive

MICROPHONE = "microphone"


@dataclasses.dataclass(frozen=True)
class Options:
    # a Whisper, or a wav2vec 2.0 with letters: a work directory, a folder, a name, "owner/name"
    model: str = "whisper-tiny.en"
    source: str = MICROPHONE  # "microphone", a sound file, or "-": a WAV or bare samples piped in
    device: str = ""  # the microphone's number or a part of its name; "": the system's choice
    speed: float = 0.0  # of a file: 1 plays it at its own pace; 0: as fast as it can be heard
    rate: Positive = 16_000  # samples per second of bare samples piped in, 16 bits little-endian
    channels: Positive = 1  # of bare samples piped in
    out: str = ""  # a file that gets a line of JSON for each utterance; "": none
    language: str = ""  # that is spoken, "en", "fr"; "": each window's likeliest
    hop: float = Config.hop  # seconds from one look to the next
    window: float = Config.window  # seconds that are recognised at a time at most
    context: float = Config.context  # seconds of earlier utterances that are heard again
    pause: float = Endpoint.pause  # seconds without speech that end an utterance
    buffer: float = BUFFER  # seconds that may wait for the recogniser
    reply: str = ""  # a language model that answers each utterance, as --model names one; "": none
    system: str = ""  # what the language model is told first
    turns: Positive = TURNS  # turns of the conversation that it is told at most


def run(options: Options) -> None:
    """Listens until the source ends, or Ctrl-C.

    Raises:
      ConfigError: a model that hears no words, or options that cannot be.
      SourceError: a source that cannot be heard.
    """
    prepare(Execution())
    config = _config(options)
    chunks = source(options)
    hear = recogniser(load(options.model), options.language)
    # compiled now, in no hurry: a source that does not wait would lose its first seconds
    hear(Window(np.random.default_rng(0).normal(0, 0.05, 2 * RATE).astype(np.float32), 0))
    listener = Listener(hear, config)
    conversation = Conversation(_reply(options), options.turns)
    waits = options.source != MICROPHONE and not options.speed
    events = _patient(chunks, listener) if waits else live(chunks, listener, options.buffer)
    screen = Screen(sys.stdout)
    out = open(options.out, "w", encoding="utf-8") if options.out else None
    try:
        for event in events:
            tell(event, screen, conversation, out)
    except KeyboardInterrupt:
        for event in listener.close():
            tell(event, screen, conversation, out)
    finally:
        screen.end()
        if out is not None:
            out.close()


def source(options: Options) -> Iterator[Chunk]:
    """The sound that is listened to."""
    if options.source == MICROPHONE:
        device = options.device
        return microphone(int(device) if device.isdigit() else device or None)
    if options.source == "-":
        bare = sources.Format(options.rate, options.channels)
        return sources.pipe(sys.stdin.buffer, bare)
    chunks = sources.file(options.source)
    return sources.paced(chunks, options.speed) if options.speed else chunks


def tell(
    event: Event, screen: Screen, conversation: Conversation, out: io.TextIOBase | None
) -> None:
    """Shows an event, answers an utterance, and keeps it."""
    if isinstance(event, Lost):
        screen.note(f"{event.start:.1f} s: {event.why}")
        return
    if isinstance(event, Behind):
        screen.note(
            f"slower than the sound: {event.seconds:.0f} seconds are heard at once, and words "
            "come later"
        )
        return
    screen.show(event)
    if not isinstance(event, Utterance):
        return
    answer = conversation.hear(event)
    if answer is not None:
        screen.line(f"> {printable(answer.text)}")
    if out is not None:
        out.write(json.dumps(_row(event, answer), ensure_ascii=False) + "\n")
        out.flush()


def _row(utterance: Utterance, answer: Turn | None) -> dict[str, Any]:
    words = [[word.text, round(word.start, 2), round(word.end, 2)] for word in utterance.words]
    row = {
        "text": utterance.text,
        "start": round(utterance.start, 2),
        "end": round(utterance.end, 2),
        "words": words,
    }
    return row if answer is None else {**row, "reply": answer.text}


def _config(options: Options) -> Config:
    if options.speed < 0 or options.buffer < options.hop:
        raise ConfigError(
            f"speed={options.speed:g} is 0 or more, and buffer={options.buffer:g} seconds at least "
            f"a hop of {options.hop:g}"
        )
    endpoint = dataclasses.replace(Endpoint(), pause=options.pause)
    try:
        return Config(
            hop=options.hop, window=options.window, context=options.context, endpoint=endpoint
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _reply(options: Options) -> Any:
    return by_chat(Chat(load(options.reply)), options.system) if options.reply else None


def _patient(chunks: Iterable[Chunk], listener: Listener) -> Iterator[Event]:
    for chunk in chunks:
        yield from listener.push(chunk)
    yield from listener.close()
