"""Messages made of parts: what they say as one text, with what stands between words.

    {"role": "user", "content": [{"type": "audio", "audio": "a.wav"},
                                 {"type": "text", "text": "What is said?"}]}

* A part that is no text leaves its token in the text ("<image>", "<audio>", "<video>"), and what it
  holds (a path, bytes, an array) goes to the example's list of its kind, in order.
* Content that is a text already stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmjax.data.source import CorruptExample


class Kind(NamedTuple):
    """What may stand between words."""

    field: str  # of an example, and the type of a part: "image"
    token: str  # in a text
    things: str  # for messages: "pictures"
    keys: tuple[str, ...]  # of a part that hold it


IMAGES = Kind("image", "<image>", "pictures", ("image", "path"))
CLIPS = Kind("audio", "<audio>", "clips", ("audio", "audio_url", "path"))
VIDEOS = Kind("video", "<video>", "videos", ("video", "video_url", "path"))
KINDS = {kind.field: kind for kind in (IMAGES, CLIPS, VIDEOS)}


def in_parts(turns: Any) -> bool:
    """Whether a message of a conversation has parts."""
    if not isinstance(turns, list | tuple):
        return False
    contents = (turn.get("content") for turn in turns if isinstance(turn, Mapping))
    return any(isinstance(content, list | tuple) for content in contents)


def joined(turns: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, list]]:
    """The turns with one text each, and by field what stands between their words.

    Raises:
      CorruptExample: a part of another type, or one that holds nothing.
    """
    held: dict[str, list] = {}
    out = []
    for number, turn in enumerate(turns):
        content = turn.get("content")
        if isinstance(content, list | tuple):
            content = "".join(_text(part, number, held) for part in content)
        out.append({**turn, "content": content})
    return out, held


def contents(value: Any, thing: str) -> Any:
    """A picture or a sound; where it is the path of a file, its bytes.

    Args:
      thing: what it is, for messages: "clip".

    Raises:
      CorruptExample: a file that cannot be opened.
    """
    if not isinstance(value, str | Path):
        return value
    try:
        return Path(value).expanduser().read_bytes()
    except OSError as error:
        raise CorruptExample(f"a {thing} that cannot be opened: {error}") from error


def relocated(turns: Any, locate: Callable[[str], str]) -> Any:
    """The same with other paths of the parts' files."""
    if not in_parts(turns):
        return turns
    return [_relocated(turn, locate) for turn in turns]


def _relocated(turn: Any, locate: Callable[[str], str]) -> Any:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), list | tuple):
        return turn
    moved = []
    for part in turn["content"]:
        key = _key(part)
        if key is not None and isinstance(part[key], str):
            part = {**part, key: locate(part[key])}
        moved.append(part)
    return {**turn, "content": moved}


def _text(part: Any, turn: int, held: dict[str, list]) -> str:
    """What a part leaves in the text; what it holds goes to `held`."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if kind not in KINDS:
        raise CorruptExample(
            f"turn {turn} has a part of type {kind!r}; there are text, {', '.join(KINDS)}"
        )
    key = _key(part)
    if key is None:
        names = " or ".join(map(repr, KINDS[kind].keys))
        raise CorruptExample(
            f"a part of turn {turn} is of type {kind!r}, and holds none: give it as {names}"
        )
    held.setdefault(kind, []).append(part[key])
    return KINDS[kind].token


def _key(part: Any) -> str | None:
    """The key under which a part holds a picture or a sound."""
    kind = KINDS.get(part.get("type")) if isinstance(part, Mapping) else None
    keys = kind.keys if kind is not None else ()
    return next((key for key in keys if part.get(key) is not None), None)
