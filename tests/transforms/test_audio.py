"""Whatever soundfile or PyAV opens, at any rate and with any channels; what is no sound."""

import io

import av
import numpy as np
import pytest
import soundfile

from mmjax.data.source import CorruptExample
from mmjax.transforms import audio, mel
from mmjax.transforms.audio import DecodeAudio

RATE = 48_000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)  # one second


def written(samples, rate, kind, subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format=kind)
    return file.getvalue()


def contained(kind, codec, samples=TONE, picture=False):
    """A file of PyAV's, with a moving picture beside the sound where it is asked for."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as made:
        sound = None if samples is None else made.add_stream(codec, rate=RATE, layout="stereo")
        if picture:
            video = made.add_stream("mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
            black = np.zeros((32, 32, 3), np.uint8)
            for _ in range(10):
                made.mux(video.encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
            made.mux(video.encode())
        if sound is not None:
            both = np.stack([samples, 0.5 * samples])
            for start in range(0, len(samples), 1024):
                part = np.ascontiguousarray(both[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
                frame.rate, frame.pts = RATE, start
                made.mux(sound.encode(frame))
            made.mux(sound.encode())
    return file.getvalue()


@pytest.mark.parametrize("make, off", [
    (lambda: written(TONE[::6], 8_000, "WAV", "ALAW"), 0.02),
    (lambda: written(TONE[::6], 8_000, "WAV", "ULAW"), 0.02),
    (lambda: written(np.stack([TONE, TONE], 1), 96_000, "WAV", "PCM_24"), 0.01),
    (lambda: written(TONE, RATE, "MP3"), 0.03),
    (lambda: written(TONE, RATE, "OGG"), 0.03),
    (lambda: contained("mp4", "aac"), 0.12),
    (lambda: contained("adts", "aac"), 0.12),
    (lambda: contained("mp4", "aac", picture=True), 0.12),
], ids=("A-law", "mu-law", "96 kHz stereo", "MP3", "OGG", "M4A", "AAC", "MP4 video"))  # fmt: skip
def test_formats(make, off, request):
    out = DecodeAudio(16_000)({"audio": make()})["audio"]
    assert out.dtype == np.float32 and out.ndim == 1
    name = request.node.callspec.id
    seconds = 0.5 if name.startswith("96") else 1.0
    assert len(out) / 16_000 == pytest.approx(seconds, abs=0.08)  # codecs fill up their frames
    pitch = 880 if name.startswith("96") else 440
    middle = out[2_000:6_000] * np.hanning(4_000)
    found = np.abs(np.fft.rfft(middle)).argmax() * 4
    assert found == pytest.approx(pitch, abs=4)
    # FFmpeg's AAC makes a tone a quarter louder
    height = 0.375 if "M4A" in name or "AAC" in name or "MP4" in name else 0.5  # mean of channels
    assert np.abs(out[2_000:6_000]).max() == pytest.approx(height, abs=off)


def test_what_is_no_sound():
    decode = DecodeAudio(16_000, longest=0.5)
    with pytest.raises(CorruptExample, match="the file has no sound track"):
        decode({"audio": contained("mp4", "aac", samples=None, picture=True)})
    with pytest.raises(CorruptExample, match="more than 1 seconds of sound; at most 0.5"):
        decode({"audio": contained("mp4", "aac")})
    with pytest.raises(CorruptExample, match="not a readable sound file: Format not recognised"):
        decode({"audio": contained("mp4", "aac")[:2_000]})
    # NaN in one of several channels is NaN in their mean
    both = np.stack([TONE, np.where(np.arange(RATE) == 7, np.nan, TONE)], 1)
    with pytest.raises(CorruptExample, match="1 of 48000 samples are NaN"):
        DecodeAudio(16_000)({"audio": written(both, RATE, "WAV", "FLOAT")})


def test_a_cut_of_a_sound_track():
    data = contained("mp4", "aac")
    whole = DecodeAudio(RATE)({"audio": data})["audio"]
    part = DecodeAudio(RATE)({"audio": data, "start": 0.25, "end": 0.5})["audio"]
    np.testing.assert_array_equal(part, whole[12_000:24_000])


def test_lengths_without_decoding(tmp_path):
    for name, data in (("a.wav", written(TONE, RATE, "WAV")), ("b.m4a", contained("mp4", "aac"))):
        (tmp_path / name).write_bytes(data)
        assert audio.seconds_of(tmp_path / name) == pytest.approx(1.0, abs=0.08)
    (tmp_path / "c.wav").write_text("no sound")
    assert audio.seconds_of(tmp_path / "c.wav") is None


def test_blocks_change_nothing(monkeypatch):
    """Long recordings are decoded and transformed a block at a time."""
    sound = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
    data = written(sound, 16_000, "WAV", "FLOAT")
    whole = mel.LogMel(seconds=3.0).batch([sound]).features
    monkeypatch.setattr(audio, "BLOCK", 999)
    monkeypatch.setattr(mel, "BLOCK", 7)
    np.testing.assert_array_equal(DecodeAudio(16_000)({"audio": data})["audio"], sound)
    np.testing.assert_allclose(mel.LogMel(seconds=3.0).batch([sound]).features, whole, atol=1e-6)
