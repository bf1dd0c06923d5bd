import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.contexts import context
from evaluation.test_base import put_on

from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.evaluation import base
from mmjax.evaluation.zero_shot import ZeroShot

NAMES = ("cat", "dog", "lion", "lorry", "pie", "moon", "sun")
VECTORS = np.random.default_rng(0).standard_normal((256, 16)).astype(np.float32)  # of a letter


def encode(examples):
    texts = [example["text"] for example in examples]
    ids = np.zeros((len(texts), max(map(len, texts))), np.int32)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = list(text.encode())
    return {"text": ids, "text_mask": ids > 0}


def embed(variables, batch, keys):
    """Whichever modality the batch holds, as unit vectors."""
    out = {}
    if "text" in batch:
        out["text"] = (variables[batch["text"]] * batch["text_mask"][..., None]).sum(1)
    if "image" in batch:
        out["image"] = batch["image"]
    return {name: x / jnp.linalg.norm(x, axis=-1, keepdims=True) for name, x in out.items()}


def batches(label, image, size=8):
    index = np.arange(len(label), dtype=np.int32)
    for start in range(0, len(label), size):
        part = slice(start, start + size)
        batch = {"label": label[part], "image": image[part], "index": index[part]}
        yield batch | {"weight": np.ones(len(batch["label"]), np.float32)}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 7, 45).astype(np.int32)
    label[:20] = 2
    classes = np.stack([VECTORS[list(name.encode())].sum(0) for name in NAMES])
    noise = 4 * rng.standard_normal((45, 16))
    return label, (classes[label] + noise).astype(np.float32)


@pytest.mark.parametrize("put", [None, put_on(jax.devices())], ids=["1", "8"])
@pytest.mark.parametrize("batch", [8, 256])
def test_agrees_with_numpy_on_1_and_8_devices(data, put, batch):
    label, image = data
    templates = ("a {}", "{}, the thing", "my {}")
    evaluator = ZeroShot(NAMES, templates, batch=batch)
    stream = batches(label, np.resize(image, (48, 16))[: len(label)])
    ours = context(encode=encode)
    result = base.run(evaluator, embed, jnp.asarray(VECTORS), stream, ours, put=put)

    prompts = [[template.replace("{}", name) for template in templates] for name in NAMES]
    classes = np.array([[VECTORS[list(t.encode())].sum(0) for t in row] for row in prompts])
    scores = unit(image) @ unit(unit(classes).mean(1)).T
    place = (scores > np.take_along_axis(scores, label[:, None], 1)).sum(1)
    metrics = result.metrics
    assert metrics["accuracy/top1"] == pytest.approx((place < 1).mean())
    assert metrics["accuracy/top5"] == pytest.approx((place < 5).mean())
    by_class = [(place[label == i] < 1).mean() for i in np.unique(label)]
    assert metrics["accuracy/per_class"] == pytest.approx(np.mean(by_class))
    assert 0.2 < metrics["accuracy/top1"] < 1
    chance = {"accuracy/top1": 1 / 7, "accuracy/top5": 5 / 7, "accuracy/per_class": 1 / 7}
    assert result.baselines["chance"] == pytest.approx(chance)
    assert result.baselines["majority"] == {"accuracy/top1": np.bincount(label).max() / 45}
    assert result.media["confusion"].width > 500
    np.testing.assert_array_equal(result.queries["accuracy/top1"], place < 1)


def test_a_collapsed_model_scores_chance_whatever_the_labels(data):
    def collapsed(variables, batch, keys):
        out = jnp.ones((len(batch["weight"]), 16)) / 4
        return {"text" if "text" in batch else "image": out}

    stream = batches(np.zeros(16, np.int32), data[1][:16])  # all of the first class
    found = base.run(ZeroShot(NAMES), collapsed, None, stream, context(encode=encode))
    metrics = found.metrics
    assert metrics["accuracy/top1"] == pytest.approx(1 / 7)
    assert metrics["accuracy/top5"] == pytest.approx(5 / 7)
    assert found.baselines["majority"]["accuracy/top1"] == 1


def test_what_cannot_be_right_is_refused(data):
    with pytest.raises(ValueError, match='template \'a cat\' needs "{}" once'):
        ZeroShot(NAMES, ("a {}", "a cat"))
    with pytest.raises(ValueError, match="at least one template"):
        ZeroShot(NAMES, ())
    with pytest.raises(ValueError, match="at least 2 class names, not 1"):
        ZeroShot(("cat",))
    with pytest.raises(ValueError, match="'cat' is given for several labels"):
        ZeroShot(("cat", "dog", "cat"))
    label, image = data
    variables = jnp.asarray(VECTORS)
    ours = context(encode=encode)
    few = ZeroShot(NAMES[:5])
    wanted = "no class name; example .* has label [56], but the 5 classes are labels 0 to 4"
    with pytest.raises(ConfigError, match=wanted):
        base.run(few, embed, variables, batches(label, image), ours)
    with pytest.raises(ConfigError, match=wanted):
        few.check(context(InMemory([{"label": int(one)} for one in label])))
    nameless = (
        {name: x for name, x in batch.items() if name != "label"}
        for batch in batches(label, image)
    )
    with pytest.raises(ConfigError, match="no 'label' among image, index, source, weight"):
        base.run(ZeroShot(NAMES), embed, variables, nameless, ours)
    image[3] = np.nan
    with pytest.raises(ValueError, match="scores of 1 of 45 examples are not finite"):
        base.run(ZeroShot(NAMES), embed, variables, batches(label, image), ours)
