"""Inspect: what batch N of a run holds, as the model sees it, and what the loss says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.config import build
from mmjax.report.table import aligned
from mmjax.run import warm_start
from mmjax.run.assembly import Run
from mmjax.run.options import Options
from mmjax.training.step import gradients

SHOWN = 32  # rows in the table and the picture


def inspect(config: Any, folder: str | Path, *, step: int = 0) -> Path:
    """Prints ids, captions, shapes and losses of the batch that step `step` trains on; returns the
    picture's path.

    The loss is that of the newest checkpoint at or before the step, or of fresh parameters where
    there is none.
    """
    options = build(Options, config)
    folder = Path(folder).expanduser().absolute()
    run = Run(options, folder if (folder / "config.json").exists() else None)
    batch = run.pipeline.batch(step)
    names = list(run.sources)
    rows = []
    for i in range(min(SHOWN, len(batch.arrays["index"]))):
        source, index = names[batch.arrays["source"][i]], int(batch.arrays["index"][i])
        if index < 0:
            continue
        rows.append(
            (
                f"{source}:{index}",
                run.sources[source].locate(index),
                _caption(run, batch.arrays, i),
                f"{batch.arrays['weight'][i]:g}",
            )
        )
    print(f"batch of step {step}:")
    for name, value in batch.arrays.items():
        print(f"  {name:<16} {value.dtype!s:<8} {' x '.join(map(str, value.shape))}")
    print(aligned(("example", "where", "caption as the model sees it", "weight"), rows))
    for one in batch.corrupt:
        print(f"corrupt: {names[one.source]}:{one.index} {one.where}: {one.reason}")
    with jax.set_mesh(run.mesh):
        print(_loss(run, folder, batch, step))
    return _picture(run, folder, batch, rows, step)


def _caption(run: Run, arrays: Any, row: int) -> str:
    if "text" not in arrays:
        return ""
    ids, mask = arrays["text"], arrays["text_mask"]
    if "text_segment" in arrays:  # several captions lie in one row
        number, place = divmod(row, len(arrays["index"]) // len(ids))
        return run.processor.tokenizer.decode(ids[number][arrays["text_segment"][number] == place])
    return run.processor.tokenizer.decode(ids[row][mask[row]])


def _loss(run: Run, folder: Path, batch: Any, step: int) -> str:
    spec, note = run.spec, "fresh parameters"
    state = spec.init()
    if run.workdir is not None and (folder / "checkpoints").exists():
        checkpoints = warm_start.checkpoints(run, folder, read_only=True)
        before = [s for s in checkpoints.steps() if s <= step]
        if before:
            state, note = (
                checkpoints.restore(spec.shapes, spec.shardings, before[-1], training=False),
                f"checkpoint {before[-1]}",
            )
    rng = jax.random.key(run.options.seed)
    prepared = run.task.prepare(run.put(batch.arrays), rng, jnp.int32(step))
    value, grads, (parts, metrics, _) = jax.jit(
        lambda variables, batch: gradients(
            run.task, variables, variables["params"], batch, rng, jnp.int32(step), 1
        )
    )(state.variables, prepared)
    lines = [f"loss with {note}: {float(value):.4f}"]
    lines += [f"  {name:<16} {float(part):.4f}" for name, part in parts.items()]
    lines += [
        f"  {name:<16} {float(total / weight):.4f}" for name, (total, weight) in metrics.items()
    ]
    bad = [
        path
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads)
        if not bool(jnp.isfinite(leaf).all())
    ]
    lines += [f"  NOT FINITE gradient: {jax.tree_util.keystr(path)}" for path in bad]
    return "\n".join(lines)


def _picture(run: Run, folder: Path, batch: Any, rows: list, step: int) -> Path:
    from mmjax.evaluation import pictures  # matplotlib

    out = (folder if run.workdir else Path.cwd()) / f"inspect-{step:08d}.png"
    normalize = run.processor.normalize
    shown = np.asarray(batch.arrays["image"][:SHOWN])
    captions = [row[2] for row in rows]
    picture = pictures.grid(
        shown[: len(captions)],
        captions,
        mean=normalize.mean,
        std=normalize.std,
        title=f"step {step}, as the model sees it",
    )
    picture.save(out)
    workdir_note = "" if run.workdir else " (no work directory yet: here)"
    print(f"picture: {out}{workdir_note}")
    return out
