"""Export: a trained run as a folder that `mmjax.load` opens, without its data and its config file.

mmjax.export("runs/clip_emoji", "emoji_clip", dtype="float16")
clip = mmjax.load("emoji_clip")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.conversion import load as conversion
from mmjax.conversion import native
from mmjax.layers import adapters
from mmjax.processors import trained as trained_processor
from mmjax.run.restore import restore


def export(
    workdir: str | Path,
    folder: str | Path,
    dtype: Any = None,
    step: int | None = None,
    weights: str = "ema",
) -> conversion.Loaded:
    """Writes the model, its parameters and its processor; returns what was written.

    LoRA is merged into the kernels.

    Args:
      dtype: of the stored parameters ("float16", half the size); None: as they were trained.
      step: of the checkpoint; None: the best.
      weights: "ema" (if the run keeps one), "raw", or a teacher's name.

    Raises:
      ConfigError: no work directory, or a model that this format does not hold.
      CheckpointError: no such checkpoint.
    """
    restored = restore(workdir, step, weights)
    model, params, run = restored.model, restored.params, restored.run
    if isinstance(model, adapters.Adapted):
        if any(rule.kind != "lora" for rule in model.rules):
            raise ConfigError(
                f"{workdir} has bottleneck adapters, which cannot be merged into the model: only "
                "LoRA is exported"
            )
        params, model = adapters.merge(params, model.rules), model.model
    if tree.flatten(restored.variables["state"]):
        raise ConfigError(f"{workdir}: the model keeps more than parameters, which have no file")
    kind = run.options.data.processor.name
    if kind not in trained_processor.KINDS:
        raise ConfigError(
            f"{workdir}: the processor {kind!r} cannot be exported; "
            f"{', '.join(trained_processor.KINDS)} can"
        )
    try:
        native.name(model.config)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    processor = trained_processor.Processor(kind, run.processor.config, run.processor.tokenizer)
    flat = {path: np.asarray(leaf) for path, leaf in tree.flatten(params).items()}
    if dtype is not None:
        kept = np.dtype(jnp.dtype(dtype))
        flat = {path: leaf.astype(kept) for path, leaf in flat.items()}
    loaded = conversion.Loaded("native", model, tree.unflatten(flat), processor, model.config)
    conversion.save(loaded, folder)
    return loaded
