"""Classification: the class with the largest logit, for tasks that predict logits over classes.

* Whatever is classified (pictures, clips, sounds): the evaluator sees logits and labels alone.
* Accuracies beside chance and the majority class, as in zero_shot.py and linear_probe.py.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation import accuracy
from mmjax.evaluation.base import Context, Evaluator, Result
from mmjax.evaluation.gather import Rows


@dataclasses.dataclass(frozen=True)
class Classification(Evaluator):
    predict: str = "logits"  # the task's predict function
    logits: str = "logits"  # key of the logits [B, C] in what `predict` returns
    label: str = "label"  # field of the right class, from 0
    class_names: tuple[str, ...] = ()  # name i belongs to label i; (): numbers

    def check(self, context: Context) -> None:
        labels = context.source.column(self.label)
        if labels is not None and self.class_names:
            accuracy.check_labels(np.asarray(labels), len(self.class_names))

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        if self.label not in batch:
            raise ConfigError(
                f"the data has no field {self.label!r} to classify by; it has {', '.join(batch)}"
            )
        out = predict(variables, batch)
        if self.logits not in out:
            raise ConfigError(f"predict gave no {self.logits!r}, only {', '.join(out)}")
        logits = out[self.logits].astype(jnp.float32)  # [B, C]
        label = batch[self.label]
        return {
            "label": label,
            "classes": jnp.full(label.shape, logits.shape[1]),
            "finite": jnp.isfinite(logits).all(1),
            **accuracy.places(logits, label),
        }

    def finish(self, rows: Rows, context: Context) -> Result:
        label = rows["label"]
        count = int(rows["classes"][0])
        names = self.class_names or accuracy.numbered(count)
        if len(names) != count:
            raise ConfigError(
                f"class_names has {len(names)} names, but the model tells {count} classes apart"
            )
        accuracy.check_labels(label, count, rows["index"])
        if not rows["finite"].all():
            raise ValueError(f"logits of {np.sum(~rows['finite'])} examples are not finite")
        hits = accuracy.hits_of(label, rows["best"], rows["above"])
        return accuracy.result(
            label, rows["index"], rows["best"], hits, names, each=count <= accuracy.FEW
        )


Config = Classification  # what a config's sub-tree of this evaluator is turned into
