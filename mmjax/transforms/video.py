"""Clips: what they are, which of their frames are taken, and transforms that treat all alike.

* Frames are chosen by time, not by number, so that a clip says the same at any rate: `Uniform`,
  `Segments` (TSN, https://arxiv.org/abs/1608.00859), `Dense` (SlowFast,
  https://arxiv.org/abs/1812.03982).
* `OnClip` lends a transform of pictures to a clip: every frame gets the same crop, flip and colour.

Letters: T frames, H and W pixels.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mmjax.data.source import CorruptExample, Example
from mmjax.transforms import images, moving_pictures
from mmjax.transforms.audio import Cut, Sound
from mmjax.typing import Float, UInt8

# Transforms that treat each pixel alike: the frames of a clip go through as one tall picture.
POINTWISE = (images.ColorJitter, images.Normalize, images.RandomFlip)
SHAPING = (images.Resize, images.CenterCrop)  # leave a picture that has their size as it is


class Video(NamedTuple):
    """A clip at its own pace, and what is heard with it."""

    frames: UInt8[np.ndarray, "T H W 3"]
    rate: int  # frames per second
    sound: Sound | None = None


@dataclasses.dataclass(frozen=True)
class Uniform:
    """The middle of each of T equal parts."""

    frames: int  # T
    deterministic: ClassVar[bool] = True
    masked: ClassVar[bool] = False

    def times(self, start: float, end: float, rng: Any) -> Float[np.ndarray, " T"]:
        """Seconds, between the clip's beginning and end."""
        return start + (np.arange(self.frames) + 0.5) * (end - start) / self.frames


@dataclasses.dataclass(frozen=True)
class Segments:
    """Some moment of each of T equal parts."""

    frames: int  # T
    deterministic: ClassVar[bool] = False
    masked: ClassVar[bool] = False

    def times(self, start: float, end: float, rng: np.random.Generator) -> np.ndarray:
        """As of `Uniform`."""
        moment = rng.random(self.frames)
        return start + (np.arange(self.frames) + moment) * (end - start) / self.frames


@dataclasses.dataclass(frozen=True)
class Dense:
    """T frames at an even pace; of a clip that is too short the last are not there."""

    frames: int  # T
    rate: float  # frames per second
    place: float | None = None  # of the first, 0: as early as it can, 1: as late; None: by chance
    masked: ClassVar[bool] = True

    @property
    def deterministic(self) -> bool:
        return self.place is not None

    def times(self, start: float, end: float, rng: np.random.Generator | None) -> np.ndarray:
        """As of `Uniform`; some may lie behind the end."""
        spare = max(0.0, end - start - self.frames / self.rate)
        place = rng.random() if self.place is None else self.place
        return start + place * spare + np.arange(self.frames) / self.rate


@dataclasses.dataclass(frozen=True)
class DecodeVideo:
    """A clip -> uint8 [T, H, W, 3]; with `Dense`, "video_mask" [T] says which frames are there.

    A clip is the bytes of a file, a `Video`, or frames [T, H, W, 3], which are taken to be one a
    second. `start` and `end` of the example, in seconds, cut it.
    """

    pick: Uniform | Segments | Dense
    side: int = 0  # pixels of the shorter side that frames are reduced to as they come; 0: not
    max_pixels: int = 64_000_000  # of a frame; more are refused by the file's header
    field: ClassVar[str] = "video"

    @property
    def deterministic(self) -> bool:
        """Whether it may be remembered by the pipeline's cache."""
        return self.pick.deterministic

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        """Raises CorruptExample for what is no clip, or has less in it than it promises."""
        cut = Cut(example.get("start") or 0.0, example.get("end"))
        asked: list[np.ndarray] = []

        def choose(start: float, end: float) -> np.ndarray:
            asked.append(self.pick.times(start, end, rng))
            return asked[0]

        clip = example.get("video")
        if isinstance(clip, np.ndarray):
            clip = Video(clip, 1)
        if isinstance(clip, Video):
            found = _of_frames(clip, choose, cut)
        elif isinstance(clip, bytes | bytearray | memoryview):
            limits = (self.side, self.max_pixels)
            found = moving_pictures.taken(bytes(clip), choose, cut, *limits)
        else:
            raise CorruptExample(f"the video is {type(clip).__name__}")
        rest = {name: example[name] for name in example if name not in ("start", "end")}
        out = {**rest, "video": found.frames}
        return out | {"video_mask": asked[0] < found.end} if self.pick.masked else out


MIDDLE = DecodeVideo(Uniform(1))  # the frame that stands for a clip


def _of_frames(video: Video, choose: Any, cut: Cut) -> moving_pictures.Taken:
    frames = np.asarray(video.frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise TypeError(f"a clip is uint8 [T, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    start, end = moving_pictures.bounds(cut, len(frames) / video.rate)
    number = np.floor(np.asarray(choose(start, end)) * video.rate + moving_pictures.SAME)
    last = max(0, int(np.ceil(end * video.rate - moving_pictures.SAME)) - 1)
    number = np.clip(number.astype(int), 0, last)
    return moving_pictures.Taken(frames[number], number / video.rate, end)


@dataclasses.dataclass(frozen=True)
class OnClip:
    """A transform of pictures on each frame of `video`, with one draw for all of them."""

    step: Any  # of transforms/images.py
    field: ClassVar[str] = "video"

    @property
    def deterministic(self) -> bool:
        return getattr(self.step, "deterministic", False)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        clip = example["video"]
        if isinstance(self.step, SHAPING) and clip.dtype == np.uint8:
            if clip.shape[1:] == (self.step.size, self.step.size, 3):
                return example  # many small frames: most of the time would go into doing nothing
        if isinstance(self.step, POINTWISE):
            times, height, width, channels = clip.shape
            tall = clip.reshape(times * height, width, channels)
            done = self.step({"image": tall}, rng)["image"]
            return {**example, "video": np.ascontiguousarray(done).reshape(clip.shape)}
        # each frame draws the same numbers
        seed = None if rng is None else int(rng.integers(2**63))
        frames = []
        for frame in clip:
            own = None if seed is None else np.random.default_rng(seed)
            frames.append(self.step({"image": frame}, own)["image"])
        return {**example, "video": np.stack(frames)}


@dataclasses.dataclass(frozen=True)
class Views:
    """A clip -> several ones, float32 [V, T, S, S, 3]: of each time, crops along the longer side.

    "video_mask" becomes [V, T].
    """

    decode: tuple[DecodeVideo, ...]  # one for each time
    size: int  # S; the shorter side is resized to it
    crops: int  # 1: the middle; 3: both ends as well
    normalize: images.Normalize
    field: ClassVar[str] = "video"
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        """As `DecodeVideo`."""
        views = []
        masks = []
        for decode in self.decode:
            out = OnClip(images.Resize(self.size))(decode(example, rng))
            for crop in self._cropped(out["video"]):
                views.append(OnClip(self.normalize)({"video": crop})["video"])
                masks.append(out.get("video_mask"))
        made = {**out, "video": np.stack(views)}
        return made | {"video_mask": np.stack(masks)} if "video_mask" in out else made

    def _cropped(self, clip: UInt8[np.ndarray, "T H W 3"]) -> list[np.ndarray]:
        shares = (0.5,) if self.crops == 1 else np.linspace(0, 1, self.crops)
        found = []
        for share in shares:
            top = round(share * (clip.shape[1] - self.size))
            left = round(share * (clip.shape[2] - self.size))
            found.append(clip[:, top : top + self.size, left : left + self.size])
        return found
