"""Search: what of an embedded set is nearest to a text, a picture or a sound.

    python -m mmjax.main --mode=search --query="a big cat"
    python -m mmjax.main --mode=search --query=photo.jpg --index=photos.parquet --out=hits.png
    python -m mmjax.main --mode=search --query="a bell" --index=clips.npy --out=hits.html

* Without --index the bundled emoji are searched with the bundled emoji CLIP; they are embedded at
  the first use and kept in $MMJAX_CACHE.
* An index is searched with the model that made it.
* Prints the hits, and draws them on a sheet where --out says: a picture, or a page that can be
  listened to.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.commands import embed
from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample, DataError
from mmjax.datasets import bundled
from mmjax.evaluation.drawing import sheets
from mmjax.readers import embeddings, folder
from mmjax.report import players as players_page
from mmjax.report.table import aligned
from mmjax.run import listing, outputs
from mmjax.run.encoder import Encoder, decode
from mmjax.run.load import load
from mmjax.run.options import Execution
from mmjax.run.runtime import cache_folder, prepare
from mmjax.terminal import printable


@dataclasses.dataclass(frozen=True)
class Options:
    query: str  # a text, or the path of a picture or a sound
    index: str = ""  # what --mode=embed wrote; "": the bundled emoji
    model: str = ""  # of the query, as for embed; "": the one that made the index
    count: int = 12  # hits, at most
    out: str = ""  # a picture of the hits, or an .html page with players; by default none


@dataclasses.dataclass(frozen=True)
class Hit:
    """A row of the index that was found for a query."""

    name: str  # of the row
    score: float  # cosine
    row: int  # its number in the data that was embedded


def run(options: Options) -> tuple[Hit, ...]:
    """Searches, prints, and draws if it is asked to; the hits, the best first.

    Raises:
      ConfigError: no query, or a model that did not make the index.
      DataError, FileNotFoundError, CorruptExample: no such index, a picture that is none, or words
        that the model does not know.
    """
    if not options.query.strip():
        raise ConfigError('--mode=search needs a --query, such as --query="a big cat"')
    if options.count < 1:
        raise ConfigError(f"--count={options.count}: 1 or more")
    field, query = asked(options.query)
    sheet = outputs.page_or_picture(options.out) if options.out else None
    prepare(Execution())
    index = embeddings.open(options.index) if options.index else None
    model = index.about["model"] if index else "emoji_clip"
    encoder = Encoder(load(options.model or model))
    if index is None:
        index = emoji(encoder, options.model or "emoji_clip")
    elif index.about["parameters"] != encoder.fingerprint:
        raise ConfigError(
            f"{options.index} was made by {index.about['model']} with other parameters than "
            f"those of {options.model or 'that name now'}: vectors of two models do not compare. "
            "Embed the data again"
        )
    (vector,) = encoder.encode(field, [query])
    hits = nearest(index, vector, options.count)
    print(aligned(("score", "found"), [(f"{hit.score:.3f}", hit.name) for hit in hits]))
    if sheet is not None:
        shown = decode(query) if field == "image" else query
        draw(hits, index, shown, sheet)
        print(f"drawn: {options.out}")
    return hits


def nearest(index: embeddings.Index, vector: np.ndarray, count: int) -> tuple[Hit, ...]:
    """The rows of the highest cosines.

    Args:
      vector: float32 [E], of unit length.
    """
    scores = np.asarray(index.vectors, np.float32) @ vector
    order = np.argsort(-scores, kind="stable")[:count]
    return tuple(Hit(index.names[one], float(scores[one]), int(index.rows[one])) for one in order)


def emoji(encoder: Encoder, model: str) -> embeddings.Index:
    """The bundled emoji as this model embeds them: found in the cache, or made and kept there."""
    digest = bundled.provenance("emoji")["files"]["emoji.bin"]["sha256"]
    name = f"emoji-{encoder.fingerprint[:16]}-{digest[:8]}.npy"
    path = cache_folder() / "embeddings" / name
    try:
        return embeddings.open(path)
    except (FileNotFoundError, DataError):
        path.parent.mkdir(parents=True, exist_ok=True)
        options = embed.Options("emoji", str(path), model)
        return embed.embed(encoder, listing.open("emoji"), options)


def draw(hits: tuple[Hit, ...], index: embeddings.Index, query: Any, out: Path) -> None:
    """Writes the sheet of the hits, with their pictures or sounds where the data is still there.

    Args:
      query: a text, an image uint8 [H, W, 3], or the bytes of a sound.
    """
    about = index.about
    shown = []
    try:
        rows = listing.open(about["data"], about["kind"], about["column"])
        if rows.fingerprint != about["rows"]:
            raise DataError(f"{about['data']} has changed since it was embedded")
        for hit in hits:
            value = rows.get(hit.row)
            shown.append(decode(value) if about["kind"] == "images" else sheets.heard(value))
    except (DataError, CorruptExample, FileNotFoundError) as error:
        print(printable(f"note: names instead of {about['kind']}: {error}"))
        shown = [hit.name for hit in hits]
    names = [hit.name for hit in hits]
    scores = [hit.score for hit in hits]
    query = sheets.heard(query)
    sheet = sheets.hits(query, shown, names, scores)
    if out.suffix != outputs.PAGE:
        sheet.save(out)
        return
    labels = [f"{score:.2f} {name}" for name, score in zip(names, scores, strict=True)]
    players = [("the query", query), *zip(labels, shown, strict=True)]
    title = query if isinstance(query, str) else f"The best {len(hits)}"
    out.write_text(players_page.page(title, sheet, players), encoding="utf-8")


def asked(query: str) -> tuple[str, Any]:
    """(field, value) of what is looked for: the bytes of a file that the query names, or a text.

    Raises:
      FileNotFoundError: a name of a picture or sound that there is none of.
    """
    path = Path(query).expanduser()
    for field in ("image", "audio"):
        if path.suffix.lower() not in folder.MEDIA[field]:
            continue
        if not path.is_file():
            what = {"image": "picture", "audio": "sound"}[field]
            raise FileNotFoundError(f"--query={query}: there is no such {what}")
        return field, path.read_bytes()
    return "text", _text(query)


def _text(query: str) -> str:
    """The query as text: a command line in an old encoding hands its bytes over as surrogates.

    Raises:
      ConfigError: its bytes are no UTF-8.
    """
    try:
        return query.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError as error:
        raise ConfigError(f"--query={query}: this is no valid UTF-8") from error
