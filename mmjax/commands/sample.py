"""Sample: pictures and clips that a trained run makes from sentences.

    python -m mmjax.main --mode=sample --workdir=runs/t2v_digits --out=clip.mp4 \\
        --prompt="a seven moves left quickly and goes on"
    python -m mmjax.main --mode=sample --workdir=runs/t2v_digits --out=grid.webp --count=4 \\
        --prompt="a two moves up slowly and goes on | an eight moves down quickly and goes on"
    python -m mmjax.main --mode=sample --workdir=runs/t2i_emoji --prompts=ideas.txt --out=emoji/
    python -m mmjax.main --mode=sample --workdir=runs/begun --out=clip.gif --first=seven.png \\
        --prompt="a seven moves left quickly and goes on"

* A file holds all samples as a grid, a line for each prompt; a folder ("emoji/") a file of each.
* .mp4, .gif and .webp move; .png has a clip's frames in a line.
* A sample depends on its prompt and seed alone. Stopped at any moment, the same command goes on
  where it was, to the same files.
"""

from __future__ import annotations

import dataclasses
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.storage import Progress
from mmjax.readers.chunks import Chunks
from mmjax.run import outputs, sheets
from mmjax.run.restore import restore
from mmjax.run.samples import Request, Sampler, Setting
from mmjax.terminal import printable
from mmjax.typing import Natural, Positive


@dataclasses.dataclass(frozen=True)
class Options:
    workdir: str = ""  # of a run that makes pictures or clips
    prompt: str = ""  # a sentence, or several with " | " between them
    prompts: str = ""  # a file of sentences, one a line
    out: str = ""  # a file (.mp4, .gif, .webp, .png), or a folder: a name that ends in /
    ending: Literal[".webp", ".mp4", ".gif", ".png"] = ".webp"  # of the files of a folder
    seed: Natural = 0  # of the first sample of each prompt
    count: Positive = 1  # samples of each prompt, with seeds one after the other
    guidance: float | None = None  # how closely the prompt is followed; 1: as it was trained
    steps: int | None = None  # of the sampler
    rescale: float | None = None  # share of what is guided that gets its usual deviation back
    frames: Natural = 0  # of a clip, at most those of the model; 0: as in training
    size: Natural = 0  # pixels of an edge; 0: as in training
    first: str = ""  # a picture that clips begin with: of a run with task.first
    rate: Positive = sheets.FRAME_RATE  # frames a second of the files
    step: int | None = None  # of the checkpoint; by default the best
    weights: str = "ema"  # "ema", the averaged ones, or "raw"
    batch_size: Positive = 16  # samples that are computed together


def run(options: Options) -> list[Path]:
    """Makes the samples and writes them; the files.

    Raises:
      ConfigError: nothing is asked for, or what the model does not make. CorruptExample: a prompt
        that is too long, or has no word that it knows.
    """
    if not options.workdir or not options.out:
        raise ConfigError(
            '--mode=sample needs --workdir of a run, --prompt="..." and --out, such as '
            "--out=clip.mp4"
        )
    prompts = _prompts(options)
    folder = options.out.endswith("/") or Path(options.out).expanduser().is_dir()
    out = Path(options.out).expanduser()
    ending = options.ending if folder else out.suffix.lower()
    restored = restore(options.workdir, options.step, options.weights)
    setting = Setting(**{
        field.name: getattr(options, field.name) for field in dataclasses.fields(Setting)
    })  # fmt: skip
    sampler = Sampler(restored, setting)
    sheets.check(ending, len(sampler.shape) == 4)
    seeds = range(options.seed, options.seed + options.count)
    requests = [Request(prompt, seed) for prompt in prompts for seed in seeds]
    sampler.check(requests)
    if folder:
        out.mkdir(parents=True, exist_ok=True)
    else:
        outputs.file(out)
    about = {
        "workdir": str(Path(options.workdir).expanduser().absolute()),
        "step": restored.step,
        "weights": options.weights,
        "requests": [list(one) for one in requests],
        **dataclasses.asdict(setting),
        "begins": 0 if sampler.first is None else zlib.crc32(sampler.first.tobytes()),
    }
    kept = Chunks(out / "samples" if folder else out, about, sampler.batches(requests))
    samples = _made(sampler, requests, kept)
    if folder:
        paths = _each(samples, requests, out, options)
    else:
        columns = options.count if len(prompts) > 1 and options.count > 1 else 0
        sheets.write(out, sheets.enlarged(sheets.grid(samples, columns)), options.rate)
        paths = [out]
    kept.remove()
    count = "1 sample" if len(requests) == 1 else f"{len(requests)} samples"
    print(printable(f"{options.out}: {count}, step {restored.step:,}, {options.weights} weights"))
    return paths


def _prompts(options: Options) -> list[str]:
    """What is asked for.

    Raises:
      ConfigError: nothing, or both.
    """
    if bool(options.prompt) == bool(options.prompts):
        raise ConfigError('give either --prompt="..." or --prompts, a file of sentences')
    if options.prompt:
        said = options.prompt.split("|")
    else:
        said = Path(options.prompts).expanduser().read_text(encoding="utf-8").splitlines()
    prompts = [text.strip() for text in said if text.strip()]
    if not prompts:
        raise ConfigError(f"--prompts={options.prompts} holds no sentence")
    return prompts


def _made(sampler: Sampler, requests: Sequence[Request], kept: Chunks) -> np.ndarray:
    """All samples; those of a run that was stopped are taken as they are."""
    missing = kept.missing()
    size = sampler.setting.batch_size
    with Progress("sampling", len(requests)) as bar:
        bar.update((kept.count - len(missing)) * size, len(requests))
        for number in missing:
            file = io.BytesIO()
            made = sampler.batch(requests, number)
            np.save(file, made)
            kept.put(number, file.getvalue())
            bar.advance(len(made))
    parts = [np.load(io.BytesIO(kept.path(number).read_bytes())) for number in range(kept.count)]
    return np.concatenate(parts)


def _each(samples: Any, requests: Sequence[Request], out: Path, options: Options) -> list[Path]:
    """A file of each sample: its number, its first words, its seed."""
    paths = []
    for number, (sample, request) in enumerate(zip(samples, requests, strict=True)):
        letters = [letter if letter.isalnum() else "_" for letter in request.prompt.lower()]
        name = f"{number:04d}_{''.join(letters)[:40].strip('_')}_{request.seed}{options.ending}"
        sheets.write(out / name, sheets.enlarged(sample), options.rate)
        paths.append(out / name)
    return paths
