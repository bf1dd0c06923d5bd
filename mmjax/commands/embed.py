"""Embed: the pictures or texts of a folder, a manifest or a set -> a file of vectors.

    python -m mmjax.main --mode=embed --model=emoji_clip --data=photos --out=photos.parquet

* For every model with two towers that `mmjax.load` opens (CLIP, SigLIP, those trained here).
* Stopped at any moment, the same command goes on where it was: data/embeddings.py.
* What cannot be read is left out, counted and named.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from mmjax import tree
from mmjax.commands import listing
from mmjax.commands.load import Loaded, load
from mmjax.commands.options import Execution
from mmjax.commands.runtime import prepare
from mmjax.config import ConfigError
from mmjax.data import embeddings
from mmjax.data.decode import DecodeImage
from mmjax.data.source import CorruptExample
from mmjax.data.storage import Progress
from mmjax.models import clip

DECODE = DecodeImage()
LENGTHS = 16  # captions are padded to a multiple of so many tokens, to compile for few lengths


@dataclasses.dataclass(frozen=True)
class Options:
    data: str  # a folder, a manifest, a .txt of lines, or the name of a set
    out: str  # .npy or .parquet
    model: str = "emoji_clip"  # a folder, a name, an id of the hub
    kind: Literal["images", "texts"] = "images"  # what of the data
    column: str = ""  # of a manifest; "": image or text
    batch_size: int = 64  # rows that are embedded at a time
    chunk: int = 1024  # rows that are kept at a time


class Encoder:
    """A model's two towers, from raw pictures and texts to unit vectors."""

    def __init__(self, loaded: Loaded):
        """
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
        model = loaded.model
        self._image = jax.jit(functools.partial(model.apply, method=model.encode_image))
        self._text = jax.jit(functools.partial(model.apply, method=model.encode_text))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the model and its parameters."""
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
          CorruptExample: a picture that cannot be read.
        """
        pixels = [decode(one) for one in pictures]
        count = len(pixels)
        batch = self.loaded.processor(images=pixels + pixels[-1:] * (size - count))["images"]
        return np.asarray(self._image(self.loaded.variables, batch), np.float32)[:count]

    def texts(self, texts: Sequence[str], size: int = 0) -> np.ndarray:
        """Texts -> float32 [N, E]; as `images`.

        Raises:
          CorruptExample: a text without a word that the tokenizer knows.
        """
        texts, count = list(texts), len(texts)
        batch = self.loaded.processor(text=texts + texts[-1:] * (size - count))
        ids, mask = batch["ids"], batch["mask"]
        config = self.loaded.config.text
        length = min(-(-ids.shape[1] // LENGTHS) * LENGTHS, config.context_length)
        room = length - ids.shape[1]
        if room > 0 and not config.attend_padding:
            ids, mask = (np.pad(one, ((0, 0), (0, room))) for one in (ids, mask))
        out = self._text(self.loaded.variables, jnp.asarray(ids), jnp.asarray(mask))
        return np.asarray(out, np.float32)[:count]


def run(options: Options) -> embeddings.Index:
    """Embeds, writes the file, and opens it.

    Raises:
      ConfigError, DataError, FileNotFoundError: no such data, or a model that cannot.
    """
    for name in ("batch_size", "chunk"):
        if getattr(options, name) < 1:
            raise ConfigError(f"{name}={getattr(options, name)}: 1 or more")
    if not options.data or not options.out:
        raise ConfigError("--mode=embed needs --data= and --out= (a .npy or .parquet file)")
    prepare(Execution())
    rows = listing.open(options.data, options.kind, options.column)
    made = embed(Encoder(load(options.model)), rows, options)
    print(f"{options.out}: {made.vectors.shape[0]:,} {options.kind} x {made.vectors.shape[1]}")
    return made


def embed(encoder: Encoder, rows: listing.Listing, options: Options) -> embeddings.Index:
    """As `run`, of what is opened already."""
    path = Path(options.data).expanduser()
    about = {
        "model": options.model,
        "parameters": encoder.fingerprint,
        "data": str(path.absolute()) if path.exists() else options.data,
        "rows": rows.fingerprint,
        "kind": options.kind,
        "column": options.column,
        "chunk": options.chunk,
    }
    chunks = -(-len(rows) // options.chunk)
    writer = embeddings.Writer(options.out, about, chunks)
    missing, corrupt = writer.missing(), []
    with Progress(f"embedding {options.kind}", len(rows)) as bar:
        bar.update((chunks - len(missing)) * options.chunk)
        for number in missing:
            first = number * options.chunk
            part = range(first, min(first + options.chunk, len(rows)))
            chunk, faults = _chunk(encoder, rows, part, options, bar.advance)
            writer.put(number, chunk)
            corrupt += faults
    if corrupt:
        first = "\n".join(f"  {one}" for one in corrupt[:5])
        print(f"note: left out, {len(corrupt)} of {len(rows)} cannot be read, the first:\n{first}")
    writer.finish(rows.name)
    return embeddings.open(options.out)


def decode(picture: Any) -> np.ndarray:
    """Bytes -> uint8 [H, W, 3]. Raises CorruptExample."""
    return DECODE({"image": picture})["image"]


def _chunk(
    encoder: Encoder,
    rows: listing.Listing,
    part: range,
    options: Options,
    advance: Callable[[int], None],
) -> tuple[embeddings.Chunk, list[str]]:
    """The vectors of some rows, and what could not be read."""
    pictures = options.kind == "images"
    encode, size = encoder.images if pictures else encoder.texts, min(options.batch_size, len(part))
    vectors, kept, faults = [], [], []

    def get(row: int) -> Any:
        return decode(rows.get(row)) if pictures else rows.get(row)

    def each(values: Iterable[tuple[int, Any]], read: Callable[[Any], Any]) -> dict[int, Any]:
        found = {}
        for row, value in values:
            try:
                found[row] = read(value)
            except CorruptExample as error:
                faults.append(f"{rows.name(row)}: {error}")
        return found

    for start in range(part.start, part.stop, options.batch_size):
        batch = range(start, min(start + options.batch_size, part.stop))
        good = each(zip(batch, batch, strict=True), get)
        try:
            vectors += [encode(list(good.values()), size)] if good else []
        except CorruptExample:  # a text of them, seldom: each is tried for itself
            good = each(good.items(), lambda text: encode([text], size))
            vectors += good.values()
        kept += good
        advance(len(batch))
    width = encoder.loaded.config.embedding
    found = np.concatenate(vectors) if vectors else np.zeros((0, width), np.float32)
    return embeddings.Chunk(found, np.asarray(kept, np.int64)), faults
