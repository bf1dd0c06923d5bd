"""A loaded model's towers, from raw pictures, sounds and texts to unit vectors."""

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
NOUNS = {"image": "pictures", "audio": "sounds", "text": "texts"}  # of what there are vectors


class Encoder:
    """A model's towers, from raw pictures, sounds and texts to unit vectors."""

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
                "give a CLIP or a SigLIP, or a CLAP for sounds"
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
        """Bytes or uint8 [H, W, 3] -> float32 [N, E]; as `encode`."""
        return self.encode("image", pictures, size)

    def texts(self, texts: Sequence[str], size: int = 0) -> np.ndarray:
        """Texts -> float32 [N, E]; as `encode`."""
        return self.encode("text", texts, size)

    def encode(self, field: str, values: Sequence[Any], size: int = 0) -> np.ndarray:
        """Raw values of a field -> float32 [N, E].

        Args:
          size: rows that are computed at a time, to compile once; 0: all.

        Raises:
          ConfigError: the model has no tower for it.
          CorruptExample: a value that cannot be read, or a text without a word that the tokenizer
            knows.
          NotFinite: vectors that are not.
        """
        self.check(field)
        rows = [decode(value) for value in values] if field == "image" else list(values)
        options = dict(batch_size=size or None, refuse_unknown=self.refuse_unknown)
        what = NOUNS.get(field, field)
        return self._finite(what, self.loaded.encode(field, rows, **options))

    def check(self, field: str) -> None:
        """Raises ConfigError where the model has no tower for a field."""
        towers = clip.modalities(self.loaded.model.config)
        if field not in towers:
            raise ConfigError(
                f"the {self.loaded.family} has no tower for {field}: it has {', '.join(towers)}"
            )

    def readable(self, field: str, value: Any) -> Any:
        """The value, which can be encoded. Raises CorruptExample where it cannot."""
        if field == "image":
            return decode(value)
        if field == "text" and self.refuse_unknown:
            self.loaded.processor.check_known([value])
        self.loaded.processor.inputs({field: [value]})
        return value

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
