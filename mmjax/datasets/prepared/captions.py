"""Texts and splits of drawings that come with a name, tags and a folder."""

import hashlib
import re
from collections.abc import Iterable

SPLITS = ("train", "validation", "test", "all")
SHARE = 0.1  # of the keys, for validation and for testing each


def caption(name: str, tags: Iterable[str], most: int) -> str:
    """The name and up to `most` tags; a tag that only repeats words of the text is left out."""
    texts = [name]
    said = _stems(name)
    for tag in tags:
        new = _stems(tag) - said
        if len(texts) <= most and new:
            texts.append(tag)
            said |= new
    return ", ".join(texts)


def _stems(text: str) -> set[str]:
    """Its words, one and many alike."""
    return {word.removesuffix("s") for word in re.findall(r"\w+", words(text).lower())}


def words(name: str) -> str:
    """A file name or a tag in words: "arrow-up_2" -> "arrow up 2", "RedArrow" -> "Red Arrow"."""
    name = re.sub(r"(?<=[a-z]{2})(?=[A-Z][a-z])|[-_]+", " ", name)
    return " ".join(name.split())


def in_split(key: str, split: str, test: float = SHARE) -> bool:
    """Whether the examples of this key are in the split; the key alone decides.

    Args:
      test: share of the keys that is for testing; a tenth of all is for validation.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < test:
        return split in ("test", "all")
    return split in ("validation" if place < test + SHARE else "train", "all")
