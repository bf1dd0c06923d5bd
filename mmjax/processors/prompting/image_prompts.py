"""Prompts with pictures between their words, as a vision-language checkpoint was trained on them.

    batch = processor(images=[cat, dog, cow], text=["<image> or <image>?", "a <image>"])
    batch = processor.chat([conversation, another])
    generator(batch, Options(max_new_tokens=32))  # or model.apply(variables, **batch)

* An image token of a text becomes as many as the model has vectors for a picture; ids and pixels
  are those of `LlavaProcessor` and `PaliGemmaProcessor`.
* Pictures are [B, M, H, W, C] with `image_mask` [B, M]: each row has its own, in the order of its
  text, and zeros behind them.

Letters: B batch, L tokens, M pictures of a row at most, H and W pixels, C channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.data.source import DataError
from mmjax.processors import tiles
from mmjax.processors.checkpoints import checkpoint
from mmjax.processors.prompting import prompts


@dataclasses.dataclass(frozen=True)
class Processor(prompts.Processor):
    """Prepares prompts with pictures."""

    image_id: int = 0  # the image token
    image_tokens: int = 0  # that a picture becomes
    start: str = ""  # "<bos>": PaliGemma's, which stands behind the pictures
    # AnyRes: rows and columns of tiles that a picture may be cut into, besides the whole; (): none
    grids: tuple[tuple[int, int], ...] = ()
    kind: ClassVar[str] = "image"
    thing: ClassVar[str] = "picture"
    keys: ClassVar[tuple[str, ...]] = ("image", "path")

    @property
    def image_token(self) -> str:
        """As it is written in a text. Raises DataError: the tokenizer does not know it."""
        return self._written(self.image_id)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        answers: str | Sequence[str] | None = None,
        special: bool = True,
    ) -> dict[str, np.ndarray]:
        """A batch: "inputs" and "mask" [B, L], "images" and "image_mask" where there are any.

        Args:
          images: those of all texts, one behind the other, or a list of each text's; each is a
            path, encoded bytes, a Pillow image or uint8 [H, W, 3].
          text: prompts, in which the image token stands for a picture.
          answers: what is learned behind each prompt; "prefix" [B, L] is then True on the prompts.
          special: the tokenizer's own tokens stand about a text.

        Raises:
          DataError: pictures that are more or fewer than image tokens, a vocabulary without them.
        """
        texts = [text] if isinstance(text, str) else list(text or ())
        if not texts:
            raise DataError("there is no text: a prompt with a picture has an image token")
        token = self.image_token
        if self.start and images is not None and not any(token in one for one in texts):
            # PaliGemma's prompts may leave them out: the pictures come first then
            counts = _given(images, len(texts))
            texts = [token * count + one for count, one in zip(counts, texts, strict=True)]
        rows = self._by_row(images, [one.count(token) for one in texts], token)
        rows = [[self._tiles(picture) for picture in row] for row in rows]
        if self.start:
            texts = [self._with_start(one, token) for one in texts]
            special = False
        counts = [[self.image_tokens * len(cut) for cut in row] for row in rows]
        texts = [prompts.expanded(one, token, row) for one, row in zip(texts, counts, strict=True)]
        batch = self._batch(texts, answers, special)
        return batch | self._pictures([sum(row, []) for row in rows])

    def _with_start(self, text: str, token: str) -> str:
        """PaliGemma's prompt: pictures, the start token, the question, the end of a line."""
        head, token, tail = text.rpartition(token)
        return f"{head}{token}{self.start}{tail}\n"

    def _tiles(self, picture: Any) -> list[Any]:
        """What the model reads of a picture: itself, or the whole and its tiles."""
        if not self.grids or self.pixels is None:
            return [picture]
        pixels = self.pixels
        edge = pixels.crop[0] if pixels.crop else pixels.height or pixels.shortest
        return tiles.tiles(picture, self.grids, edge, pixels.resample)

    def _pictures(self, rows: Sequence[Sequence[Any]]) -> dict[str, np.ndarray]:
        """Pixels of each row's pictures, and which are there."""
        if not any(rows):
            return {}
        if self.pixels is None:
            raise DataError("the checkpoint's folder does not say how pictures are prepared")
        counts = np.array([len(row) for row in rows])
        mask = np.arange(counts.max())[None] < counts[:, None]
        pixels = self.pixels([one for row in rows for one in row])
        images = np.zeros((*mask.shape, *pixels.shape[1:]), np.float32)
        images[mask] = pixels
        return {"images": images, "image_mask": mask}


def _given(images: Any, texts: int) -> list[int]:
    """How many pictures each text has: as its list says, or one."""
    if isinstance(images, list | tuple) and images and isinstance(images[0], list | tuple):
        if len(images) != texts:
            raise DataError(f"{texts} texts have {len(images)} lists of pictures")
        return [len(own) for own in images]
    return [1] * texts


def load(folder: Path, image_id: int, image_tokens: int, **fields: Any) -> Processor | None:
    """Of a checkpoint's folder; None where it has neither pixels nor texts.

    Args:
      fields: more of the processor.
    """
    read = checkpoint.load(folder, max_length=None)
    if read is None:
        return None
    kwargs = dict(image_id=image_id, image_tokens=image_tokens, **fields)
    kwargs["template"] = prompts.template_of(folder, read)
    return Processor(read.pixels, read.tokens, read.files, **kwargs)
