"""Mean average precision of classes that hold at once, as AudioSet is evaluated
(https://doi.org/10.1109/ICASSP.2017.7952261).

* A class's average precision: its rows in the order of their logits, the mean over its right rows
  of the share of right ones up to there; equal logits count as one step. "map" is the mean over the
  classes that any row has.
* Beside it "chance": the mean share of these classes among the rows, what any order gives.

Letters: R rows, V classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context, Evaluator, Result
from mmjax.evaluation.gather import Rows
from mmjax.typing import Float, Shaped


@dataclasses.dataclass(frozen=True)
class AveragePrecision(Evaluator):
    predict: str = "logits"  # the task's predict function
    logits: str = "logits"  # key of the logits [B, V] in what `predict` returns
    label: str = "label"  # field of the classes [B, V], 1 where one holds

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        if self.label not in batch or batch[self.label].ndim != 2:
            raise ConfigError(
                f"the data has no field {self.label!r} of 0 and 1 for each class; it has "
                f"{', '.join(batch)}"
            )
        out = predict(variables, batch)
        return {
            "logits": out[self.logits].astype(jnp.float32), "label": batch[self.label] > 0,
        }  # fmt: skip

    def finish(self, rows: Rows, context: Context) -> Result:
        logits = rows["logits"]
        label = rows["label"]
        if not np.isfinite(logits).all():
            raise ValueError("logits are not finite")
        present = np.flatnonzero(label.any(0))
        if not len(present):
            raise ConfigError("no evaluated row has any class")
        values = [average_precision(logits[:, one], label[:, one]) for one in present]
        share = float(label[:, present].mean())
        metrics = {"map": float(np.mean(values))}
        return Result(metrics, baselines={"chance": {"map": share}})


def average_precision(scores: Float[np.ndarray, " R"], right: Shaped[np.ndarray, " R"]) -> float:
    """Of one class, of which some row is right."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order].astype(bool))
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of equal scores
    found = np.diff(hits[ends], prepend=0)
    return float((found * hits[ends] / (ends + 1)).sum() / hits[-1])


Config = AveragePrecision  # what a config's sub-tree of this evaluator is turned into
