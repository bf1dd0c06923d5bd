"""What people see or hear, as files: pictures as PNG, clips as animated WebP, sounds as WAV, words
as text.

* Every browser shows all of them, so a report needs no other player.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from mmjax.transforms.audio import Sound

FRAME_MILLISECONDS = 125  # a frame of a clip is shown: 8 a second, slow enough to look at
BOARD = (640, 640)  # pixels in TensorBoard at most; the file has every one


def encoded(medium: Any) -> tuple[str, bytes]:
    """The ending and the bytes of the file of a picture, clip, sound or text.

    Args:
      medium: a PIL image, a clip (uint8 [T, H, W, 3], or a sequence of such frames or of PIL
        images), an audio.Sound, or a str.

    Raises:
      TypeError: none of these.
    """
    if isinstance(medium, str):
        return ".txt", medium.encode()
    data = io.BytesIO()
    if isinstance(medium, Image.Image):
        # level 1 takes half the time of the default, for a fifth more bytes
        medium.save(data, format="PNG", compress_level=1)
        return ".png", data.getvalue()
    if isinstance(medium, Sound):
        samples = np.clip(np.asarray(medium.samples, np.float32), -1, 1)
        soundfile.write(data, samples, medium.rate, format="WAV", subtype="PCM_16")
        return ".wav", data.getvalue()
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
    """The frame in the middle of a clip. Raises TypeError: it is none."""
    frames = _frames(clip)
    return frames[len(frames) // 2]


def _frames(clip: Any) -> list[Image.Image]:
    frames = list(clip) if isinstance(clip, np.ndarray | list | tuple) else []
    if not frames:
        raise TypeError(
            f"what is shown is a PIL image, a clip uint8 [T, H, W, 3], a Sound or a str, not "
            f"{type(clip).__name__}"
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
