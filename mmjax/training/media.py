"""What people see or hear, as files: pictures as PNG, clips as animated WebP, videos as MP4 (H.264
and AAC), sounds as WAV, words as text.

* Every browser shows all of them, so a report needs no other player.
* A clip is a loop to look at frame by frame; a video has its own rate, and may have sound.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mmjax.transforms.audio import Sound
from mmjax.transforms.video import Video

FRAME_MILLISECONDS = 125  # a frame of a clip is shown: 8 a second, slow enough to look at
AUDIO_FRAME = 1024  # samples that AAC encodes at once
BOARD = (640, 640)  # pixels in TensorBoard at most; the file has every one


def encoded(medium: Any) -> tuple[str, bytes]:
    """The ending and the bytes of the file of a picture, clip, video, sound or text.

    Args:
      medium: a PIL image, a clip (uint8 [T, H, W, 3], or a sequence of such frames or of PIL
        images), a video.Video, an audio.Sound, or a str.

    Raises:
      TypeError: none of these.
    """
    if isinstance(medium, str):
        return ".txt", medium.encode()
    data = io.BytesIO()
    if isinstance(medium, Image.Image):
        # level 1 takes half the time of the default, for a fifth more bytes
        medium.save(data, format="PNG", compress_level=1, pnginfo=_about(medium))
        return ".png", data.getvalue()
    if isinstance(medium, Sound):
        samples = np.clip(np.asarray(medium.samples, np.float32), -1, 1)
        soundfile.write(data, samples, medium.rate, format="WAV", subtype="PCM_16")
        return ".wav", data.getvalue()
    if isinstance(medium, Video):
        return ".mp4", _mp4(medium)
    frames = _frames(medium)
    frames[0].save(
        data,
        format="WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=FRAME_MILLISECONDS,
        loop=0,  # for ever
        quality=85,
    )
    return ".webp", data.getvalue()


def to_board(board: Any, step: int, name: str, medium: Any) -> None:
    """Adds it to a TensorBoard writer: a picture small, of a clip the frame in its middle."""
    if isinstance(medium, str):
        board.add_text(name, medium, step)
        return
    if isinstance(medium, Sound):
        board.add_audio(name, np.asarray(medium.samples), step, sample_rate=medium.rate)
        return
    image = medium if isinstance(medium, Image.Image) else middle(medium)
    small = image.convert("RGB")
    small.thumbnail(BOARD)
    board.add_image(name, np.asarray(small), step, dataformats="HWC")


def middle(clip: Any) -> Image.Image:
    """The frame in the middle of a clip or video. Raises TypeError: it is none."""
    frames = _frames(clip.frames if isinstance(clip, Video) else clip)
    return frames[len(frames) // 2]


def _about(image: Image.Image) -> PngInfo:
    """What the picture says of itself, such as a description for people who do not see it."""
    about = PngInfo()
    for name, text in image.info.items():
        if isinstance(text, str):
            about.add_itxt(name, text)
    return about


def _mp4(video: Video) -> bytes:
    frames = _frames(video.frames)
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=video.rate, options={"crf": "18"})
        # Colours are kept for 2 x 2 pixels at a time: sides are even, the last column or row goes.
        stream.width = frames[0].width // 2 * 2
        stream.height = frames[0].height // 2 * 2
        stream.pix_fmt = "yuv420p"  # the only layout that every browser plays
        voice = None
        if video.sound is not None:
            voice = container.add_stream("aac", rate=video.sound.rate, layout="mono")
        for image in frames:
            image = image.crop((0, 0, stream.width, stream.height))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
        if voice is not None:
            for frame in _audio_frames(video.sound):
                container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
    return data.getvalue()


def _audio_frames(sound: Sound) -> Iterator[av.AudioFrame]:
    samples = np.clip(np.asarray(sound.samples, np.float32), -1, 1)
    for start in range(0, len(samples), AUDIO_FRAME):
        part = samples[None, start : start + AUDIO_FRAME]
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate = sound.rate
        frame.pts = start
        yield frame


def _frames(clip: Any) -> list[Image.Image]:
    frames = list(clip) if isinstance(clip, np.ndarray | list | tuple) else []
    if not frames:
        raise TypeError(
            f"what is shown is a PIL image, a clip uint8 [T, H, W, 3], a Video, a Sound or a str, "
            f"not {type(clip).__name__}"
        )
    images = []
    for frame in frames:
        if isinstance(frame, np.ndarray):
            if frame.dtype != np.uint8 or frame.ndim != 3:
                raise TypeError(
                    f"a clip's frames are uint8 [H, W, 3], not {frame.dtype} {list(frame.shape)}"
                )
            frame = Image.fromarray(frame)
        images.append(frame.convert("RGB"))
    return images
