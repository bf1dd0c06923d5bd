"""Accuracy of a classifier beside chance and the majority class: one place for all of them.

* Top-1 and top-5, and top-1 averaged over classes, which shows what a skewed data set hides.
* Chance is one of the classes, drawn at random; the majority is the most common label of the rows
  that are evaluated.

Letters: N rows, C classes.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmjax.config import ConfigError
from mmjax.evaluation.base import Result
from mmjax.evaluation.drawing import pictures

TOP = (1, 5)
FEW = 20  # classes whose accuracies are metrics of their own


def places(
    logits: Float[Array, "N C"], label: Int[Array, " N"]
) -> dict[str, Int[Array, " N"]]:
    """Under jit: "best", the class with the largest logit, and "above", how many logits are larger
    than the label's; of equal logits the first class counts."""
    # A label that is no class is above everything here, and named by `check_labels` later.
    right = jnp.take_along_axis(logits, label[:, None], axis=1, mode="fill", fill_value=jnp.inf)
    return {"best": logits.argmax(1), "above": (logits > right).sum(1)}


def hits_of(
    label: Int[np.ndarray, " N"],
    best: Int[np.ndarray, " N"],
    above: Int[np.ndarray, " N"],
) -> dict[int, Float[np.ndarray, " N"]]:
    """From `places`: for each k of TOP, 1 where the label is among the k best."""
    hits = {k: (above < k).astype(np.float64) for k in TOP}
    hits[1] = (best == label).astype(np.float64)
    return hits


def result(
    label: Int[np.ndarray, " N"],
    index: Int[np.ndarray, " N"],
    best: Int[np.ndarray, " N"],
    hits: Mapping[int, Float[np.ndarray, " N"]],
    names: Sequence[str],
    *,
    each: bool = False,
    draw: bool = True,
) -> Result:
    """"accuracy/top1", "accuracy/top5", "accuracy/per_class" with chance, majority and confusion.

    Args:
      index: the rows' numbers, for comparisons row by row.
      best: the class that is answered.
      hits: for each k of TOP, the probability that the label is among the k best.
      names: of the C classes.
      each: "class/<name>" is a metric of each class that any row has.
      draw: the confusion matrix is drawn.
    """
    count = len(names)
    metrics: dict[str, float] = {}
    chance: dict[str, float] = {}
    queries = {"accuracy/label": label, "accuracy/index": index}
    for k in TOP:
        if k < count:
            queries[f"accuracy/top{k}"] = hits[k]
            metrics[f"accuracy/top{k}"] = float(hits[k].mean())
            chance[f"accuracy/top{k}"] = k / count
    rows_of_class = np.bincount(label, minlength=count)
    present = rows_of_class > 0
    right = np.bincount(label, hits[1], minlength=count)
    per_class = right[present] / rows_of_class[present]
    metrics["accuracy/per_class"] = float(per_class.mean())
    chance["accuracy/per_class"] = 1 / count
    if each:
        seen = np.asarray(names, object)[present]
        metrics |= {
            f"class/{name}": float(value) for name, value in zip(seen, per_class, strict=True)
        }
    majority = {"accuracy/top1": float(rows_of_class.max() / rows_of_class.sum())}
    media = {}
    if draw:
        confusion = np.zeros((count, count), np.int64)
        np.add.at(confusion, (label, best), 1)
        media["confusion"] = pictures.confusion(confusion, names)
    return Result(metrics, {"chance": chance, "majority": majority}, media, queries)


def check_labels(
    label: Int[np.ndarray, " N"], count: int, index: Int[np.ndarray, " N"] | None = None
) -> None:
    """Raises ConfigError where a label is none of `count` classes, naming the first such row."""
    bad = np.flatnonzero((label < 0) | (label >= count))
    if bad.size:
        first = bad[0] if index is None else index[bad[0]]
        raise ConfigError(
            f"{bad.size} labels have no class name; example {first} has label {label[bad[0]]}, but "
            f"the {count} classes are labels 0 to {count - 1}"
        )


def numbered(count: int) -> tuple[str, ...]:
    """Names of classes that have none."""
    return tuple(str(number) for number in range(count))
