"""Embed: the pictures, sounds or texts of a folder, a manifest or a set -> a file of vectors.

    python -m mmjax.main --mode=embed --model=emoji_clip --data=photos --out=photos.parquet
    python -m mmjax.main --mode=embed --model=runs/sounds --kind=sounds --data=clips --out=clips.npy

* For every model with two towers that `mmjax.load` opens (CLIP, SigLIP, CLAP, those trained here).
* Stopped at any moment, the same command goes on where it was: readers/embeddings.py.
* What cannot be read is left out, counted and named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample
from mmjax.data.storage import Progress
from mmjax.readers import embeddings
from mmjax.run import listing
from mmjax.run.encoder import Encoder
from mmjax.run.load import load
from mmjax.run.options import Execution
from mmjax.run.runtime import prepare
from mmjax.terminal import printable


@dataclasses.dataclass(frozen=True)
class Options:
    data: str  # a folder, a manifest, a .txt of lines, or the name of a set
    out: str  # .npy or .parquet
    model: str = "emoji_clip"  # a folder (of a run, too), a name, an id of the hub
    kind: Literal["images", "sounds", "texts"] = "images"  # what of the data
    column: str = ""  # of a manifest; "": image, audio or text
    batch_size: int = 64  # rows that are embedded at a time
    chunk: int = 1024  # rows that are kept at a time


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
    encoder = Encoder(load(options.model))
    encoder.check(listing.FIELDS[options.kind])
    made = embed(encoder, rows, options)
    print(f"{options.out}: {made.vectors.shape[0]:,} {options.kind} x {made.vectors.shape[1]}")
    return made


def embed(encoder: Encoder, rows: listing.Listing, options: Options) -> embeddings.Index:
    """Embeds rows that are opened already."""
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
        first = "\n".join(f"  {printable(one)}" for one in corrupt[:5])
        print(f"note: left out, {len(corrupt)} of {len(rows)} cannot be read, the first:\n{first}")
    writer.finish(rows.name)
    return embeddings.open(options.out)


def _chunk(
    encoder: Encoder,
    rows: listing.Listing,
    part: range,
    options: Options,
    advance: Callable[[int], None],
) -> tuple[embeddings.Chunk, list[str]]:
    """The vectors of some rows, and what could not be read."""
    field = listing.FIELDS[options.kind]
    size = min(options.batch_size, len(part))
    vectors, kept, faults = [], [], []
    for start in range(part.start, part.stop, options.batch_size):
        batch = range(start, min(start + options.batch_size, part.stop))
        good = {}
        for row in batch:
            try:
                good[row] = encoder.readable(field, rows.get(row))
            except CorruptExample as error:
                faults.append(f"{rows.name(row)}: {error}")
        if good:
            vectors.append(encoder.encode(field, list(good.values()), size))
        kept += good
        advance(len(batch))
    width = encoder.loaded.config.embedding
    found = np.concatenate(vectors) if vectors else np.zeros((0, width), np.float32)
    return embeddings.Chunk(found, np.asarray(kept, np.int64)), faults
