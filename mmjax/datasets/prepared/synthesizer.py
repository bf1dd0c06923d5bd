"""Notes and MIDI tunes -> sound, by fluidsynth's library and a sound font.

https://www.fluidsynth.org (LGPL), TimGM6mb.sf2 by Tim Brechbill (GPL-2): 128 General MIDI
instruments in 6 MB.

* The library is called through ctypes in a process of its own: a few tunes hang it, and such a
  process is ended when its time is over, and begun anew for what comes next.
* Without reverb and chorus, on one thread, by the same version: the same bytes every time.

    with synthesizer.Synthesizer(font) as synth:
        samples = synth.notes([Note(program=40, key=60, velocity=80, end=1.0)], seconds=1.5)
        samples = synth.midi(Path("tune.mid").read_bytes(), seconds=10.0)

Letters: T samples.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mmjax.data.source import DataError
from mmjax.datasets.prepared.archives import Wanted
from mmjax.datasets.prepared.packages import Package
from mmjax.typing import Float

FONT = Package(
    "debian",
    "timgm6mb-soundfont",
    "1.3-5",
    "034abdfb296d9353433513dad5dbdcab46425ee6008fc02fe7039b46e75edc54",
    "GPL-2.0-only",
    "the sound font",
    5_426_644,
    "pool/main/t/timgm6mb-soundfont",
)
FONT_FILE = "usr/share/sounds/sf2/TimGM6mb.sf2"
LICENCE = "usr/share/doc/timgm6mb-soundfont/copyright"
LIBRARIES = ("fluidsynth", "fluidsynth-3", "libfluidsynth-3", "libfluidsynth")
FOLDERS = ("/opt/homebrew/lib", "/usr/local/lib")  # of macOS, where the loader does not look
MISSING = (
    "tunes and notes are rendered by fluidsynth's library, not installed here. Debian, Ubuntu, "
    "Colab: apt-get install libfluidsynth3; macOS: brew install fluid-synth"
)
BLOCK = 8_192  # samples that are asked for at a time
PLAYING = 1  # FLUID_PLAYER_PLAYING


class SynthesizerError(DataError):
    """A note or a tune that cannot be rendered, or not in the time that it has."""


class Note(NamedTuple):
    """A key that is pressed and let go."""

    program: int  # General MIDI's instrument, from 0
    key: int  # semitones, 60: the middle C
    velocity: int  # how hard, 1 to 127
    start: float = 0.0  # seconds
    end: float = 1.0  # seconds, when it is let go


def library() -> str:
    """What the dynamic loader takes for fluidsynth.

    Raises:
      DataError: it is not installed; says which package brings it.
    """
    for name in LIBRARIES:
        found = ctypes.util.find_library(name)
        if found:
            return found
    for folder in FOLDERS:
        for path in sorted(Path(folder).glob("libfluidsynth*.dylib")):
            return str(path)
    raise DataError(MISSING)


def needs() -> None:
    """Raises DataError where the library is not installed: for `Set.needs`."""
    library()


@contextlib.contextmanager
def font(members: Callable[[Package, Wanted], Iterator[tuple[str, bytes]]], out: Any) -> Any:
    """The sound font of the package as a file, and its licence in a set: for a set's `build`.

    Args:
      members: what `build` is handed.
      out: the set's Writer.
    """
    found = dict(members(FONT, lambda name: name in (FONT_FILE, LICENCE)))
    out.licence("timgm6mb-gpl-2.txt", found[LICENCE])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "font.sf2"
        path.write_bytes(found[FONT_FILE])
        yield path


class Synthesizer:
    """Renders with one sound font; a context manager, for one thread at a time."""

    def __init__(
        self,
        font: str | Path,
        *,
        rate: int = 44_100,
        gain: float = 0.5,
        limit: float = 5.0,
    ):
        """
        Args:
          font: path of an .sf2 file.
          rate: samples per second, 8,000 to 96,000.
          gain: how loud; at 1.0 chords clip.
          limit: seconds that one call may take.

        Raises:
          DataError: fluidsynth is not installed, or the font is no such file.
        """
        self.rate = rate
        self.limit = limit
        if not Path(font).is_file():
            raise DataError(f"there is no sound font {font}")
        about = {"library": library(), "font": str(font), "rate": rate, "gain": gain}
        self._command = [sys.executable, "-m", __name__, json.dumps(about)]
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Synthesizer:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def notes(self, notes: Sequence[Note], seconds: float) -> Float[np.ndarray, " T"]:
        """Notes that are pressed and let go -> float32 samples of so many seconds, one channel.

        Raises:
          SynthesizerError: it fails, or its time is over.
        """
        return self._asked({"notes": notes, "samples": round(seconds * self.rate)}, b"")

    def midi(self, data: bytes, seconds: float) -> Float[np.ndarray, " T"]:
        """The first seconds of a MIDI file -> float32 samples, one channel; fewer where it ends.

        Raises:
          SynthesizerError: it is no MIDI file, or silent, or its time is over.
        """
        samples = self._asked({"midi": len(data), "samples": round(seconds * self.rate)}, data)
        if not samples.any():
            raise SynthesizerError(f"fluidsynth hears nothing in these {len(data)} bytes of MIDI")
        return samples

    def close(self) -> None:
        """Ends the process; a later call begins another."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _asked(self, request: dict[str, Any], data: bytes) -> np.ndarray:
        if self._process is None:
            self._process = self._started()
        process = self._process
        over = threading.Event()

        def end() -> None:
            over.set()
            process.kill()

        timer = threading.Timer(self.limit, end)
        timer.start()
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n" + data)
            process.stdin.flush()
            samples = np.frombuffer(_answer(process.stdout), np.float32)
        except (OSError, EOFError) as error:
            code = process.wait()
            self.close()
            if over.is_set():
                reason = f"is not done after {self.limit:g} seconds (limit)"
            else:
                reason = f"ended with status {code}"
            raise SynthesizerError(f"fluidsynth {reason}") from error
        finally:
            timer.cancel()
        return samples

    def _started(self) -> subprocess.Popen:
        """The process, ready to be asked: its start is not counted against the limit."""
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # fluidsynth warns of any controller that it does not know
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            _answer(process.stdout)
        except EOFError as error:
            process.communicate()
            raise SynthesizerError("fluidsynth does not start, or the font is none") from error
        return process


def _answer(stream: BinaryIO) -> bytes:
    """Eight bytes that say how many follow, and these. Raises EOFError: fewer came."""
    head = stream.read(8)
    data = stream.read(int.from_bytes(head, "little"))
    if len(head) < 8 or len(data) < int.from_bytes(head, "little"):
        raise EOFError
    return data


class _Library:
    """The functions of the library that are used, in the process that renders.

    Raises ValueError for a font that is none, which ends the process.
    """

    def __init__(self, path: str, font: str, rate: int, gain: float):
        self.call = ctypes.CDLL(path)
        for made in ("settings", "synth", "player"):
            getattr(self.call, f"new_fluid_{made}").restype = ctypes.c_void_p
        self.call.fluid_synth_get_sfont.restype = ctypes.c_void_p
        self.settings = ctypes.c_void_p(self.call.new_fluid_settings())
        for name, value in (("synth.sample-rate", float(rate)), ("synth.gain", gain)):
            self.call.fluid_settings_setnum(self.settings, name.encode(), ctypes.c_double(value))
        for name in ("synth.reverb.active", "synth.chorus.active", "synth.lock-memory"):
            self.call.fluid_settings_setint(self.settings, name.encode(), 0)
        # The player's clock is what was rendered, not the time of day.
        self.call.fluid_settings_setstr(self.settings, b"player.timing-source", b"sample")

        self.keeper = ctypes.c_void_p(self.call.new_fluid_synth(self.settings))
        if self.call.fluid_synth_sfload(self.keeper, font.encode(), 1) < 0:
            raise ValueError(f"{font} is no sound font")
        self.font = ctypes.c_void_p(self.call.fluid_synth_get_sfont(self.keeper, 0))

    @contextlib.contextmanager
    def synth(self) -> Iterator[ctypes.c_void_p]:
        """A new one for every sound, or the sound before would be heard in its last bits; the font
        is read once."""
        synth = ctypes.c_void_p(self.call.new_fluid_synth(self.settings))
        self.call.fluid_synth_add_sfont(synth, self.font)
        try:
            yield synth
        finally:
            self.call.fluid_synth_remove_sfont(synth, self.font)
            self.call.delete_fluid_synth(synth)

    def written(self, synth: ctypes.c_void_p, count: int) -> np.ndarray:
        """The next samples, the mean of both channels."""
        sides = np.zeros((2, count), np.float32)
        left, right = (side.ctypes.data_as(ctypes.c_void_p) for side in sides)
        self.call.fluid_synth_write_float(synth, count, left, 0, 1, right, 0, 1)
        return sides.mean(0, dtype=np.float32)

    def notes(self, notes: Sequence[Note], samples: int, rate: int) -> np.ndarray:
        events = []
        for channel, note in enumerate(notes):
            channel = channel % 15
            channel += channel >= 9  # the tenth channel has drums
            events.append((round(note.start * rate), 1, channel, note))
            events.append((round(note.end * rate), 0, channel, note))
        events.sort(key=lambda event: event[:3])
        parts = []
        done = 0
        with self.synth() as synth:
            for place, pressed, channel, note in events:
                place = min(place, samples)
                if place > done:
                    parts.append(self.written(synth, place - done))
                    done = place
                if pressed:
                    self.call.fluid_synth_program_change(synth, channel, note.program)
                    self.call.fluid_synth_noteon(synth, channel, note.key, note.velocity)
                else:
                    self.call.fluid_synth_noteoff(synth, channel, note.key)
            if samples > done:
                parts.append(self.written(synth, samples - done))
        return np.concatenate(parts)

    def midi(self, data: bytes, samples: int) -> np.ndarray:
        parts = [np.zeros(0, np.float32)]
        done = 0
        with self.synth() as synth:
            player = ctypes.c_void_p(self.call.new_fluid_player(synth))
            self.call.fluid_player_add_mem(player, data, ctypes.c_size_t(len(data)))
            self.call.fluid_player_play(player)
            while done < samples:
                parts.append(self.written(synth, min(BLOCK, samples - done)))
                done += len(parts[-1])
                if self.call.fluid_player_get_status(player) != PLAYING:
                    break
            self.call.delete_fluid_player(player)
        return np.concatenate(parts)


def _serve(about: str) -> None:
    """Answers requests of the standard input until it ends."""
    given = json.loads(about)
    # Whatever the library prints must not stand among the samples.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    library = _Library(given["library"], given["font"], given["rate"], given["gain"])
    answer = np.zeros(0, np.float32)
    while True:
        data = answer.tobytes()
        out.write(len(data).to_bytes(8, "little") + data)
        out.flush()
        line = sys.stdin.buffer.readline()
        if not line:
            return
        request = json.loads(line)
        if "midi" in request:
            tune = sys.stdin.buffer.read(request["midi"])
            answer = library.midi(tune, request["samples"])
        else:
            notes = [Note(*note) for note in request["notes"]]
            answer = library.notes(notes, request["samples"], given["rate"])


if __name__ == "__main__":
    _serve(sys.argv[1])
