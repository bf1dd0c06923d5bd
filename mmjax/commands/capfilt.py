"""CapFilt: pictures -> a manifest of captions that a BLIP believes.

    python -m mmjax.main --mode=capfilt --data=photos --captioner=runs/blip --out=filtered.jsonl
    python -m mmjax.main --mode=capfilt --data=web.jsonl --out=filtered.jsonl \\
        --captioner=Salesforce/blip-image-captioning-base --filter=Salesforce/blip-itm-base-coco

* Li et al. 2022, https://arxiv.org/abs/2201.12086, section 3.3: the captioner writes a text for
  each picture, by nucleus sampling; of it and of the picture's own texts from the web, those stay
  that the filter's head for matching takes for the picture's.
* A row for each text that stays: image, text, source ("web" or "synthetic"), and match, the
  probability that they belong together. A `manifest` reads it as it is; several texts of a picture
  are rows of one picture.
* Stopped at any moment, the same command goes on where it was, and ends with the same file: what is
  drawn for a picture depends on the seed and its place in the data alone.
* Pictures that cannot be read are left out, counted and named.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample, DataError
from mmjax.data.storage import Progress
from mmjax.errors import NotFinite
from mmjax.generation.options import Options as Generation
from mmjax.readers.chunks import Chunks
from mmjax.readers.files import read
from mmjax.run import captioned, workdir
from mmjax.run.blip import Blip
from mmjax.run.encoder import decode, fingerprint_of
from mmjax.run.load import load
from mmjax.run.options import Execution
from mmjax.run.restore import restore
from mmjax.run.runtime import prepare
from mmjax.terminal import printable
from mmjax.typing import Natural, Positive

WEB = "web"
SYNTHETIC = "synthetic"
SHOWN = 5  # faults that are named


@dataclasses.dataclass(frozen=True)
class Options:
    data: str = ""  # a folder of pictures (a.txt beside a.jpg: its texts), or a manifest of files
    out: str = ""  # the manifest that is written, .jsonl
    captioner: str = ""  # a BLIP that writes: a folder (of a run, too), or an id of the hub
    filter: str = ""  # a BLIP that matches; "": the captioner itself, where it does both
    image: str = ""  # column of a manifest that names the files; "": image
    text: str = ""  # column of a manifest with the texts of the web; "": text, where there is one
    threshold: float = 0.5  # a text stays from this probability on
    top_p: float = 0.9  # captions are drawn from the likeliest tokens of so much probability
    temperature: float = 1.0  # lower: less chance in the captions
    beams: Positive = 1  # above 1: no chance, the best caption of so many side by side
    prompt: str = ""  # how captions begin, "a picture of"; it is left out of them
    max_new_tokens: Positive = 20  # of a caption at most
    min_new_tokens: Natural = 0  # of a caption at least
    seed: Natural = 0  # of the random numbers
    batch_size: Positive = 32  # pictures, and texts, that are computed at a time
    chunk: Positive = 512  # pictures that are kept at a time


class Summary(NamedTuple):
    """What became of the texts of each kind."""

    kept: dict[str, int]  # by source
    judged: dict[str, int]
    pictures: int  # that were read
    faults: tuple[str, ...]  # pictures and texts that could not be


def run(options: Options) -> Summary:
    """Captions, filters, and writes the manifest.

    Raises:
      ConfigError, DataError, FileNotFoundError: no such data, or models that cannot.
    """
    if not options.data or not options.out or not options.captioner:
        raise ConfigError("--mode=capfilt needs --data=, --captioner= and --out=")
    if Path(options.out).suffix != ".jsonl":
        raise ConfigError(f"--out={options.out}: the manifest is a .jsonl")
    if not 0 <= options.threshold <= 1:
        raise ConfigError(f"threshold={options.threshold}: a probability, 0 to 1")
    for name, low in {"batch_size": 1, "chunk": 1, "seed": 0}.items():
        if getattr(options, name) < low:
            raise ConfigError(f"{name}={getattr(options, name)}: {low} or more")
    prepare(Execution())
    rows = captioned.open(options.data, options.image, options.text)
    captioner = _opened(options.captioner)
    same = options.filter in ("", options.captioner)
    return filtered(captioner, captioner if same else _opened(options.filter), rows, options)


def _opened(name: str) -> Blip:
    """A run's best weights, whatever its training keeps besides; or a checkpoint."""
    return Blip(restore(name) if workdir.holds_run(name) else load(name))


def filtered(
    captioner: Blip, matcher: Blip, rows: captioned.Pictures, options: Options
) -> Summary:
    """Captions and filters pictures that are listed already, and says what became of them."""
    if not captioner.config.writes:
        raise ConfigError("the captioner writes no texts: it has texts='encoder'")
    if not matcher.config.matching:
        raise ConfigError(
            "the filter has no head that matches: give a BLIP for retrieval, or a whole one, "
            "with --filter="
        )
    about = {
        "captioner": fingerprint_of(captioner.loaded),
        "filter": fingerprint_of(matcher.loaded),
        "rows": rows.fingerprint,
        **{name: getattr(options, name) for name in (
            "top_p", "temperature", "beams", "prompt", "max_new_tokens", "min_new_tokens", "seed",
            "batch_size", "chunk",
        )},
    }  # fmt: skip
    chunks = Chunks(options.out, about, -(-len(rows) // options.chunk))
    missing = chunks.missing()
    generation = _generation(captioner, options)
    with Progress("captioning and filtering", len(rows)) as bar:
        bar.update((chunks.count - len(missing)) * options.chunk)
        for number in missing:
            first = number * options.chunk
            part = range(first, min(first + options.chunk, len(rows)))
            found = _chunk(captioner, matcher, rows, part, options, generation, bar.advance)
            lines = [json.dumps(one) for one in found]
            chunks.put(number, "\n".join(lines).encode())
    summary = _written(chunks, rows, options)
    chunks.remove()
    _tell(summary, options)
    return summary


def _generation(captioner: Blip, options: Options) -> Generation:
    sampled = options.beams == 1
    return Generation(
        max_new_tokens=options.max_new_tokens,
        min_new_tokens=options.min_new_tokens,
        end_ids=captioner.config.end_ids,
        padding_id=captioner.config.padding_id or 0,
        temperature=options.temperature if sampled else 0.0,
        top_p=options.top_p if sampled else 1.0,
        beams=options.beams,
    )


def _chunk(
    captioner: Blip,
    matcher: Blip,
    rows: captioned.Pictures,
    part: range,
    options: Options,
    generation: Generation,
    advance: Callable[[int], None],
) -> Iterator[dict[str, Any]]:
    """What is found of some pictures: texts that were judged, and faults."""
    size = options.batch_size
    for start in range(part.start, part.stop, size):
        batch = range(start, min(start + size, part.stop))
        pictures = {}
        for row in batch:
            try:
                pictures[row] = decode(read(rows.paths[row]))
            except CorruptExample as error:
                yield {"row": row, "fault": str(error)}
        if pictures:
            yield from _judged(captioner, matcher, rows, pictures, options, generation)
        advance(len(batch))


def _judged(
    captioner: Blip,
    matcher: Blip,
    rows: captioned.Pictures,
    pictures: dict[int, np.ndarray],
    options: Options,
    generation: Generation,
) -> Iterator[dict[str, Any]]:
    """The texts of some pictures, at most `batch_size`, each with its probability."""
    numbers = list(pictures)
    size = options.batch_size
    full = list(pictures.values())
    full += full[-1:] * (size - len(full))  # all batches have one shape
    context = captioner.image_tokens(captioner.pixels(full))
    seeds = [_seed(options.seed, row) for row in numbers]
    seeds += seeds[-1:] * (size - len(seeds))
    written = captioner.write(context, generation, np.array(seeds, np.int32), options.prompt)

    judged = []
    for place, row in enumerate(numbers):
        judged += [(place, WEB, text) for text in rows.texts[row]]
        judged.append((place, SYNTHETIC, written[place]))
    said = [one for one in judged if one[2]]  # an empty caption is asked of nobody
    if matcher is not captioner:
        context = matcher.image_tokens(matcher.pixels(full))
    places, _, texts = zip(*said, strict=True) if said else ((), (), ())
    match = dict(zip(said, matcher.match(context, places, texts, size).tolist(), strict=True))
    for place, source, text in judged:
        row = numbers[place]
        probability = match.get((place, source, text), 0.0)
        if not np.isfinite(probability):
            raise NotFinite(
                f"{rows.paths[row]}: the filter's probability is no number: its weights cannot be "
                "used, or not in the type that it computes in"
            )
        yield {"row": row, "text": text, "source": source, "match": round(probability, 6)}


def _seed(seed: int, row: int) -> int:
    """Of the random numbers of a picture."""
    state = np.random.SeedSequence([seed, row]).generate_state(1)[0]
    return int(state) & 0x7FFFFFFF


def _written(chunks: Chunks, rows: captioned.Pictures, options: Options) -> Summary:
    """Makes the manifest of the chunks.

    Raises:
      DataError: not one text stays. The chunks do, for another threshold.
    """
    kept = {WEB: 0, SYNTHETIC: 0}
    judged = {WEB: 0, SYNTHETIC: 0}
    faults = list(rows.faults)
    best = 0.0
    draft = Path(f"{options.out}.draft")
    # a file's name may hold bytes that are no UTF-8: they are written as they are
    with draft.open("w", encoding="utf-8", errors="surrogateescape") as file:
        for found in _all(chunks):
            path = rows.paths[found["row"]]
            if "fault" in found:
                faults.append(f"{path}: {found['fault']}")
                continue
            judged[found["source"]] += 1
            best = max(best, found["match"])
            if not found["text"] or found["match"] < options.threshold:
                continue
            kept[found["source"]] += 1
            line = {"image": _relative(path, options.out), **found}
            del line["row"]
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    if not sum(kept.values()):
        draft.unlink()
        _tell_faults(faults)
        raise DataError(
            f"not one of {sum(judged.values())} texts stays at threshold={options.threshold}: the "
            f"highest probability is {best:.3f}; a lower threshold takes no new computation"
        )
    draft.replace(options.out)
    pictures = len(rows) - (len(faults) - len(rows.faults))
    return Summary(kept, judged, pictures, tuple(faults))


def _all(chunks: Chunks) -> Iterator[dict[str, Any]]:
    for number in range(chunks.count):
        for line in chunks.path(number).read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def _relative(path: str, out: str) -> str:
    """A picture as the manifest names it: relative to its own folder where it lies below it."""
    folder = os.path.dirname(os.path.abspath(out))
    inside = os.path.relpath(path, folder)
    return path if inside.startswith(os.pardir) else inside


def _tell(summary: Summary, options: Options) -> None:
    for source, judged in summary.judged.items():
        kept = summary.kept[source]
        print(f"{source:9} {kept:,} of {judged:,} kept, {judged - kept:,} dropped")
    _tell_faults(summary.faults)
    texts = sum(summary.kept.values())
    print(f"{options.out}: {texts:,} texts, from {summary.pictures:,} pictures")


def _tell_faults(faults: Sequence[str]) -> None:
    if faults:
        first = "\n".join(f"  {printable(one)}" for one in faults[:SHOWN])
        print(f"note: {len(faults)} cannot be read, and are left out, the first:\n{first}")
