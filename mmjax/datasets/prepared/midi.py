"""The notes of a standard MIDI file (https://midi.org/standard-midi-files).

* Read are notes, their velocities, and the tempo; everything else is passed over. Drums too.
* Times are seconds, by all the tempo changes of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from mmjax.data.source import DataError

TEMPO = 500_000  # microseconds of a quarter note where the file says nothing
SET_TEMPO = 0x51
DRUMS = 9  # their channel


class MidiError(DataError):
    """Bytes that are no MIDI file, or end too early."""


class Played(NamedTuple):
    """A note."""

    start: float  # seconds
    end: float
    key: int  # semitones, 60: the middle C
    velocity: int  # 1 to 127


class _Event(NamedTuple):
    tick: int
    order: int  # of equal times: the tempo first, then ends of notes, then their beginnings
    channel: int
    key: int
    value: int  # velocity, or microseconds of a quarter


def notes(data: bytes) -> list[Played]:
    """All notes of a file but drums, by their start.

    Raises:
      MidiError: it cannot be read.
    """
    try:
        return _notes(data)
    except (IndexError, struct.error) as error:
        raise MidiError(f"a MIDI file of {len(data)} bytes ends too early") from error


def _notes(data: bytes) -> list[Played]:
    if data[:4] != b"MThd":
        raise MidiError(f"{data[:4]!r} is not how a MIDI file begins")
    length, _, _, division = struct.unpack(">IHHH", data[4:14])
    if not division or division & 0x8000:
        raise MidiError("the MIDI file does not count in parts of a quarter note")
    events: list[_Event] = []
    place = 8 + length
    while place + 8 <= len(data):
        size = struct.unpack(">I", data[place + 4 : place + 8])[0]
        if data[place : place + 4] == b"MTrk":
            events += _events(data[place + 8 : place + 8 + size])
        place += 8 + size
    found: list[Played] = []
    pressed: dict[tuple[int, int], tuple[float, int]] = {}
    second = 0.0
    tick = 0
    tempo = TEMPO
    for event in sorted(events):
        second += (event.tick - tick) * tempo / division / 1e6
        tick = event.tick
        note = (event.channel, event.key)
        if event.order == 0:
            tempo = event.value
        elif event.order == 1 and note in pressed:
            start, velocity = pressed.pop(note)
            found.append(Played(start, second, event.key, velocity))
        elif event.order == 2:
            pressed[note] = (second, event.value)
    return sorted(found)


def _events(track: bytes) -> Iterator[_Event]:
    place = 0
    tick = 0
    status = 0
    while place < len(track):
        wait, place = _number(track, place)
        tick += wait
        if track[place] & 0x80:
            status = track[place]
            place += 1
        kind = status >> 4
        if kind == 0xF:
            meta = -1
            if status == 0xFF:
                meta = track[place]
                place += 1
            size, place = _number(track, place)
            if meta == SET_TEMPO:
                yield _Event(tick, 0, 0, 0, int.from_bytes(track[place : place + size], "big"))
            place += size
            continue
        channel = status & 0x0F
        if kind in (0x8, 0x9) and channel != DRUMS:
            begins = kind == 0x9 and track[place + 1] > 0
            yield _Event(tick, 2 if begins else 1, channel, track[place], track[place + 1])
        place += 1 if kind in (0xC, 0xD) else 2


def _number(track: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place behind it."""
    value = 0
    while True:
        value = value << 7 | track[place] & 0x7F
        place += 1
        if not track[place - 1] & 0x80:
            return value, place
