"""Pictures as a checkpoint wants them, from its `preprocessor_config.json`.

* The same pixels as the Pillow image processors of `transformers`: a resize of 8-bit pixels by
  Pillow (antialiased), the crop's rounding, zeros about a picture smaller than the crop.
* Files of early releases give sizes as one number, which means the shorter side for CLIP and a
  square for the others, and leave out what equals the defaults of their type.
* NaFlex (SigLIP 2): the largest grid of whole patches of the picture's own shape, cut already.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample
from mmjax.layers.patches import Patches
from mmjax.processors.raw import raw
from mmjax.transforms.images import CLIP_MEAN, CLIP_STD

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Defaults of each type of image processor, by the first word of its name.
DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": dict(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, do_center_crop=True,
        resample=3, image_mean=CLIP_MEAN, image_std=CLIP_STD,
    ),
    "Blip": dict(
        size={"height": 384, "width": 384}, resample=3, image_mean=CLIP_MEAN, image_std=CLIP_STD
    ),
    "Llava": dict(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, do_center_crop=True,
        resample=3, image_mean=CLIP_MEAN, image_std=CLIP_STD,
    ),
    "Siglip": dict(size={"height": 224, "width": 224}, resample=3),
    "Siglip2": dict(resample=2, patch_size=16, max_num_patches=256),
    "ViT": dict(size={"height": 224, "width": 224}, resample=2),
    "DeiT": dict(
        size={"height": 256, "width": 256}, crop_size={"height": 224, "width": 224},
        do_center_crop=True, resample=3,
    ),
    # clips, frame by frame
    "Vivit": dict(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, do_center_crop=True,
        resample=2, rescale_factor=1 / 127.5, offset=True,
    ),
    "VideoMAE": dict(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, do_center_crop=True,
        resample=2,
    ),
}  # fmt: skip
SHORTEST = ("CLIP", "Llava", "Vivit", "VideoMAE")  # a size of one number is the shorter side's
# They cut a picture into several: tiles.py does that for models that were trained so here.
TILED = ("LlavaNext", "LlavaOnevision")
UNSUPPORTED = ("do_pad", "do_thumbnail", "do_align_long_axis", "do_flip_channel_order")


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The steps from a picture to pixels that a checkpoint's preprocessor_config.json asks for."""

    height: int | None = None  # pixels, of the resized picture; None: see shortest
    width: int | None = None  # likewise
    shortest: int | None = None  # pixels of its shorter side; None: not resized
    longest: int | None = None  # no longer side than this, whatever `shortest` says
    crop: tuple[int, int] | None = None  # height, width of the middle that is kept
    resample: int = 3  # Pillow's number: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic
    scale: float = 1 / 255  # factor on 8-bit values
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # taken off each channel
    std: tuple[float, ...] = (1.0, 1.0, 1.0)  # and this divides it
    patch: int | None = None  # NaFlex: pixels along the edge of a patch
    patches: int = 256  # NaFlex: at most so many, and all rows have so many places
    # the crop's corner, (side - crop) / 2, is rounded down; True: to the nearest, as in torchvision
    nearest_corner: bool = False
    edge: tuple[int, ...] | None = None  # colour, 0 to 255, that makes a picture square first

    def __call__(self, pictures: Any) -> np.ndarray | Patches:
        """Normalised pixels, float32 [B, H, W, C], or patches for NaFlex.

        Args:
          pictures: one or several of: a path, encoded bytes, a Pillow image, uint8 [H, W, 3].

        Raises:
          ValueError: pictures that end up in different sizes.
        """
        several = isinstance(pictures, Sequence) and not isinstance(pictures, str | bytes)
        done = [self.one(picture) for picture in (pictures if several else [pictures])]
        if self.patch is not None:
            return self._cut(done)
        shapes = sorted({one.shape for one in done})
        if len(shapes) > 1:
            raise ValueError(
                f"pictures of {shapes[0]} and {shapes[-1]} make no batch: this checkpoint's "
                "preprocessing does not bring them to one size; call it for each"
            )
        return np.stack(done)

    def one(self, picture: Any) -> np.ndarray:
        """One picture, float32 [H, W, C]."""
        image = opened(picture)
        if self.edge is not None:
            image = _square(image, self.edge)
        size = self._size(image.height, image.width)
        if size != (image.height, image.width):
            image = image.resize(size[::-1], resample=self.resample)
        pixels = np.asarray(image)
        if self.crop is not None:
            pixels = self._cropped(pixels, self.crop)
        # the product in double, as the reference; all else in single precision
        pixels = (pixels.astype(np.float64) * self.scale).astype(np.float32)
        return (pixels - np.float32(self.mean)) / np.float32(self.std)

    def undone(self, pixels: np.ndarray) -> np.ndarray:
        """The picture again: float32 [H, W, C] -> uint8 [H, W, C]."""
        values = (pixels * np.float32(self.std) + np.float32(self.mean)) / np.float32(self.scale)
        return np.rint(values).clip(0, 255).astype(np.uint8)

    def resized(self, image_size: int) -> Pixels:
        """The same steps to pictures of another size; what lies about the crop grows with it.

        Raises:
          ConfigError: pictures of any size.
        """
        if self.patch is not None:
            raise ConfigError("pictures that keep their shape are not brought to an image_size")
        seen = self.crop or (self.height, self.width)
        old = self.shortest if None in seen else min(seen)
        if old is None:
            raise ConfigError("the checkpoint's preprocessing does not bring pictures to one size")
        sizes = {}
        for name in ("height", "width", "shortest", "longest"):
            side = getattr(self, name)
            sizes[name] = None if side is None else round(side * image_size / old)
        crop = None if self.crop is None else (image_size, image_size)
        return dataclasses.replace(self, crop=crop, **sizes)

    def fields(self) -> dict[str, Any]:
        """Its sizes as fields of a preprocessor_config.json."""
        out: dict[str, Any] = {}
        if self.height is not None:
            out["size"] = {"height": self.height, "width": self.width}
        elif self.shortest is not None:
            out["size"] = {"shortest_edge": self.shortest}
            if self.longest is not None:
                out["size"]["longest_edge"] = self.longest
        if self.crop is not None:
            out["crop_size"] = {"height": self.crop[0], "width": self.crop[1]}
        return out

    def _size(self, height: int, width: int) -> tuple[int, int]:
        if self.patch is not None:
            return native_size(height, width, self.patch, self.patches)
        if self.height is not None and self.width is not None:
            return self.height, self.width
        if self.shortest is None:
            return height, width
        short = min(height, width)
        long = max(height, width)
        size = self.shortest
        other = int(self.shortest * long / short)
        if self.longest is not None and long / short * size > self.longest:
            exact = self.longest * short / long
            size = int(round(exact))
            other = int(exact * long / short)
        return (size, other) if height <= width else (other, size)

    def _cropped(self, pixels: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
        for axis, wanted in enumerate(crop):
            side = pixels.shape[axis]
            if side < wanted:  # black about it; more of it before than behind
                before = (wanted - side) // 2 if self.nearest_corner else -((side - wanted) // 2)
                edges = [(0, 0)] * pixels.ndim
                edges[axis] = (before, wanted - side - before)
                pixels = np.pad(pixels, edges)
            start = max(0, side - wanted)
            start = round(start / 2) if self.nearest_corner else start // 2
            pixels = pixels.take(range(start, start + wanted), axis)
        return pixels

    def _cut(self, pictures: list[np.ndarray]) -> Patches:
        p = self.patch
        count = self.patches
        values = np.zeros((len(pictures), count, p * p * pictures[0].shape[-1]), np.float32)
        shapes = np.array([(x.shape[0] // p, x.shape[1] // p) for x in pictures], np.int32)
        for row, (picture, (rows, columns)) in enumerate(zip(pictures, shapes, strict=True)):
            cut = picture.reshape(rows, p, columns, p, -1).swapaxes(1, 2)
            values[row, : rows * columns] = cut.reshape(rows * columns, -1)
        mask = np.arange(count)[None] < shapes.prod(1, keepdims=True)
        return Patches(values, shapes, mask)


def opened(picture: Any) -> Image.Image:
    """A picture in any form as RGB. Files and bytes are turned upright, as their EXIF says.

    Raises:
      CorruptExample: bytes that are no picture. OSError: a file that cannot be read.
    """
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    picture = raw("image", picture)
    if isinstance(picture, bytes):
        try:
            with Image.open(io.BytesIO(picture)) as image:
                return ImageOps.exif_transpose(image).convert("RGB")
        except Exception as error:  # whatever a decoder throws on bytes is the bytes' fault
            raise CorruptExample(f"no picture, or a broken one: {error}") from error
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise ValueError(
            f"a picture is a path, bytes, a Pillow image or uint8 [H, W, 3]; this is "
            f"{picture.dtype} {list(picture.shape)}"
        )
    return Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).convert(
        "RGB"
    )


def _square(image: Image.Image, colour: tuple[int, ...]) -> Image.Image:
    """With a colour about it that makes it square; an odd pixel of it stands behind."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def native_size(height: int, width: int, patch: int, most: int) -> tuple[int, int]:
    """The largest size of about the picture's shape that is cut into at most `most` patches.

    Sides are multiples of `patch`; the factor is found by halving, to 1e-5, as in the reference.
    """
    low = 1e-6
    high = 100.0
    scaled = lambda by, side: max(patch, math.ceil(side * by / patch) * patch)  # noqa: E731
    while high - low >= 1e-5:
        factor = (low + high) / 2
        count = (scaled(factor, height) / patch) * (scaled(factor, width) / patch)
        if count <= most:
            low = factor
        else:
            high = factor
    return scaled(low, height), scaled(low, width)


def from_config(config: Mapping[str, Any], where: str = "preprocessor_config.json") -> Pixels:
    """Of a `preprocessor_config.json`.

    Raises:
      ValueError: a step that is not supported.
    """
    kind = config.get("image_processor_type") or config.get("feature_extractor_type") or "ViT"
    family = next(
        (one for one in sorted(DEFAULTS, key=len)[::-1] if kind.lower().startswith(one.lower())),
        None,
    )
    if kind.startswith(TILED):
        family = None
    for field in UNSUPPORTED:
        if config.get(field) and (family, field) != ("Llava", "do_pad"):
            raise ConfigError(f"{where}: {field} = {config[field]!r} is not supported")
    if family is None:
        raise ConfigError(f"{where}: {kind} is not supported; {', '.join(DEFAULTS)} are")
    fields = {"image_mean": HALF, "image_std": HALF, **DEFAULTS[family]}
    fields |= {key: value for key, value in config.items() if value is not None}
    on = lambda step, default=True: fields.get(step, default)  # noqa: E731
    kinds: dict[str, Any] = {"resample": int(fields["resample"])}
    if family == "Siglip2":
        kinds |= dict(patch=fields["patch_size"], patches=fields["max_num_patches"])
    elif on("do_resize"):
        kinds |= _resize(fields["size"], family in SHORTEST, where)
    if on("do_center_crop", False):
        crop = fields["crop_size"]
        square = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        kinds["crop"] = (square["height"], square["width"])
    kinds["scale"] = fields.get("rescale_factor", 1 / 255) if on("do_rescale") else 1.0
    if on("do_normalize"):
        for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
            value = fields[theirs]
            kinds[ours] = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    if fields.get("offset"):  # pixels from -1 to 1 before they are normalised
        kinds["mean"] = tuple(one + 1 for one in kinds.get("mean", (0.0,) * 3))
    if config.get("do_pad"):
        kinds["edge"] = tuple(int(one * 255) for one in fields["image_mean"])
    return Pixels(**kinds)


def _resize(size: Any, shortest: bool, where: str) -> dict[str, int]:
    if isinstance(size, int):
        return {"shortest": size} if shortest else {"height": size, "width": size}
    if "shortest_edge" in size:
        out = {"shortest": size["shortest_edge"], "longest": size.get("longest_edge")}
        return {key: value for key, value in out.items() if value is not None}
    if {"height", "width"} <= set(size):
        return {"height": size["height"], "width": size["width"]}
    raise ConfigError(
        f"{where}: size = {size} is not supported; a number, shortest_edge (with longest_edge) and "
        "height with width are"
    )
