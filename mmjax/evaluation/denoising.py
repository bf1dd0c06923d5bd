"""How well noise is taken out of held-out samples: the squared error at a few fixed times.

* Times are places between clean (0) and noise (1); each row has noise of its own, always the same,
  so that two checkpoints are compared on equal terms.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mmjax.evaluation.base import Context, Evaluator, Result
from mmjax.evaluation.gather import Rows
from mmjax.tasks.diffusion import PLACES


@dataclasses.dataclass(frozen=True)
class Denoising(Evaluator):
    predict: str = "error"  # the task's predict function

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        return {"error": predict(variables, batch)["error"]}

    def finish(self, rows: Rows, context: Context) -> Result:
        error = rows["error"]
        metrics = {"error": float(error.mean())}
        metrics |= {
            f"error_at_{place:g}": float(error[:, number].mean())
            for number, place in enumerate(PLACES)
        }
        queries = {"error": error.mean(1).astype(np.float64), "index": rows["index"]}
        return Result(metrics, queries=queries)


Config = Denoising  # what a config's sub-tree of this evaluator is turned into
