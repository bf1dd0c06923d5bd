"""Classification by logits: against numpy, on one device and eight."""

import jax
import numpy as np
import pytest
from evaluation.contexts import context
from evaluation.test_base import put_on

from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.evaluation import base
from mmjax.evaluation.classification import Classification

ROWS, CLASSES = 45, 7


def logits(variables, batch, keys):
    return {"logits": batch["scores"]}


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 6, ROWS).astype(np.int32)  # no row has the last class
    label[:15] = 2
    scores = rng.standard_normal((ROWS, CLASSES)).astype(np.float32)
    scores[np.arange(ROWS), label] += 1
    return label, scores


def batches(label, scores, size=8):
    index = np.arange(len(label), dtype=np.int32)
    for start in range(0, len(label), size):
        part = slice(start, start + size)
        batch = {"label": label[part], "scores": scores[part], "index": index[part]}
        yield batch | {"weight": np.ones(len(batch["label"]), np.float32)}


@pytest.mark.parametrize("put", [None, put_on(jax.devices())], ids=["1", "8"])
def test_agrees_with_numpy(data, put):
    label, scores = data
    found = base.run(Classification(), logits, None, batches(*data), context(), put=put)
    order = np.argsort(-scores, axis=1)
    top1 = order[:, 0] == label
    metrics = found.metrics
    assert metrics["accuracy/top1"] == pytest.approx(top1.mean())
    assert metrics["accuracy/top5"] == pytest.approx((order[:, :5] == label[:, None]).sum(1).mean())
    by_class = [top1[label == one].mean() for one in np.unique(label)]
    assert metrics["accuracy/per_class"] == pytest.approx(np.mean(by_class))
    assert metrics["class/2"] == pytest.approx(top1[label == 2].mean())
    assert "class/6" not in metrics
    assert found.baselines["chance"]["accuracy/top5"] == pytest.approx(5 / 7)
    assert found.baselines["majority"]["accuracy/top1"] == np.bincount(label).max() / ROWS
    assert set(found.media) == {"confusion"}
    np.testing.assert_array_equal(found.queries["accuracy/top1"], top1)


def test_what_cannot_be_right_is_refused(data):
    label, scores = data
    with pytest.raises(ConfigError, match="no field 'kind' to classify by; it has .*scores"):
        base.run(Classification(label="kind"), logits, None, batches(*data), context())
    with pytest.raises(ConfigError, match="gave no 'classes', only logits"):
        base.run(Classification(logits="classes"), logits, None, batches(*data), context())
    with pytest.raises(ConfigError, match="2 names, but the model tells 7 classes apart"):
        named = Classification(class_names=("a", "b"))
        base.run(named, logits, None, batches(*data), context())
    with pytest.raises(ConfigError, match="has label 9, but the 7 classes are labels 0 to 6"):
        base.run(
            Classification(), logits, None, batches(np.full_like(label, 9), scores), context()
        )
    with pytest.raises(ConfigError, match="label 2, but the 2 classes"):
        rows = [{"label": int(one)} for one in label]
        Classification(class_names=("a", "b")).check(context(InMemory(rows)))
    scores[3] = np.nan
    with pytest.raises(ValueError, match="logits of 1 examples are not finite"):
        base.run(Classification(), logits, None, batches(label, scores), context())
