"""Frames of an encoded clip by time: MP4, WebM, MKV, GIF and more by PyAV, animated WebP by Pillow.

https://github.com/PyAV-Org/PyAV, a binding of FFmpeg, which is inside its wheel.

* The frame at a time is the one that is shown then, whatever the rate, and where it varies too.
* What is wanted is sought: decoding starts at the key frame before it, and goes on from where it is
  where no later key frame lies between. Only the frames that are kept are in memory.
* Frames come upright and on white, as pictures do. Of what is bad the message says what it is.

Letters: T frames, H and W pixels.
"""

from __future__ import annotations

import bisect
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image

from mmjax.data.source import CorruptExample
from mmjax.transforms.audio import Cut
from mmjax.transforms.decode import WHITE, to_rgb
from mmjax.typing import Float, UInt8

SHORTER = 0.5  # seconds that a track may lack of what its file promises
FAR = 2.0  # seconds from which on it is sought where a file has no list of its key frames
STILL = 0.1  # seconds that a frame of no duration is shown, as browsers do
SAME = 1e-6  # seconds by which times differ that are equal

# From the clip's beginning and end to the times that are wanted, ascending, in seconds.
Choose = Callable[[float, float], Sequence[float] | np.ndarray]


class Taken(NamedTuple):
    """Frames out of a clip."""

    frames: UInt8[np.ndarray, "T H W 3"]
    times: Float[np.ndarray, " T"]  # seconds at which each begins
    end: float  # seconds at which the clip, or the part of it, ends


def taken(
    data: bytes, choose: Choose, cut: Cut, side: int = 0, max_pixels: int = 64_000_000
) -> Taken:
    """The frames at the times that `choose` names.

    Args:
      cut: the part of the file that is meant.
      side: pixels of the shorter side that frames are reduced to as they come; 0: as they are.
      max_pixels: a larger frame is refused by the file's header.

    Raises:
      CorruptExample: no file that can be read, no pictures in it, or fewer than it promises.
    """
    if not data:
        raise CorruptExample("empty file (0 bytes)")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _of_webp(data, choose, cut, side, max_pixels)
    try:
        with av.open(io.BytesIO(data), metadata_errors="ignore") as file:
            return _of_file(file, choose, cut, side, max_pixels)
    except av.error.FFmpegError as error:
        raise CorruptExample(f"not a readable video file: {error}") from error


def bounds(cut: Cut, duration: float) -> tuple[float, float]:
    """Where the part of a clip begins and ends, in seconds.

    Raises:
      CorruptExample: there is nothing between.
    """
    end = duration if cut.end is None else min(cut.end, duration)
    if not 0 <= cut.start < end:
        until = "the end" if cut.end is None else f"{cut.end:g} s"
        raise CorruptExample(
            f"no frames from {cut.start:g} s to {until}: the clip has {duration:.2f} s"
        )
    return cut.start, end


def _wanted(choose: Choose, start: float, end: float) -> list[float]:
    """The times, none of them behind the end."""
    last = np.nextafter(end, start)
    return [float(min(max(time, start), last)) for time in choose(start, end)]


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise CorruptExample(
            f"{width} x {height} pixels by its header, more than max_pixels={max_pixels}"
        )


def _reduced(width: int, height: int, side: int) -> tuple[int, int]:
    """The size of a frame whose shorter side is `side` pixels at most."""
    short = min(width, height)
    if not side or short <= side:
        return width, height
    return round(width * side / short), round(height * side / short)


# -- by PyAV


def _of_file(file: Any, choose: Choose, cut: Cut, side: int, max_pixels: int) -> Taken:
    cover = av.stream.Disposition.attached_pic
    tracks = [stream for stream in file.streams.video if not stream.disposition & cover]
    if not tracks:
        what = "sound alone" if file.streams.audio else "none, nor sound: it may be cut short"
        raise CorruptExample(f"no pictures: the file holds {what}")
    track = tracks[0]
    _check_size(track.width, track.height, max_pixels)
    duration = _duration(file, track)
    start, end = bounds(cut, duration)
    player = _Player(file, track, duration)
    frames = []
    times = []
    previous = None
    for time in _wanted(choose, start, end):
        frame = player.at(time)
        if frame is not previous:
            pixels = _pixels(frame, side)
        previous = frame
        frames.append(pixels)
        times.append(max(0.0, player.time_of(frame)))
    return Taken(_stacked(frames), np.asarray(times), end)


def _duration(file: Any, track: Any) -> float:
    """Seconds, as the header says, else counted packet by packet without decoding any."""
    if track.duration:
        return float(track.duration * track.time_base)
    if file.duration:
        return file.duration / av.time_base
    begin = None
    end = 0
    for packet in file.demux(track):
        if packet.pts is None:
            continue
        begin = packet.pts if begin is None else min(begin, packet.pts)
        end = max(end, packet.pts + (packet.duration or 0))
    if begin is None:
        raise CorruptExample("no frames: the file's picture track is empty")
    file.seek(begin, stream=track)
    return max(float((end - begin) * track.time_base), STILL)


class _Player:
    """One place in a file, and the frame that is shown there."""

    def __init__(self, file: Any, track: Any, duration: float):
        self.file = file
        self.track = track
        self.duration = duration
        self.unit = float(track.time_base)
        self.begin = track.start_time or 0
        keys = [entry.timestamp for entry in track.index_entries if entry.is_keyframe]
        self.keys = sorted((key - self.begin) * self.unit for key in keys)
        self._begin_to_decode()

    def time_of(self, frame: Any) -> float:
        """Seconds from the clip's beginning to the frame's."""
        return (frame.pts - self.begin) * self.unit

    def at(self, time: float) -> Any:
        """The frame that is shown at a time; times are asked for in ascending order.

        Raises:
          CorruptExample: it is not there, or it is broken.
        """
        if self._is_far(time):
            self._seek(time)
        while self.ahead is not None and self.time_of(self.ahead) <= time + SAME:
            self.current = self.ahead
            self.ahead = next(self.frames, None)
        if self.current is None:
            if self.ahead is None:
                raise CorruptExample("no frames: none could be decoded")
            return self.ahead  # before the first one
        if self.current.is_corrupt:
            raise CorruptExample(f"the frame at {self.time_of(self.current):.2f} s is broken")
        if self.ahead is None:
            self._check_end(time)
        return self.current

    def _check_end(self, time: float) -> None:
        shown = (self.current.duration or 0) * self.unit
        end = self.time_of(self.current) + shown
        if time > end + SHORTER:
            raise CorruptExample(
                f"cut short: {end:.1f} of {self.duration:.1f} seconds could be decoded"
            )

    def _is_far(self, time: float) -> bool:
        """Whether seeking leaves out frames that would be decoded for nothing."""
        if self.ahead is None:
            return False
        here = self.time_of(self.ahead)
        if not self.keys:
            return time - here > FAR
        before = bisect.bisect_right(self.keys, time) - 1
        return before >= 0 and self.keys[before] > here + SAME

    def _seek(self, time: float) -> None:
        before = bisect.bisect_right(self.keys, time) - 1
        earlier = self.keys[before - 1] if before > 0 else 0.0
        # the list has the order of decoding: a key frame may be shown a little later than it says
        for place in (time, earlier, 0.0):
            self.file.seek(self.begin + int(place / self.unit), stream=self.track)
            self._begin_to_decode()
            if self.ahead is not None and self.time_of(self.ahead) <= time + SAME:
                return

    def _begin_to_decode(self) -> None:
        self.frames = self._decoded()
        self.current = None
        self.ahead = next(self.frames, None)

    def _decoded(self) -> Iterator[Any]:
        done = 0.0
        try:
            for frame in self.file.decode(self.track):
                if frame.pts is not None:
                    done = max(done, self.time_of(frame))
                    yield frame
        except av.error.FFmpegError as error:
            raise CorruptExample(
                f"broken or cut short behind {done:.1f} of {self.duration:.1f} seconds: {error}"
            ) from error


def _pixels(frame: Any, side: int) -> np.ndarray:
    width, height = _reduced(frame.width, frame.height, side)
    size = dict(width=width, height=height, interpolation="BICUBIC")
    if any(component.is_alpha for component in frame.format.components):
        image = Image.fromarray(frame.to_ndarray(format="rgba", **size))
        pixels = np.asarray(to_rgb(image, WHITE))
    else:
        pixels = frame.to_ndarray(format="rgb24", **size)
    # how far a telephone's picture is to be turned, against the clock
    return np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels


def _stacked(frames: list[np.ndarray]) -> np.ndarray:
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise CorruptExample(f"frames of several sizes: {', '.join(map(str, sorted(sizes)))}")
    return np.stack(frames)


# -- by Pillow


def _of_webp(data: bytes, choose: Choose, cut: Cut, side: int, max_pixels: int) -> Taken:
    shown = _webp_durations(data)
    begins = np.concatenate([[0.0], np.cumsum(shown)])
    start, end = bounds(cut, float(begins[-1]))
    frames = []
    numbers = []
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(*image.size, max_pixels)
            size = _reduced(*image.size, side)
            for time in _wanted(choose, start, end):
                number = int(np.searchsorted(begins, time + SAME, "right")) - 1
                number = min(number, len(shown) - 1)
                if not numbers or number != numbers[-1]:
                    image.seek(number)  # a decoder that goes on where it is
                    frame = to_rgb(image.copy(), WHITE)
                    pixels = np.asarray(frame if frame.size == size else frame.resize(size))
                frames.append(pixels)
                numbers.append(number)
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        if isinstance(error, CorruptExample):
            raise
        raise CorruptExample(f"broken or truncated WebP: {error}") from error
    return Taken(np.stack(frames), begins[numbers], end)


def _webp_durations(data: bytes) -> list[float]:
    """Seconds that each frame is shown, from the chunks of the file.

    Raises:
      CorruptExample: a file that ends before they do.
    """
    whole = 8 + int.from_bytes(data[4:8], "little")
    if whole > len(data):
        raise CorruptExample(f"cut short: {len(data)} of {whole} bytes are there")
    durations = []
    place = 12
    while place + 8 <= whole:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if data[place : place + 4] == b"ANMF":  # x, y, width, height, then milliseconds
            milliseconds = int.from_bytes(data[place + 20 : place + 23], "little")
            durations.append(milliseconds / 1000 or STILL)
        place += 8 + size + size % 2
    return durations or [STILL]
