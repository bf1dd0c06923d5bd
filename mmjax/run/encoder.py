"""A loaded model's two towers, from raw pictures and texts to unit vectors."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.errors import NotFinite
from mmjax.models import clip
from mmjax.run.load import Loaded
from mmjax.transforms.decode import DecodeImage

DECODE = DecodeImage()
LENGTHS = 16  # captions are padded to a multiple of so many tokens, to compile for few lengths


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
        model = loaded.model
        self._image = jax.jit(functools.partial(model.apply, method=model.encode_image))
        self._text = jax.jit(functools.partial(model.apply, method=model.encode_text))

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the model's config and its parameters."""
        digest = hashlib.sha256(repr(self.loaded.config).encode())
        for path, leaf in sorted(tree.flatten(self.loaded.params).items()):
            digest.update(path.encode())
            digest.update(np.ascontiguousarray(np.asarray(leaf)).view(np.uint8).data)
        return digest.hexdigest()

    def images(self, pictures: Sequence[Any], size: int = 0) -> np.ndarray:
        """Bytes or uint8 [H, W, 3] -> float32 [N, E].

        Args:
          size: the batch is filled up to so many, to compile once.

        Raises:
          CorruptExample: a picture that cannot be read. NotFinite: vectors that are not.
        """
        pixels = [decode(one) for one in pictures]
        count = len(pixels)
        batch = self.loaded.processor(images=pixels + pixels[-1:] * (size - count))["images"]
        return self._finite("pictures", self._image(self.loaded.variables, batch))[:count]

    def texts(self, texts: Sequence[str], size: int = 0) -> np.ndarray:
        """Texts -> float32 [N, E]; as `images`.

        Raises:
          CorruptExample: a text without a word that the tokenizer knows. NotFinite: as `images`.
        """
        count = len(texts)
        padded = [*texts, *texts[-1:] * (size - count)]
        processor = self.loaded.processor
        if self.refuse_unknown or all(map(processor.knows, texts)):
            batch = processor(text=padded)
        else:
            batch = processor(text=padded, refuse_unknown=False)
        ids = batch["ids"]
        mask = batch["mask"]
        config = self.loaded.config.text
        length = min(-(-ids.shape[1] // LENGTHS) * LENGTHS, config.context_length)
        room = length - ids.shape[1]
        if room > 0 and not getattr(config, "padded_in_full", False):
            ids = np.pad(ids, ((0, 0), (0, room)))
            mask = np.pad(mask, ((0, 0), (0, room)))
        out = self._text(self.loaded.variables, jnp.asarray(ids), jnp.asarray(mask))
        return self._finite("texts", out)[:count]

    def _finite(self, what: str, vectors: jax.Array) -> np.ndarray:
        """The vectors on the host, in float32."""
        found = np.asarray(vectors, np.float32)
        if not np.isfinite(found).all():
            raise NotFinite(
                f"the {self.loaded.family} makes vectors of {what} with a NaN or an infinity: its "
                "weights cannot be used, or not in the type that it computes in"
            )
        return found


def decode(picture: Any) -> np.ndarray:
    """Bytes -> uint8 [H, W, 3]. Raises CorruptExample."""
    return DECODE({"image": picture})["image"]
