"""Perplexity: how many words, equally likely, a model is as unsure between.

* e to the mean loss of a token, over all tokens of all rows: long texts count for more.
* The task's predict function gives, for each row, the sum of the losses of its tokens and how many
  they are.
"""

import dataclasses
import math
from typing import Any

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context, Evaluator, Ratio, Result
from mmjax.evaluation.gather import Rows


@dataclasses.dataclass(frozen=True)
class Perplexity(Evaluator):
    predict: str = "score"  # the task's predict function: {"loss": [B], "tokens": [B]}

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        out = predict(variables, batch)
        for name in ("loss", "tokens"):
            if name not in out:
                raise ConfigError(f"predict gave no {name!r}, only {', '.join(out)}")
        return {"loss": out["loss"], "tokens": out["tokens"]}

    def finish(self, rows: Rows, context: Context) -> Result:
        rate = Ratio(rows["loss"], rows["tokens"])
        loss = rate.value
        metrics = {"token_loss": loss, "perplexity": math.exp(loss)}
        return Result(metrics, queries={"token_loss": rate, "index": rows["index"]})


Config = Perplexity  # what a config's sub-tree of this evaluator is turned into
