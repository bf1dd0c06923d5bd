"""Samples as files: one by one, or as a grid; clips that move, or their frames side by side.

* .mp4 (H.264 by PyAV), .gif and .webp move; .png and .jpg show a clip's frames in a line.

Letters: N samples, T frames, H and W pixels.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mmjax.config import ConfigError
from mmjax.training.media import encoded
from mmjax.transforms.video import Video
from mmjax.typing import UInt8

MOVING = (".mp4", ".gif", ".webp")
STILL = (".png", ".jpg", ".jpeg", ".webp")
FRAME_RATE = 8  # of clips
SMALLEST = 256  # pixels of a shorter edge that samples are enlarged to, by whole numbers
GAP = 4  # pixels between the samples of a grid
GREY = 128  # of what is between


def check(ending: str, moving: bool) -> None:
    """Raises ConfigError for an ending that such samples are not written with."""
    known = sorted({*STILL, *(MOVING if moving else ())})
    if ending not in known:
        kind = "clips" if moving else "pictures"
        raise ConfigError(f"{kind} are written as {', '.join(known)}, not {ending or 'no ending'}")


def grid(samples: UInt8[np.ndarray, "N ..."], columns: int = 0) -> UInt8[np.ndarray, "..."]:
    """Samples beside and below each other, as one clip or picture.

    Args:
      samples: [N, T, H, W, 3] or [N, H, W, 3]. columns: 0: about as many as lines.
    """
    moving = samples.ndim == 5
    clips = samples if moving else samples[:, None]
    columns = columns or int(np.ceil(len(clips) ** 0.5))
    lines = -(-len(clips) // columns)
    _, frames, height, width, channels = clips.shape
    page = np.full(
        (frames, lines * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), GREY,
        np.uint8,
    )  # fmt: skip
    for number, clip in enumerate(clips):
        top = number // columns * (height + GAP)
        left = number % columns * (width + GAP)
        page[:, top : top + height, left : left + width] = clip
    return page if moving else page[0]


def enlarged(samples: UInt8[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Each pixel as several, so that small samples can be seen: [..., H, W, 3]."""
    times = max(1, SMALLEST // min(samples.shape[-3:-1]))
    return samples.repeat(times, -3).repeat(times, -2)


def content(sample: UInt8[np.ndarray, "..."], ending: str, rate: int = FRAME_RATE) -> bytes:
    """The bytes of a file of a clip [T, H, W, 3] or a picture [H, W, 3].

    Args:
      rate: frames per second.
    """
    moving = sample.ndim == 4
    check(ending, moving)
    if moving and ending == ".mp4":
        return encoded(Video(_even(sample), rate))[1]
    data = io.BytesIO()
    if moving and ending in MOVING:
        frames = [Image.fromarray(frame) for frame in sample]
        more = {"lossless": True} if ending == ".webp" else {}
        frames[0].save(
            data, format=ending[1:].upper(), save_all=True, append_images=frames[1:],
            duration=round(1000 / rate), loop=0, **more,
        )  # fmt: skip
        return data.getvalue()
    if moving:  # its frames in a line
        sample = grid(sample, columns=len(sample))
    kind = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(ending, ending[1:].upper())
    Image.fromarray(sample).save(data, format=kind)
    return data.getvalue()


def write(path: Path, sample: UInt8[np.ndarray, "..."], rate: int = FRAME_RATE) -> None:
    """Writes one file, whole or not at all."""
    draft = path.with_name(path.name + ".draft")
    draft.write_bytes(content(sample, path.suffix.lower(), rate))
    draft.replace(path)


def _even(clip: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "T H W 3"]:
    """With even edges, as MP4 has them: the last line again."""
    _, height, width, _ = clip.shape
    return np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
