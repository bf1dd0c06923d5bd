"""Where sound comes from: files, pipes, a microphone that is not there, and one that is."""

import io
import sys
import types

import numpy as np
import pytest
import soundfile

from mmjax.streaming.blocks import Chunk
from mmjax.streaming.microphone import microphone
from mmjax.streaming.sources import Format, SourceError, file, paced, pipe

RATE = 16_000


def tone(rate, seconds=1.3, channels=1):
    time = np.arange(round(rate * seconds)) / rate
    wave = 0.5 * np.sin(2 * np.pi * 440 * time)
    return np.stack([wave] * channels, axis=1)


def joined(chunks):
    return np.concatenate([chunk.samples for chunk in chunks])


class Dripping(io.BytesIO):
    """A pipe that gives a few bytes at a time, odd numbers of them."""

    def read1(self, size=-1):
        return self.read(min(size, 1237))


@pytest.mark.parametrize("kind, subtype", [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_U8"),
                                           ("WAV", "FLOAT"), ("WAVEX", "PCM_32")])  # fmt: skip
@pytest.mark.parametrize("rate, channels", [(16_000, 1), (44_100, 2), (8_000, 1)])
def test_a_wave_file_and_the_same_piped(tmp_path, kind, subtype, rate, channels):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate, channels=channels), rate, subtype=subtype, format=kind)
    whole = joined(file(path))
    piped = joined(pipe(Dripping(path.read_bytes())))
    assert whole.dtype == piped.dtype == np.float32
    np.testing.assert_allclose(piped, whole, atol=1e-6)
    want = tone(RATE)[:, 0]
    assert abs(len(whole) - len(want)) <= 1
    inside = slice(500, len(want) - 500)
    np.testing.assert_allclose(whole[inside], want[inside], atol=0.01)


def test_bare_samples():
    samples = (tone(8_000, channels=2) * 32767).astype("<i2")
    found = joined(pipe(Dripping(samples.tobytes() + b"\x01"), Format(8_000, 2)))
    assert abs(len(found) - 1.3 * RATE) <= 1
    np.testing.assert_allclose(found[500:-500], tone(RATE)[500 : len(found) - 500, 0], atol=1e-2)
    assert not len(joined(pipe(io.BytesIO(b""))))


def test_an_unknown_length_of_a_wave(tmp_path):
    """As programs write it that do not know when they will end."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(RATE)[:, 0], RATE)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = b"\xff\xff\xff\xff"
    np.testing.assert_array_equal(joined(pipe(io.BytesIO(bytes(data)))), joined(file(path)))


@pytest.mark.parametrize("data, said", [
    (b"RIFF\0\0\0\0AVI " + b"\0" * 40, "no WAV"),
    (b"RIFF\0\0\0\0WAVE", "ends before its samples"),
    (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x11\0\x01\0\x40\x1f\0\0\0\0\0\0\0\0\x04\0data\0\0\0\0",
     "format 17 with 4 bits"),
])  # fmt: skip
def test_pipes_that_are_refused(data, said):
    with pytest.raises(SourceError, match=said):
        list(pipe(io.BytesIO(data)))


def test_a_file_that_is_none(tmp_path):
    path = tmp_path / "no.wav"
    path.write_text("no sound")
    with pytest.raises(SourceError, match=r"no.wav is not a readable sound file"):
        list(file(path))


def test_a_file_at_its_own_pace():
    now = [100.0]
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    chunks = [Chunk(np.zeros(8_000, np.float32)) for _ in range(4)]
    for chunk in paced(iter(chunks), 2.0, lambda: now[0], sleep):
        assert len(chunk.samples) == 8_000
        now[0] += 0.1  # what the listener takes
    assert waits == pytest.approx([0.25, 0.15, 0.15, 0.15])


def test_no_microphone_is_said_clearly(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SourceError, match=r"pip install 'mmjax\[microphone\]'"):
        next(microphone())


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_microphone_gives_samples_with_times(monkeypatch, rate):
    """A device that plays a tone through the callback, as PortAudio's thread does."""

    class Stream:
        def __init__(self, samplerate, blocksize, device, channels, dtype, callback):
            assert (samplerate, device, channels, dtype) == (rate, "desk", 1, "float32")
            self.size = blocksize
            self.callback = callback

        def __enter__(self):
            sound = tone(rate).astype(np.float32)
            for number, at in enumerate(range(0, len(sound), self.size)):
                times = types.SimpleNamespace(inputBufferAdcTime=7.0 + number / 10)
                self.callback(sound[at : at + self.size], self.size, times, None)

        def __exit__(self, *error):
            pass

    class PortAudioError(Exception):
        pass

    def check(device, channels, samplerate):
        if samplerate != rate:
            raise PortAudioError("Invalid sample rate")

    fake = types.SimpleNamespace(
        InputStream=Stream, PortAudioError=PortAudioError, check_input_settings=check,
        query_devices=lambda device, kind: {"default_samplerate": float(rate)},
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    stream = microphone("desk")
    chunks = [next(stream) for _ in range(13)]
    stream.close()
    assert [chunk.time for chunk in chunks] == pytest.approx([7.0 + i / 10 for i in range(13)])
    found = joined(chunks)
    assert len(found) > 1.2 * RATE
    np.testing.assert_allclose(found[500:15_000], tone(RATE)[500:15_000, 0], atol=1e-2)


def test_a_device_that_is_not_there(monkeypatch):
    class PortAudioError(Exception):
        pass

    def no(**kwargs):
        raise PortAudioError("no default input device")

    def none(*device):
        raise PortAudioError("no default input device")

    fake = types.SimpleNamespace(
        PortAudioError=PortAudioError, check_input_settings=no, query_devices=none
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    with pytest.raises(SourceError, match="no microphone can be opened: no default input device"):
        next(microphone())
