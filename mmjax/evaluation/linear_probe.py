"""Linear probe: multinomial logistic regression on frozen embeddings (CLIP, arXiv:2103.00020).

* Fitted by L-BFGS on the rows of another data set, `train`; features are standardised by those.
* The L2 penalty that is best on a held-out part of `train` is chosen (rows of one group together),
  and the probe fitted again on all of it. What is evaluated is never looked at.
* Accuracy beside chance and the majority class, as in zero_shot.py; each class for itself where
  there are few.

Letters: N rows, D width, C classes.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Int, Shaped

from mmjax.config import ConfigError, Spec
from mmjax.data.source import DataError
from mmjax.evaluation.base import Context, Evaluator, Result
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.measures import accuracy

PENALTIES = (10.0, 1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)
STEPS = 200  # of L-BFGS, at most
TOLERANCE = 1e-4  # of the gradient's length


class Probe(NamedTuple):
    """A fitted classifier: logits = x @ weights + bias."""

    weights: Float[np.ndarray, "D C"]
    bias: Float[np.ndarray, " C"]
    penalty: float  # on half the squared length of the standardised features' weights
    held_out: float  # accuracy at that penalty on the held-out rows


@dataclasses.dataclass(frozen=True)
class LinearProbe(Evaluator):
    train: Spec | None = None  # the data set that the probe is fitted on
    class_names: tuple[str, ...] = ()  # name i belongs to label i; (): numbers
    penalties: tuple[float, ...] = PENALTIES  # that are tried, L2
    held_out: float = 0.2  # share of `train` that chooses among them
    image: str = "image"  # key of what is classified in what `predict` returns
    label: str = "label"  # field of the right class, from 0
    group: str = "group"  # field: rows of one group are held out together; may be missing

    def __post_init__(self):
        if not self.penalties or min(self.penalties) < 0:
            raise ValueError(f"linear probe: penalties={self.penalties} are numbers, 0 or more")
        if not 0 < self.held_out < 1:
            raise ValueError(f"linear probe: held_out={self.held_out} is a share, within 0 and 1")

    def check(self, context: Context) -> None:
        if self.train is None:
            raise ConfigError("linear probe needs `train`: the data set that it is fitted on")
        labels = context.source.column(self.label)
        if labels is not None and self.class_names:
            accuracy.check_labels(np.asarray(labels), len(self.class_names))

    def prepare(self, context: Context, collect) -> dict:
        """The fitted probe, as arrays."""
        rows = collect(self._embed, context.batches(self.train))
        probe = fit(
            rows["image"],
            rows["label"],
            rows.get("group"),
            classes=len(self.class_names) or None,
            penalties=self.penalties,
            held_out=self.held_out,
        )
        return probe._asdict()

    def _embed(self, predict, variables, batch, prepared):
        rows = {"image": self._vectors(predict, variables, batch), "label": batch[self.label]}
        if self.group in batch:
            rows["group"] = batch[self.group]
        return rows

    def _vectors(self, predict, variables, batch):
        if self.label not in batch:
            raise ConfigError(f"linear probe: no {self.label!r} among {', '.join(batch)}")
        out = predict(variables, batch)
        if self.image not in out:
            raise ConfigError(f"linear probe: predict gave no {self.image!r}: {', '.join(out)}")
        return out[self.image].astype(jnp.float32)

    def records(self, predict, variables, batch, prepared):
        x = self._vectors(predict, variables, batch)
        label = batch[self.label]
        logits = jnp.einsum("bd,dc->bc", x, prepared["weights"], precision="highest")
        logits = logits + prepared["bias"][None]
        return {
            "label": label,
            "classes": jnp.full(label.shape, logits.shape[1]),
            "penalty": jnp.full(label.shape, prepared["penalty"], jnp.float32),
            "chosen_at": jnp.full(label.shape, prepared["held_out"], jnp.float32),
            **accuracy.places(logits, label),
        }

    def finish(self, rows: Rows, context: Context) -> Result:
        label = rows["label"]
        count = int(rows["classes"][0])
        few = count <= accuracy.FEW
        accuracy.check_labels(label, count, rows["index"])
        found = accuracy.result(
            label,
            rows["index"],
            rows["best"],
            accuracy.hits_of(label, rows["best"], rows["above"]),
            self.class_names or accuracy.numbered(count),
            each=few,
            draw=few,
        )
        found.metrics["penalty"] = float(rows["penalty"][0])
        found.metrics["held_out/accuracy/top1"] = float(rows["chosen_at"][0])
        return found


def fit(
    vectors: Float[np.ndarray, "N D"],
    label: Int[np.ndarray, " N"],
    group: Int[np.ndarray, " N"] | None = None,
    *,
    classes: int | None = None,
    penalties: Sequence[float] = PENALTIES,
    held_out: float = 0.2,
) -> Probe:
    """Chooses the penalty on held-out rows, and fits all of them.

    Args:
      label: from 0. classes: C; None: as many as the labels say.
      group: rows of one group are held out together; None: each is its own.

    Raises:
      DataError: labels outside the classes, too few rows.
      ValueError: vectors that are not finite.
    """
    count = classes or int(label.max()) + 1
    if count < 2 or label.min() < 0 or label.max() >= count:
        raise DataError(
            f"linear probe: labels from {label.min()} to {label.max()} with {count} classes"
        )
    if not np.isfinite(vectors).all():
        raise ValueError("linear probe: some of the embeddings are not finite")
    held = _held_out(np.arange(len(label)) if group is None else group, held_out)
    mean = vectors.mean(0, dtype=np.float64).astype(np.float32)
    std = np.maximum(vectors.std(0, dtype=np.float64), 1e-6).astype(np.float32)
    x = jnp.asarray((vectors - mean) / std)
    y = jax.nn.one_hot(label, count)
    weight = jnp.asarray(~held, jnp.float32)
    params = {"weights": jnp.zeros((x.shape[1], count)), "bias": jnp.zeros(count)}
    tried = []
    for penalty in sorted(penalties, reverse=True):  # each begins where the stronger one ended
        params = _solve(params, x, y, weight, jnp.float32(penalty))
        best = np.asarray((x @ params["weights"] + params["bias"][None]).argmax(1))
        tried.append((float((best == label)[held].mean()), penalty, params))
    score, penalty, params = max(tried, key=lambda row: row[:2])  # of equals the strongest
    params = _solve(params, x, y, jnp.ones_like(weight), jnp.float32(penalty))
    weights = np.asarray(params["weights"]) / std[:, None]
    bias = np.asarray(params["bias"]) - mean @ weights
    return Probe(weights, bias, float(penalty), score)


def _held_out(group: Shaped[np.ndarray, " N"], share: float) -> Bool[np.ndarray, " N"]:
    """Which rows choose the penalty: whole groups, about `share` of them."""
    groups = np.unique(group, return_inverse=True)[1].reshape(-1)
    count = groups.max() + 1
    order = np.random.default_rng(0).permutation(count)
    held = order[groups] < share * count
    if held.all() or not held.any():
        raise DataError(f"linear probe: {count} groups are too few to hold some out")
    return held


@jax.jit
def _solve(params, x, y, weight, penalty):
    """Minimises the weighted mean cross-entropy and the penalty on the weights."""

    def loss(params):
        logits = x @ params["weights"] + params["bias"][None]
        values = optax.softmax_cross_entropy(logits, y)
        cross_entropy = (values * weight).sum() / weight.sum()
        return cross_entropy + penalty / 2 * (params["weights"] ** 2).sum()

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def unfinished(carry):
        _, _, step, length = carry
        return (step < STEPS) & (length > TOLERANCE)

    def iterate(carry):
        params, state, step, _ = carry
        value, grad = value_and_grad(params, state=state)
        updates, state = solver.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(params, updates), state, step + 1, _length(grad)

    start = (params, solver.init(params), 0, jnp.inf)
    return jax.lax.while_loop(unfinished, iterate, start)[0]


def _length(tree):
    """Euclidean length of all leaves together."""
    return jnp.sqrt(sum((leaf**2).sum() for leaf in tree.values()))


Config = LinearProbe  # what a config's sub-tree of this evaluator is turned into
