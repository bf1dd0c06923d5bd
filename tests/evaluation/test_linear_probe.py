"""The linear probe: a known optimum, separable sets, the choice of the penalty, 8 devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.contexts import context
from evaluation.test_base import put_on

from mmjax.config import ConfigError, Spec
from mmjax.evaluation import base
from mmjax.evaluation.linear_probe import LinearProbe, fit

NAMES = ("cat", "dog", "lion")


def blobs(seed, count=120, noise=0.3, width=6):
    """Three clouds of points that lines part."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count).astype(np.int32)
    centres = 3 * np.eye(3, width)
    return (centres[label] + noise * rng.standard_normal((count, width))).astype(np.float32), label


def batches(x, label, size=8):
    index = np.arange(len(label), dtype=np.int32)
    for start in range(0, len(label), size):
        part = slice(start, start + size)
        batch = {"label": label[part], "image": x[part], "index": index[part]}
        yield batch | {"weight": np.ones(len(batch["label"]), np.float32)}


def embed(variables, batch, keys):
    return {"image": batch["image"] @ variables}


def test_separable_set_is_learnt_without_an_error():
    x, label = blobs(0)
    probe = fit(x, label)
    other, truth = blobs(1)
    best = (other @ probe.weights + probe.bias).argmax(1)
    assert (best == truth).all()
    assert probe.held_out == 1.0
    assert probe.weights.shape == (6, 3)
    assert probe.penalty == 1.0  # of equally good ones the strongest


def test_it_is_the_optimum():
    """The gradient of the objective, written down in float64, is zero there."""
    x, label = blobs(0, noise=2.0)
    probe = fit(x, label, penalties=(0.05,))
    x = x.astype(np.float64)
    std = x.std(0)
    logits = x @ probe.weights + probe.bias
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    error = (shares - np.eye(3)[label]) / len(x)
    standard = (x - x.mean(0)) / std
    slope = standard.T @ error + 0.05 * probe.weights * std[:, None]
    assert np.abs(slope).max() < 2e-4
    assert np.abs(error.sum(0)).max() < 2e-4


def test_the_penalty_is_chosen_by_what_is_held_out():
    """Many features of pure noise: without a penalty they are learnt by heart."""
    rng = np.random.default_rng(0)
    x, label = blobs(0, count=90, noise=2.0)
    x = np.concatenate([x, rng.standard_normal((90, 100)).astype(np.float32)], axis=1)
    assert fit(x, label, penalties=(1e-6, 0.3)).penalty == pytest.approx(0.3)


def test_rows_of_a_group_are_held_out_together():
    """Each point twice: with the twin in training anything can be learnt by heart."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((60, 80)).astype(np.float32), 2, 0)
    label = np.repeat(rng.integers(0, 3, 60).astype(np.int32), 2)
    together = np.repeat(np.arange(60), 2)
    assert fit(x, label, penalties=(1e-4,)).held_out > 0.8
    assert fit(x, label, together, penalties=(1e-4,)).held_out < 0.7


@pytest.mark.parametrize("put", [None, put_on(jax.devices())], ids=["1", "8"])
def test_as_an_evaluator(put):
    training, (x, label) = blobs(0), blobs(1, count=45)
    label[label == 2] = 1  # one class is never right
    ours = context(batches=lambda spec: batches(*training))
    evaluator = LinearProbe(Spec("blobs"), class_names=NAMES)
    result = base.run(evaluator, embed, jnp.eye(6), batches(x, label), ours, put=put)
    metrics, lions = result.metrics, (blobs(1, count=45)[1] == 2).sum()
    assert metrics["accuracy/top1"] == pytest.approx(1 - lions / 45)
    assert metrics["class/cat"] == 1.0
    assert metrics["class/dog"] == pytest.approx(1 - lions / (label == 1).sum())
    assert "class/lion" not in metrics  # there is none of it
    assert metrics["accuracy/per_class"] == pytest.approx((1 + metrics["class/dog"]) / 2)
    assert result.baselines["chance"]["accuracy/top1"] == pytest.approx(1 / 3)
    majority = result.baselines["majority"]["accuracy/top1"]
    assert majority == pytest.approx((label == 1).mean())
    assert metrics["held_out/accuracy/top1"] == 1.0
    assert set(result.media) == {"confusion"}


def test_what_cannot_be_done_is_said():
    x, label = blobs(0)
    with pytest.raises(ConfigError, match="needs `train`"):
        LinearProbe().check(context())
    with pytest.raises(ConfigError, match="label 5, but the 3 classes are labels 0 to 2"):
        ours = context(batches=lambda spec: batches(x, label))
        stream = batches(x, np.full_like(label, 5))
        base.run(LinearProbe(Spec("blobs")), embed, jnp.eye(6), stream, ours)
    with pytest.raises(ValueError, match="not finite"):
        fit(x * np.nan, label)
    with pytest.raises(ValueError, match="held_out=1.5"):
        LinearProbe(held_out=1.5)
    with pytest.raises(ValueError, match="from 0 to 2 with 2 classes"):
        fit(x, label, classes=2)
