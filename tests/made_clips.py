"""Clips that are made for a test: files of every container, each frame of which is one grey, ten
times its number, so that a frame says which it is."""

import io
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 32, 48


def grey(number):
    return np.full((HEIGHT, WIDTH, 3), 10 * number % 250, np.uint8)


def encoded(
    form="mp4", codec="libx264", frames=20, rate=10, times=None, size=(WIDTH, HEIGHT), key=8,
    sound=0, options=(),
):  # fmt: skip
    """The bytes of a file; times: at which each frame begins, in 1/100 s."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        write(path, form, codec, frames, rate, times, size, key, sound, dict(options))
        return path.read_bytes()


def write(path, form, codec, frames, rate, times, size, key, sound, options):
    with av.open(str(path), "w", format=form, options=options) as file:
        track = None
        if frames is not None:
            track = file.add_stream(codec, rate=rate if times is None else 100)
            track.width, track.height = size
            track.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
            track.codec_context.gop_size = key
            if times is not None:
                track.codec_context.time_base = Fraction(1, 100)
        voice = file.add_stream("aac", rate=16_000, layout="mono") if sound else None
        file.start_encoding()
        for number in range(frames or 0):
            image = Image.fromarray(grey(number)).resize(size)
            frame = av.VideoFrame.from_image(image)
            if times is not None:
                frame.pts = times[number]
                frame.time_base = Fraction(1, 100)
            for packet in track.encode(frame):
                file.mux(packet)
        if track is not None:
            for packet in track.encode():
                file.mux(packet)
        for start in range(0, sound, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate = 16_000
            frame.pts = start
            for packet in voice.encode(frame):
                file.mux(packet)
        if voice is not None:
            for packet in voice.encode():
                file.mux(packet)


def webp(frames=20, milliseconds=100):
    data = io.BytesIO()
    first, *rest = [Image.fromarray(grey(number)) for number in range(frames)]
    first.save(
        data, "WEBP", save_all=True, append_images=rest, duration=milliseconds, lossless=True
    )
    return data.getvalue()


def numbers(frames):
    """Which frames they are, by their grey."""
    return np.rint(np.asarray(frames, float).mean((1, 2, 3)) / 10).astype(int).tolist()
