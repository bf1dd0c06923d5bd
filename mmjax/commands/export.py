"""Export: a trained run as a folder that `mmjax.load` opens, without its data and its config file.

mmjax.export("runs/clip_emoji", "emoji_clip", dtype="float16")
clip = mmjax.load("emoji_clip")
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mmjax.config import ConfigError
from mmjax.conversion import load as conversion
from mmjax.run.exported import exported
from mmjax.run.restore import restore


@dataclasses.dataclass(frozen=True)
class Options:
    workdir: str = ""  # of the run
    out: str = ""  # the folder that is written
    dtype: str = ""  # of the stored parameters, "float16"; by default as they were trained
    step: int | None = None  # of the checkpoint; by default the best
    weights: str = "ema"  # "ema" (if the run keeps one), "raw", or a teacher's name
    part: str = ""  # of a run with several, whose processor goes with the model


def run(options: Options) -> None:
    """Exports a run."""
    if not options.workdir or not options.out:
        raise ConfigError("--mode=export needs --workdir= of a run, and --out= for the folder")
    dtype = options.dtype or None
    export(options.workdir, options.out, dtype, options.step, options.weights, options.part)
    print(f"{options.out}: open it with mmjax.load({options.out!r})")


def export(
    workdir: str | Path,
    folder: str | Path,
    dtype: Any = None,
    step: int | None = None,
    weights: str = "ema",
    part: str = "",
) -> conversion.Loaded:
    """Writes the model, its parameters and its processor; returns what was written.

    LoRA is merged into the kernels.

    Args:
      dtype: of the stored parameters ("float16", half the size); None: as they were trained.
      step: of the checkpoint; None: the best.
      weights: "ema" (if the run keeps one), "raw", or a teacher's name.
      part: of a run with several, whose processor goes with the model.

    Raises:
      ConfigError: no work directory, or a model that this format does not hold.
      CheckpointError: no such checkpoint.
    """
    loaded = exported(restore(workdir, step, weights), dtype, part)
    conversion.save(loaded, folder)
    return loaded
