"""What prepares the inputs of an `open_clip` checkpoint, by the `preprocess_cfg` of its config.

* Pixels as by its torchvision transforms on Pillow images: the shorter side resized, the middle
  kept, 8-bit values divided by 255. "squash" resizes to a square.
* Ids of CLIP's vocabulary behind the mending of web text, between start and end, padded with 0 to
  the context length; a longer text is cut and its last id is the end.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.processors import base, vocabularies
from mmjax.processors.checkpoints.checkpoint import PrepareImage, PrepareText
from mmjax.processors.checkpoints.pixels import Pixels
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms.images import CLIP_MEAN, CLIP_STD

DEFAULTS = {
    "mean": list(CLIP_MEAN),
    "std": list(CLIP_STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
RESAMPLE = {"bicubic": 3, "bilinear": 2, "nearest": 0}


@dataclasses.dataclass(frozen=True)
class Processor(base.Processor):
    """Prepares pictures and captions as the checkpoint's config says."""

    pixels: Pixels
    # CLIP's, behind the mending of web text
    tokenizer: Tokenizer = dataclasses.field(repr=False)
    length: int  # tokens of every caption, padding among them
    fields: Mapping[str, Any] = dataclasses.field(
        default_factory=dict, repr=False
    )  # preprocess_cfg
    ragged: ClassVar[Mapping[str, int]] = {"text": 2}
    arguments: ClassVar[Mapping[str, str]] = {"image": "images", "text": "ids", "text_mask": "mask"}

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """Pixels, and ids of the context length."""
        return (PrepareImage(self.pixels), PrepareText(self.tokens))

    def __call__(self, images: Any = None, text: str | Sequence[str] | None = None) -> dict:
        """A batch: "images" float32 [B, H, W, C], "ids" int32 and "mask" bool [B, L]."""
        batch: dict[str, np.ndarray] = {}
        if images is not None:
            batch["images"] = self.pixels(images)
        if text is not None:
            batch |= self.tokens([text] if isinstance(text, str) else text)
        return batch

    def inputs(self, fields: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """As every processor's."""
        return self(images=fields.get("image"), text=fields.get("text"))

    def tokens(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Captions as "ids" int32 and "mask" bool, [B, L]; True where a token is."""
        start = self.tokenizer.special["<start>"]
        end = self.tokenizer.special["<end>"]
        ids = np.zeros((len(texts), self.length), np.int32)
        mask = np.zeros(ids.shape, bool)
        for row, found in enumerate(self.tokenizer.encode_batch(list(texts))):
            caption = [start, *found][: self.length - 1]
            caption.append(end)
            ids[row, : len(caption)] = caption
            mask[row, : len(caption)] = True
        return {"ids": ids, "mask": mask}

    def resized(self, image_size: int) -> Processor:
        pixels = self.pixels.resized(image_size)
        return dataclasses.replace(self, pixels=pixels, fields={**self.fields, "size": image_size})

    def save(self, folder: str | Path) -> None:
        """Adds what is done to pixels to the config file that is in the folder already."""
        path = Path(folder) / "open_clip_config.json"
        written = json.loads(path.read_text(encoding="utf-8"))
        written["preprocess_cfg"] = {**DEFAULTS, **self.fields}
        path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def of(config: Mapping[str, Any], size: int, length: int) -> Processor:
    """Of a parsed open_clip_config.json.

    Args:
      size: pixels along each edge of what the model sees.
      length: tokens of a caption.

    Raises:
      ValueError: a preparation that is not supported; a text tower with another vocabulary.
    """
    fields = {**DEFAULTS, **config.get("preprocess_cfg", {})}
    size = fields.get("size") or size
    size = size if isinstance(size, int) else size[0]
    if fields["interpolation"] not in RESAMPLE or fields["resize_mode"] not in (
        "shortest",
        "squash",
    ):
        raise ConfigError(
            f"open_clip_config.json: preprocess_cfg.interpolation = {fields['interpolation']!r}, "
            f"resize_mode = {fields['resize_mode']!r}; bicubic, bilinear or nearest, and shortest "
            "or squash are supported"
        )
    resize = dict(shortest=size, crop=(size, size), nearest_corner=True)
    if fields["resize_mode"] == "squash":
        resize = dict(height=size, width=size)
    pixels = Pixels(
        **resize,
        resample=RESAMPLE[fields["interpolation"]],
        mean=tuple(fields["mean"]),
        std=tuple(fields["std"]),
    )
    tokenizer = vocabularies.named("open_clip")
    return Processor(pixels, tokenizer, length, config.get("preprocess_cfg", {}))
