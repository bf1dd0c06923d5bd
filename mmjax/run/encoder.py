"""A loaded model's two towers, from raw pictures and texts to unit vectors."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.errors import NotFinite
from mmjax.models import clip
from mmjax.processors.inference import Inference
from mmjax.run.load import Loaded
from mmjax.transforms.decode import DecodeImage

DECODE = DecodeImage()


class Encoder:
    """A model's two towers, from raw pictures and texts to unit vectors."""

    def __init__(self, loaded: Loaded, *, refuse_unknown: bool = True):
        """
        Args:
          refuse_unknown: a text of which the tokenizer knows no word; else it is an empty one.

        Raises:
          ConfigError: a model of another kind, or one without a processor.
        """
        if not isinstance(loaded.model, clip.Model):
            raise ConfigError(
                f"a {loaded.family} has no vectors of pictures and texts that can be compared: "
                "give a CLIP or a SigLIP"
            )
        if loaded.processor is None:
            raise ConfigError("the model's folder does not say how its inputs are prepared")
        self.loaded = loaded
        self.refuse_unknown = refuse_unknown

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the model's config and its parameters."""
        return fingerprint_of(self.loaded)

    def images(self, pictures: Sequence[Any], size: int = 0) -> np.ndarray:
        """Bytes or uint8 [H, W, 3] -> float32 [N, E].

        Args:
          size: rows that are computed at a time, to compile once; 0: all.

        Raises:
          CorruptExample: a picture that cannot be read. NotFinite: vectors that are not.
        """
        pixels = [decode(picture) for picture in pictures]
        vectors = self.loaded.encode_image(pixels, batch_size=size or None)
        return self._finite("pictures", vectors)

    def texts(self, texts: Sequence[str], size: int = 0) -> np.ndarray:
        """Texts -> float32 [N, E]; as `images`.

        Raises:
          CorruptExample: a text without a word that the tokenizer knows. NotFinite: as `images`.
        """
        vectors = self.loaded.encode_text(
            list(texts), batch_size=size or None, refuse_unknown=self.refuse_unknown
        )
        return self._finite("texts", vectors)

    def _finite(self, what: str, vectors: np.ndarray) -> np.ndarray:
        if not np.isfinite(vectors).all():
            raise NotFinite(
                f"the {self.loaded.family} makes vectors of {what} with a NaN or an infinity: its "
                "weights cannot be used, or not in the type that it computes in"
            )
        return vectors


def fingerprint_of(model: Inference) -> str:
    """A hash of a model's config and its parameters."""
    digest = hashlib.sha256(repr(model.model.config).encode())
    for path, leaf in sorted(tree.flatten(model.params).items()):
        digest.update(path.encode())
        digest.update(np.ascontiguousarray(np.asarray(leaf)).view(np.uint8).data)
    return digest.hexdigest()


def decode(picture: Any) -> np.ndarray:
    """Bytes -> uint8 [H, W, 3]. Raises CorruptExample."""
    return DECODE({"image": picture})["image"]
