"""Chat: a conversation with a model in the terminal, in words, pictures, sounds and videos.

    python -m mmjax.main --mode=chat --model=runs/vlm --images=cat.png
    python -m mmjax.main --mode=chat --model=runs/speech_lm --audio=hello.wav
    python -m mmjax.main --mode=chat --model=llava-hf/llava-1.5-7b-hf --temperature=0.7 --top_p=0.9

* A line is a turn; the answer appears word by word. `/image cat.png` puts a picture before the next
  turn, `/audio hello.wav` a sound, `/video cat.mp4` a video, `/new` begins another conversation,
  `/quit` or the end of the input ends.
* Only new tokens are read in each turn, so a long conversation stays as fast as a short one.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from mmjax.config import ConfigError
from mmjax.errors import UserError
from mmjax.generation.options import Options as Generation
from mmjax.run.chat import SLOTS, Chat
from mmjax.run.load import load
from mmjax.run.options import Execution
from mmjax.run.runtime import prepare
from mmjax.terminal import printable
from mmjax.typing import Natural, Positive

THINGS = {"/image": "picture", "/audio": "sound", "/video": "video"}  # for messages
LONGEST = 256  # tokens of an answer, where nothing is said


@dataclasses.dataclass(frozen=True)
class Options:
    model: str = ""  # a work directory, a folder, or "owner/name" of the hub
    images: tuple[str, ...] = ()  # pictures that stand before the first turn
    audio: tuple[str, ...] = ()  # sounds that stand before the first turn, behind its pictures
    video: tuple[str, ...] = ()  # videos that stand before the first turn, behind its sounds
    system: str = ""  # what the model is told first
    # tokens of an answer at most; 0: 256, or a quarter of what a small model has room for
    max_new_tokens: Natural = 0
    temperature: float = 0.0  # 0: the likeliest words; higher: more chance
    top_p: float = 1.0  # only the likeliest tokens that together have this probability are drawn
    seed: int = 0  # of the random numbers
    slots: Positive = SLOTS  # tokens of the whole conversation at most


def run(options: Options) -> None:
    """Talks until the input ends.

    Raises:
      ConfigError: no model, or one that does not talk.
    """
    if not options.model:
        raise ConfigError("--mode=chat needs a --model, such as --model=runs/vlm")
    prepare(Execution())
    loaded = load(options.model)

    room = min(options.slots, getattr(loaded.model.config, "context_length", options.slots))
    answers = Generation(
        max_new_tokens=options.max_new_tokens or min(LONGEST, room // 4),
        temperature=options.temperature,
        top_p=options.top_p,
        end_ids=tuple(getattr(loaded.processor, "end_ids", ())),
    )

    def begin() -> Chat:
        return Chat(loaded, answers, system=options.system, slots=options.slots)

    chat = begin()
    waiting = {
        "/image": [_read(path) for path in options.images],
        "/audio": [_read(path, "sound") for path in options.audio],
        "/video": [_read(path, "video") for path in options.video],
    }
    for turn, line in enumerate(_lines()):
        command, _, rest = line.partition(" ")
        try:
            if command == "/quit":
                return
            if command == "/new":
                chat = begin()
                waiting = {name: [] for name in waiting}
            elif command in waiting:
                waiting[command].append(_read(rest.strip(), THINGS[command]))
            elif line:
                images, audio, video = waiting.values()
                seed = options.seed + turn
                for piece in chat.stream(line, images, seed, audio=audio, video=video):
                    print(printable(piece, keep="\n"), end="", flush=True)
                print()
                waiting = {name: [] for name in waiting}
        except UserError as error:  # the next turn may be right
            print(error, file=sys.stderr)


def _lines() -> Iterator[str]:
    """What is typed, turn by turn; without a prompt where it comes from a pipe."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return


def _read(path: str, what: str = "picture") -> bytes:
    """Raises ConfigError for a file that is not there."""
    if not Path(path).expanduser().is_file():
        raise ConfigError(f"there is no {what} {path}")
    return Path(path).expanduser().read_bytes()
