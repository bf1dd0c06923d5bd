"""The microphone, through PortAudio: pip install 'mmjax[microphone]'.

* Chunks bear the device's own time stamps, so what the system loses is a gap, and the drift between
  its clock and its samples is followed (blocks.py).
* A device that does not know 16 kHz is asked for its own rate and resampled.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmjax.streaming.activity import RATE
from mmjax.streaming.blocks import Chunk
from mmjax.streaming.sources import CHUNK, Resampler, SourceError

WAITING = 64  # chunks; the reader takes each at once


def microphone(device: str | int | None = None) -> Iterator[Chunk]:
    """What is heard from now on, without an end.

    Args:
      device: a number or a part of its name; None: the system's choice.

    Raises:
      SourceError: sounddevice or PortAudio is not there, or no such device.
    """
    sounddevice = _sounddevice()
    heard: queue.Queue[tuple[np.ndarray, float | None]] = queue.Queue(WAITING)

    def hear(samples: np.ndarray, frames: int, times: Any, status: Any) -> None:
        # called by PortAudio's thread, which must not wait; what finds no room is seen as a gap
        try:
            heard.put_nowait((samples.copy(), times.inputBufferAdcTime or None))
        except queue.Full:
            pass

    try:
        rate = _rate(sounddevice, device)
        stream = sounddevice.InputStream(
            samplerate=rate, blocksize=round(CHUNK * rate), device=device, channels=1,
            dtype="float32", callback=hear,
        )  # fmt: skip
    except (sounddevice.PortAudioError, ValueError) as error:
        raise SourceError(f"no microphone can be opened: {error}") from error
    resampler = Resampler(rate)
    with stream:
        while True:
            samples, time = heard.get()
            yield Chunk(resampler(samples), time)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise SourceError(
            "the microphone needs sounddevice: pip install 'mmjax[microphone]'. Files and pipes "
            "need nothing: --source=talk.wav, or --source=- for what is piped in"
        ) from error
    except OSError as error:  # PortAudio itself is missing
        raise SourceError(
            f"sounddevice is installed, but PortAudio is not: {error}. On Debian and Ubuntu: apt "
            "install libportaudio2"
        ) from error
    return sounddevice


def _rate(sounddevice: Any, device: str | int | None) -> int:
    try:
        sounddevice.check_input_settings(device=device, channels=1, samplerate=RATE)
    except sounddevice.PortAudioError:
        return int(sounddevice.query_devices(device, "input")["default_samplerate"])
    return RATE
