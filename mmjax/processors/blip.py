"""What prepares the inputs of a BLIP checkpoint: pictures, texts, and how captions begin.

    batch = processor(images=pictures, text=questions)  # "images", "ids", "mask"
    prompt = processor.prompt(["a photo of", ""])  # "inputs", "mask", for the decoder
    processor.decode(ids)  # a text

* Pixels and ids are those of `BlipProcessor`.
* A text that the decoder goes on with opens with [DEC] in the place of [CLS], and has no end. Texts
  of several lengths are padded on the left, so that each goes on where it stops.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.config import ConfigError
from mmjax.models import blip
from mmjax.processors.checkpoints import checkpoint


@dataclasses.dataclass(frozen=True)
class Processor(checkpoint.Processor):
    """Prepares pictures, texts or both, and prompts of captions."""

    start_id: int | None = None  # [DEC]

    def prompt(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """How texts of the decoder begin: inputs int32 [B, L] and mask bool [B, L].

        Args:
          texts: one for each row; "": a caption from its first word on, or an answer.

        Raises:
          ConfigError: a checkpoint without a tokenizer, or without an opening token.
        """
        if self.start_id is None:
            raise ConfigError(
                "text_config of config.json names no bos_token_id to open a text with"
            )
        backend = self._tokens().backend
        rows = [
            [self.start_id, *backend.encode(text, add_special_tokens=False).ids] for text in texts
        ]
        length = max(map(len, rows))
        ids = np.full((len(rows), length), self.tokens.pad, np.int32)
        mask = np.zeros((len(rows), length), bool)
        for row, found in enumerate(rows):
            ids[row, length - len(found) :] = found
            mask[row, length - len(found) :] = True
        return {"inputs": ids, "mask": mask}

    def decode(self, ids: Any) -> str:
        """Text of ids [L] that the decoder wrote; ends and padding leave no trace."""
        return self._tokens().decode(ids)

    def _tokens(self) -> checkpoint.Tokens:
        if self.tokens is None:
            raise ConfigError(
                "the checkpoint's folder has no tokenizer: put its tokenizer.json or vocab.txt "
                "beside config.json"
            )
        return self.tokens


def load(folder: str | Path, config: blip.Config) -> Processor | None:
    """Of a folder; None where it has files neither of pictures nor of texts."""
    read = checkpoint.load(folder)
    if read is None:
        return None
    return Processor(**vars(read), start_id=config.start_id)
