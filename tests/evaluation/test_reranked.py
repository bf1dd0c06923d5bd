"""Retrieval in two looks, against an order that is made by hand; and texts that pictures lend."""

import numpy as np
import pytest
from evaluation.contexts import context

from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.errors import NotFinite
from mmjax.evaluation import base, nearest_text
from mmjax.evaluation.captions import Captions
from mmjax.evaluation.measures import ranking
from mmjax.evaluation.reranked import Reranked

N, WIDTH, TOP = 7, 4, 3
RNG = np.random.default_rng(0)
GROUP = np.array([0, 1, 1, 2, 3, 4, 5], np.int32)


def rows(captions=1):
    """Embeddings that the batch brings along, and tokens and words that a match is made of."""
    vectors = RNG.normal(size=(N * (1 + captions), WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    text = RNG.normal(size=(N, captions, 2)).astype(np.float32)
    made = dict(
        image_vector=vectors[:N],
        text_vector=vectors[N:].reshape(N, captions, WIDTH),
        tokens=RNG.normal(size=(N, 3, 2)).astype(np.float32),
        text=text,
        text_mask=np.ones(text.shape, bool),
        group=GROUP,
        index=np.arange(N, dtype=np.int32),
        weight=np.ones(N, np.float32),
    )
    if captions == 1:
        for name in ("text", "text_mask", "text_vector"):
            made[name] = made[name][:, 0]
    return made


def predict(variables, batch, keys=None, **arguments):
    tokens = batch.get("image_tokens", batch.get("tokens"))
    out = {"image_tokens": tokens}
    if "image_vector" in batch:
        out |= {"image": batch["image_vector"], "text": batch["text_vector"]}
    if batch["text"].ndim == 2:
        out["match"] = variables * (tokens.sum(1) * batch["text"]).sum(-1)
    return out


def found(given, top=TOP, scale=1.0):
    def batches(spec=None):
        assert spec is None
        for part in (slice(0, 4), slice(4, N)):
            yield {name: value[part] for name, value in given.items()}

    source = InMemory([{"group": group} for group in GROUP.tolist()])
    ours = context(source, batches=batches)
    evaluator = Reranked(top=top, sheet=0, matrix=0)
    return base.run(evaluator, predict, np.float32(scale), batches(), ours)


@pytest.mark.parametrize("captions", [1, 2])
def test_the_nearest_are_ordered_anew(captions):
    given = rows(captions)
    texts = given["text"].reshape(-1, 2)
    vectors = given["text_vector"].reshape(-1, WIDTH)
    of_text = np.repeat(GROUP, captions)
    cosine = given["image_vector"] @ vectors.T
    both = cosine + given["tokens"].sum(1) @ texts.T
    result = found(given)
    for name, near, score, asked, offered in (
        ("image_to_text", cosine, both, GROUP, of_text),
        ("text_to_image", cosine.T, both.T, of_text, GROUP),
    ):
        ranks = []
        for row, group in enumerate(asked):
            order = np.argsort(-near[row])
            again = sorted(order[:TOP], key=lambda at, row=row: -score[row, at])
            order = [*again, *order[TOP:]]
            ranks.append(1 + next(at for at, one in enumerate(order) if offered[one] == group))
        np.testing.assert_allclose(result.queries[f"{name}/rank"], ranks)
        assert result.metrics[f"{name}/r1"] == pytest.approx(np.mean(np.array(ranks) == 1))
    plain, _ = ranking.rank(given["image_vector"], vectors, GROUP, of_text)
    assert result.baselines["itc"]["image_to_text/r1"] == pytest.approx(plain.hits(1).mean())
    assert result.metrics != result.baselines["itc"]


def test_without_a_second_opinion_the_order_stays():
    result = found(rows(), scale=0.0)
    assert result.metrics == pytest.approx(result.baselines["itc"])


def test_a_match_that_is_no_number_is_refused():
    with pytest.raises(NotFinite):
        found(rows(), scale=np.nan)
    with pytest.raises(ConfigError, match="average_over is not for it"):
        Reranked(average_over="group").check(context())


def test_the_nearest_training_picture_lends_its_text():
    dark = np.zeros((8, 8, 3), np.uint8)
    light = np.full((8, 8, 3), 250, np.uint8)
    training = InMemory([
        {"image": light, "text": ("day", "noon")}, {"image": dark, "text": "night"},
    ])  # fmt: skip
    asked = InMemory([
        {"image": dark + 9, "text": "night, sky"}, {"image": light - 9, "text": "sun"},
    ])  # fmt: skip
    ours = context(
        asked, training=lambda: [training], decode=lambda row, source=None: (source or asked)[row]
    )
    config = nearest_text.Config(4, captions=Captions(name_before=","))
    nearest_text.check(config, ours)
    assert nearest_text.measure(config, ours)["exact_match"] == 0.5
    bare = context(asked, training=lambda: [InMemory([{"text": "night"}])])
    with pytest.raises(ConfigError, match="has no 'image'"):
        nearest_text.check(config, bare)
