"""A trained run as a model of its own: what `export` writes, and `load` of a work directory gives.

* LoRA is merged into the kernels.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.conversion.load import Loaded
from mmjax.layers import adapters
from mmjax.run.restore import Restored


def exported(restored: Restored, dtype: Any = None, part: str = "") -> Loaded:
    """The model of a run, its parameters (numpy arrays) and its processor.

    Args:
      dtype: of the parameters; None: as they were trained.
      part: of a run with several, whose processor goes with the model.

    Raises:
      ConfigError: a model that needs more than its parameters.
    """
    folder = restored.run.workdir
    model = restored.model
    params = restored.params
    if isinstance(model, adapters.Adapted):
        if any(rule.kind != "lora" for rule in model.rules):
            raise ConfigError(
                f"{folder} has bottleneck adapters, which cannot be merged into the model: only "
                "LoRA is exported"
            )
        params = adapters.merge(params, model.rules)
        model = model.model
    trained_with = restored.run.task.training_state
    state = [path for path in tree.flatten(restored.variables["state"])
             if not any(f"{path}/".startswith(f"{own}/") for own in trained_with)]  # fmt: skip
    if state:
        raise ConfigError(f"{folder}: the model keeps more than parameters, which have no file")
    flat = {path: np.asarray(leaf) for path, leaf in tree.flatten(params).items()}
    if dtype is not None:
        kept = np.dtype(jnp.dtype(dtype))
        flat = {path: leaf.astype(kept) for path, leaf in flat.items()}
    processor = restored.run.part(part).processor
    return Loaded("native", model, tree.unflatten(flat), processor, model.config)
