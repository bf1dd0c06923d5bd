"""Inspect: what batch N of a run holds, as the model sees it, and what the loss says of it.

    python -m mmjax.main --mode=inspect --config=configs/contrastive/clip_emoji.py --step=7

* The picture of the batch goes into the work directory, where there is one, or where --out says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from mmjax.config import build
from mmjax.data.collation import Arrays
from mmjax.data.pipeline import Batch
from mmjax.report.table import aligned
from mmjax.run import options as run_options
from mmjax.run import outputs, warm_start, workdir
from mmjax.run.assembly import Run
from mmjax.run.part import Part
from mmjax.terminal import printable
from mmjax.training.gradients import gradients
from mmjax.transforms.audio import Sound
from mmjax.transforms.mel import spectrogram
from mmjax.transforms.video import Video

SHOWN = 32  # rows in the table and the picture


@dataclasses.dataclass(frozen=True)
class Options:
    config: str = ""  # config file, with :variant,key=value after it
    workdir: str = ""  # folder of the run; by default runs/<name of the config>
    step: int = 0  # whose batch is looked at
    out: str = ""  # a picture of the batch; by default in the folder of the run, where there is one
    changes: tuple[str, ...] = ()  # of the config, "train.steps=20": --config.train.steps=20


def run(options: Options) -> None:
    """Looks at a batch of a config file's run."""
    config = workdir.asked(options.config, options.workdir, options.changes)
    folder = run_options.workdir_of(options.config, options.workdir)
    inspect(config, folder, step=options.step, out=options.out or None)


def inspect(
    config: Any, folder: str | Path, *, step: int = 0, out: str | Path | None = None
) -> Path | None:
    """Prints rows, shapes and losses of the batch that step `step` trains on; returns the path of
    its picture, or None where none is written.

    The loss is that of the newest checkpoint at or before the step, or of fresh parameters where
    there is none.

    Args:
      folder: of the run, which need not be there.
      out: where the picture goes; None: into the folder, where it is a run's.

    Raises:
      ConfigError: `out` has an ending that is no picture's.
    """
    options = build(run_options.Options, config)
    folder = Path(folder).expanduser().absolute()
    known = (folder / "config.json").exists()
    drawn = None
    if out is not None:
        drawn = outputs.picture(out)
    elif known:
        drawn = folder / f"inspect-{step:08d}.png"
    run = Run(options, folder if known else None)
    batch = run.pipeline.batch(step)
    pictures = []
    for name, part in run.parts.items():
        arrays = batch.arrays[name] if name else batch.arrays
        title = f"step {step}{f', {name}' if name else ''}"
        pictures += _look(part, arrays, title)
    for one in batch.corrupt:
        print(printable(f"corrupt: row {one.index}: {one.where}: {one.reason}"))
    with jax.set_mesh(run.mesh):
        print(_loss(run, folder, batch, step))
    if not pictures:
        return None
    if drawn is None:
        print("there is no work directory yet to keep a picture in: --out=batch.png draws one")
        return None
    _below_each_other(pictures).save(drawn)
    print(f"picture: {drawn}")
    return drawn


def _look(part: Part, arrays: Arrays, title: str) -> list[Image.Image]:
    """Prints the fields and rows of a part's batch; its picture, where something can be drawn."""
    print(f"batch of {title}:")
    for name, value in arrays.items():
        print(f"  {name:<16} {value.dtype!s:<8} {' x '.join(map(str, value.shape))}")
    shown = _shown(part, arrays)
    print(_table(part, arrays, shown))
    picture = _picture(shown, f"{title}, as the model sees it")
    return [] if picture is None else [picture]


def _below_each_other(pictures: Sequence[Image.Image]) -> Image.Image:
    width = max(picture.width for picture in pictures)
    page = Image.new("RGB", (width, sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        page.paste(picture, (0, top))
        top += picture.height
    return page


def _shown(part: Part, arrays: Arrays) -> dict[int, dict[str, Any]]:
    """For each row of the batch that holds an example, what `Processor.show` makes of it."""
    rows = range(min(SHOWN, len(arrays["index"])))
    there = [row for row in rows if arrays["index"][row] >= 0]
    return {row: part.processor.show(arrays, row) for row in there}


def _table(part: Part, arrays: Arrays, shown: Mapping[int, Mapping[str, Any]]) -> str:
    texts = [field for field, value in next(iter(shown.values()), {}).items() if _is_text(value)]
    names = list(part.sources)
    lines = []
    for row, seen in shown.items():
        source = names[arrays["source"][row]]
        index = int(arrays["index"][row])
        where = part.sources[source].locate(index)
        words = [seen[field] for field in texts]
        lines.append((f"{source}:{index}", where, *words, f"{arrays['weight'][row]:g}"))
    heads = [f"{field} as the model sees it" for field in texts]
    return aligned(("example", "where", *heads, "weight"), lines)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _loss(run: Run, folder: Path, batch: Batch, step: int) -> str:
    spec = run.spec
    note = "fresh parameters"
    state = spec.init()
    if run.workdir is not None and (folder / "checkpoints").exists():
        checkpoints = warm_start.checkpoints(run, folder, read_only=True)
        before = [number for number in checkpoints.steps() if number <= step]
        if before:
            state = checkpoints.restore(spec.shapes, spec.shardings, before[-1], training=False)
            note = f"checkpoint {before[-1]}"
    rng = jax.random.key(run.options.seed)
    number = jnp.int32(step)
    prepared = run.task.prepare(run.put(batch.arrays), rng, number)

    def differentiate(variables: Any, batch: Any) -> Any:
        params = variables["params"]
        return gradients(run.task, variables, params, batch, rng, number, 1, pack=run.pack)

    value, grads, (parts, metrics, _) = jax.jit(differentiate)(state.variables, prepared)
    lines = [f"loss with {note}: {float(value):.4f}"]
    lines += [f"  {name:<16} {float(part):.4f}" for name, part in parts.items()]
    lines += [
        f"  {name:<16} {float(total / weight):.4f}" for name, (total, weight) in metrics.items()
    ]
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        if not bool(jnp.isfinite(leaf).all()):
            lines.append(f"  NOT FINITE gradient: {jax.tree_util.keystr(path)}")
    return "\n".join(lines)


def _picture(shown: Mapping[int, Mapping[str, Any]], title: str) -> Any:
    """A sheet of the rows with their texts below: pictures, frames of clips side by side, sounds as
    spectrograms."""
    from mmjax.evaluation.drawing import pictures  # matplotlib

    drawn: list[np.ndarray] = []
    texts: list[str] = []
    for seen in shown.values():
        images = [_image(value) for value in seen.values() if not _is_text(value)]
        if images:
            drawn.append(images[0])
            texts.append(", ".join(value for value in seen.values() if _is_text(value)))
    if not drawn:
        return None
    return pictures.grid(_same_size(drawn), texts, title=title)


def _image(value: np.ndarray | Sound | Video) -> np.ndarray:
    """uint8 [H, W, 3] of a picture, of at most 8 frames of a clip or video, or of a sound."""
    if isinstance(value, Sound):
        return spectrogram(value)
    if isinstance(value, Video):
        value = value.frames
    if value.ndim == 3:
        return value
    every = -(-len(value) // 8)
    return np.concatenate(list(value[::every]), axis=1)


def _same_size(images: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 [N, H, W, 3], white behind what is smaller."""
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    out = np.full((len(images), height, width, 3), 255, np.uint8)
    for number, image in enumerate(images):
        out[number, : image.shape[0], : image.shape[1]] = image
    return out
