"""The processor of a model that was trained here, called as those of other checkpoints are.

* Pixels and ids are those of the run's evaluation; captions are padded to the longest length, so
  that a model is compiled once.
* Kept in two files: "processor" of config.json, and tokenizer.json.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.config import ConfigError, build, to_dict
from mmjax.data.source import CorruptExample
from mmjax.processors import image_text
from mmjax.tokenizers import bpe
from mmjax.tokenizers.bpe import Tokenizer
from mmjax.transforms.decode import to_rgb

KINDS = {"image_text": image_text}  # by the name that a run's config gives


@dataclasses.dataclass(frozen=True)
class Processor:
    """Prepares pictures and captions."""

    name: str  # one of KINDS
    config: Any  # of that module
    tokenizer: Tokenizer
    refuse_unknown: bool = True  # texts without any word that the tokenizer knows

    def __call__(self, images: Any = None, text: str | Sequence[str] | None = None) -> dict:
        """A batch: "images" float32 [B, H, W, C], "ids" int32 and "mask" bool [B, L].

        Args:
          images: one or several of: a path, encoded bytes, a Pillow image, uint8 [H, W, 3].

        Raises:
          CorruptExample: a picture that cannot be read; a text without a word that is known.
        """
        inner = KINDS[self.name].Processor(self.config, self.tokenizer)
        batch: dict[str, np.ndarray] = {}
        if images is not None:
            several = isinstance(images, Sequence) and not isinstance(images, str | bytes)
            pictures = [_raw(one) for one in (images if several else [images])]
            batch["images"] = np.stack([_pixels(inner, one) for one in pictures])
        if text is not None:
            texts = (text,) if isinstance(text, str) else tuple(text)
            found = inner.tokenize({"text": texts})
            bare = self.config.max_length - inner.tokenize.room  # start and end alone
            for one, mask in zip(texts, found["text_mask"], strict=True):
                if self.refuse_unknown and mask.sum() == bare:
                    raise CorruptExample(f"{one!r} holds no word that the tokenizer knows")
            room = self.config.max_length - found["text"].shape[1]
            (pad,) = inner.tokenize.padding.values()
            batch["ids"] = np.pad(found["text"], ((0, 0), (0, room)), constant_values=pad)
            batch["mask"] = np.pad(found["text_mask"], ((0, 0), (0, room)))
        return batch

    def save(self, folder: str | Path) -> None:
        """Writes tokenizer.json, and its own part of config.json, which is there already."""
        path = Path(folder) / "config.json"
        written = json.loads(path.read_text(encoding="utf-8"))
        written["processor"] = {"name": self.name, **to_dict(self.config)}
        path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        self.tokenizer.save(Path(folder) / "tokenizer.json")


def load(folder: str | Path) -> Processor | None:
    """Of a folder; None where it holds none.

    Raises:
      ConfigError: a kind that is not here, or fields that it does not have.
    """
    folder = Path(folder)
    where = f"{folder / 'config.json'}: processor"
    fields = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("processor")
    if fields is None:
        return None
    name = fields.pop("name", None)
    if name not in KINDS:
        raise ConfigError(f"{where}.name = {name!r}; there are {', '.join(KINDS)}")
    config = build(KINDS[name].Config, fields, where=where)
    return Processor(name, config, bpe.load(folder / "tokenizer.json"))


def _raw(picture: Any) -> Any:
    """Bytes or uint8 [H, W, C], which the transforms take."""
    if isinstance(picture, str | Path):
        return Path(picture).read_bytes()
    return np.asarray(to_rgb(picture)) if isinstance(picture, Image.Image) else picture


def _pixels(inner: Any, picture: Any) -> np.ndarray:
    """Normalised pixels [H, W, C], without augmentation."""
    example, rng = {"image": picture}, np.random.default_rng(0)  # which nothing is drawn from
    for transform in inner.evaluate:
        if getattr(transform, "field", "image") == "image":
            example = transform(example, rng)
    return example["image"]
