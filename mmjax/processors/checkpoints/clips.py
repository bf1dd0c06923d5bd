"""What prepares the inputs of a checkpoint of videos: its clips, frame by frame, and its texts.

* Each frame goes through the steps that checkpoint.py takes pictures through.
* A clip is frames as they are, or a file, of which as many frames are taken as the model has, at
  even times (transforms/video.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from mmjax.data.batching import Transform
from mmjax.data.source import Example
from mmjax.processors.checkpoints import checkpoint
from mmjax.processors.checkpoints.checkpoint import PrepareText
from mmjax.processors.checkpoints.pixels import Pixels
from mmjax.processors.raw import raw
from mmjax.transforms.video import DecodeVideo, Uniform, Video

ARGUMENTS = {"text": "ids", "text_mask": "mask"}  # of a model's call; a video is called so


@dataclasses.dataclass(frozen=True)
class PrepareClip:
    """`video`: a clip in any form -> float32 [T, H, W, C], as the checkpoint wants it."""

    pixels: Pixels
    frames: int  # T, of what is taken out of a file
    field: ClassVar[str] = "video"
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        return {**example, "video": self.pixels(self.frames_of(example["video"]))}

    def frames_of(self, clip: Any) -> list[Any]:
        """The pictures of a clip.

        Raises:
          CorruptExample: a file that cannot be used. OSError: one that cannot be read.
        """
        clip = raw("video", clip)
        if isinstance(clip, bytes):
            decode = DecodeVideo(Uniform(self.frames))
            clip = decode({"video": clip})["video"]
        return list(clip.frames if isinstance(clip, Video) else clip)


@dataclasses.dataclass(frozen=True)
class Processor(checkpoint.Processor):
    """Prepares clips, texts or both, as a checkpoint was trained on them."""

    frames: int = 0  # T, of what is taken out of a file

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """Pixels and ids, of those that the checkpoint takes."""
        clip = (PrepareClip(self.pixels, self.frames),) if self.pixels else ()
        text = (PrepareText(self.tokens),) if self.tokens else ()
        return (*clip, *text)

    def __call__(self, videos: Any = None, text: str | Sequence[str] | None = None) -> dict:
        """A batch: "video" float32 [B, T, H, W, C], "ids" and "mask" [B, L].

        Args:
          videos: one or several of: a path, encoded bytes, a Video, uint8 [T, H, W, 3], a list of
            pictures.

        Raises:
          ValueError: clips of different numbers of frames.
        """
        batch = super().__call__(text=text)
        if videos is None:
            return batch
        if self.pixels is None:
            raise ValueError("the checkpoint's folder has no file that says how clips are prepared")
        prepare = PrepareClip(self.pixels, self.frames)
        clips = [prepare({"video": clip})["video"] for clip in _several(videos)]
        lengths = sorted({len(clip) for clip in clips})
        if len(lengths) > 1:
            raise ValueError(f"clips of {lengths[0]} and of {lengths[-1]} frames make no batch")
        return {"video": np.stack(clips), **batch}

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """As every processor's."""
        return self(videos=fields.get("video"), text=fields.get("text"))

    def show(self, arrays: Mapping[str, Any], row: int) -> dict[str, Any]:
        """The clip of a row, and its words."""
        shown = super().show({name: arrays[name] for name in arrays if name != "video"}, row)
        if "video" in arrays and self.pixels is not None:
            frames = [self.pixels.undone(frame) for frame in np.asarray(arrays["video"][row])]
            shown["video"] = np.stack(frames)
        return shown


def _several(videos: Any) -> list[Any]:
    """A list of clips, of one clip or several."""
    if isinstance(videos, np.ndarray) and videos.ndim == 5:
        return list(videos)
    if type(videos) not in (list, tuple):
        return [videos]
    first = videos[0] if videos else None
    picture = isinstance(first, Image.Image) or (isinstance(first, np.ndarray) and first.ndim < 4)
    return [videos] if picture else list(videos)


def load(folder: str | Path, frames: int) -> Processor | None:
    """Of a folder; None where it has neither kind of file.

    Args:
      frames: of a clip.
    """
    made = checkpoint.load(folder, ARGUMENTS)
    return made and Processor(made.pixels, made.tokens, made.files, made.arguments, frames)
