import math

import jax
import numpy as np
import pytest
from evaluation.contexts import context
from jax.sharding import AxisType

from mmjax.config import ConfigError
from mmjax.data.source import DataError, InMemory
from mmjax.evaluation.measures import ranking
from mmjax.evaluation.retrieval import Retrieval


def finish(rows, **config):
    return Retrieval(**config).finish(rows, context())


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def naive(queries, candidates, query_group, candidate_group):
    """Counts of `ranking.Ranks` from the whole matrix, in float64."""
    scores = queries.astype(np.float64) @ candidates.astype(np.float64).T
    right = query_group[:, None] == candidate_group[None]
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    level = np.abs(scores - best) <= ranking.TIE
    return (
        ((scores > best + ranking.TIE) & ~right).sum(1),
        (level & ~right).sum(1),
        (level & right).sum(1),
    )


@pytest.mark.parametrize("tile", [128, 256, 4096])
def test_tiles_agree_with_the_whole_matrix(tile):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 90, 300), rng.integers(0, 110, 517)  # some have no right answer
    centre = rng.standard_normal((110, 8))
    queries, candidates = (unit(centre[g] + rng.standard_normal((len(g), 8))) for g in groups)
    candidates[100:140] = candidates[60:100]  # exact ties
    forth, back = ranking.rank(queries, candidates, *groups, tile=tile)
    for got, wanted in zip(forth, naive(queries, candidates, *groups), strict=True):
        np.testing.assert_array_equal(got, wanted)
    for got, wanted in zip(back, naive(candidates, queries, *groups[::-1]), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert (back.right == 0).any() and (forth.tied > 0).any() and (forth.above > 9).any()


def test_one_device_ranks_under_a_mesh_of_many():
    rng = np.random.default_rng(0)
    x, group = unit(rng.standard_normal((200, 8))), np.arange(200)
    alone = ranking.rank(x, x[::-1], group, group)
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    with jax.set_mesh(mesh):
        under = ranking.rank(x, x[::-1], group, group)
    for a, b in zip(alone, under, strict=True):
        np.testing.assert_array_equal(a, b)


def test_expected_hits_are_the_mean_over_all_orders_of_the_tied():
    rng = np.random.default_rng(0)
    ranks = ranking.Ranks(*np.array([[0, 3, 1], [0, 0, 1], [2, 3, 1], [1, 2, 3], [7, 4, 2]]).T)
    firsts = np.array(
        [
            [above + 1 + np.argmax(rng.permutation(tied + right) < right) for _ in range(20_000)]
            for above, tied, right in zip(*ranks, strict=True)
        ]
    )
    for k in (1, 2, 3, 5, 10):
        np.testing.assert_allclose(ranks.hits(k), (firsts <= k).mean(1), atol=0.015)
    np.testing.assert_allclose(ranks.expected, firsts.mean(1), atol=0.03)


@pytest.mark.parametrize("right", [1, 5])
def test_chance_is_exact_for_several_right_answers(right):
    ranks = ranking.chance(np.array([right]), 185)
    for k in (1, 5, 10):
        wanted = 1 - math.comb(185 - right, k) / math.comb(185, k)
        np.testing.assert_allclose(ranks.hits(k), wanted, rtol=1e-12)
    assert ranks.expected == 186 / (right + 1)


def test_a_collapsed_model_scores_chance_not_everything():
    vector = unit(np.random.default_rng(0).standard_normal(512))
    rows = {name: np.tile(vector, (200, 1)) for name in ("image", "text")}
    rows |= {"index": np.arange(200), "group": np.arange(200) // 2}
    found = finish(rows, tile=128)
    for direction in ("image_to_text", "text_to_image"):
        for name in ("r1", "r5", "r10", "median_rank"):
            chance = found.baselines["chance"][f"{direction}/{name}"]
            np.testing.assert_allclose(found.metrics[f"{direction}/{name}"], chance, rtol=1e-9)
    assert found.baselines["chance"]["image_to_text/r1"] == pytest.approx(2 / 200)


def test_rounding_does_not_decide_between_equal_texts():
    rng = np.random.default_rng(0)
    image = unit(rng.standard_normal((400, 512)))
    text = image[np.arange(400) // 2 * 2]  # texts come in equal pairs of different groups
    noise = 1 + 1e-7 * rng.standard_normal(text.shape).astype(np.float32)
    rows = {"image": image[np.arange(400) // 2 * 2], "text": text * noise}
    metrics = finish(rows | {"index": np.arange(400)}, tile=128).metrics
    assert metrics["image_to_text/r1"] == 0.5 and metrics["image_to_text/median_rank"] == 1.5


def captions(rng, images=60, most=5):
    """COCO-like rows: up to five captions an image, in both shapes a data set may have."""
    image = unit(rng.standard_normal((images, 16)))
    text = unit(image[:, None] + 0.3 * rng.standard_normal((images, most, 16)))
    mask = np.arange(most) < rng.integers(1, most + 1, images)[:, None]
    index = np.arange(images)
    wide = {"image": image, "text": text, "text_mask": mask, "index": index}
    row, _ = np.nonzero(mask)
    long = {"image": image[row], "text": text[mask], "image_id": row, "group": row}
    return wide, long | {"index": np.arange(len(row))}


def test_several_captions_per_image_as_one_row_or_as_many():
    wide, long = captions(np.random.default_rng(0))
    found, many = finish(wide), finish(long)
    one, chance = found.metrics, found.baselines["chance"]
    assert one == many.metrics and chance == many.baselines["chance"]
    image, text, mask = wide["image"], wide["text"], wide["text_mask"]
    scores = image @ text[mask].T
    owner = np.nonzero(mask)[0]
    first = owner[scores.argmax(1)] == np.arange(60)
    assert one["image_to_text/r1"] == pytest.approx(first.mean())
    assert one["text_to_image/r1"] == pytest.approx((scores.argmax(0) == owner).mean())
    assert chance["text_to_image/r1"] == pytest.approx(1 / 60)
    per_image = mask.sum(1) / mask.sum()
    assert chance["image_to_text/r1"] == pytest.approx(per_image.mean())


def test_an_image_without_captions_is_no_query_but_still_a_candidate():
    wide, _ = captions(np.random.default_rng(0))
    wide["text_mask"] = wide["text_mask"] & (np.arange(60) != 7)[:, None]
    result = finish(wide)
    assert 7 not in result.queries["image_to_text/index"]
    assert result.baselines["chance"]["text_to_image/r1"] == pytest.approx(1 / 60)


def test_average_over_runs_one_retrieval_per_value():
    rng = np.random.default_rng(0)
    concept = np.repeat(np.arange(50), 2)
    text = unit(rng.standard_normal((50, 8)))[concept]
    image = unit(text + 0.5 * rng.standard_normal(text.shape))
    rows = {"image": image, "text": text, "group": concept, "index": np.arange(100)}
    rows["style"] = np.tile(["noto", "fluent"], 50)
    both = finish(rows, average_over="style")
    apart = [
        finish({name: x[rows["style"] == style] for name, x in rows.items()})
        for style in ("fluent", "noto")
    ]
    for name in both.metrics:
        mean = np.mean([part.metrics[name] for part in apart])
        assert both.metrics[name] == pytest.approx(mean)
    assert both.baselines["chance"]["image_to_text/r1"] == pytest.approx(1 / 50)
    hits = both.queries["image_to_text/r1"]
    assert hits.mean() == pytest.approx(both.metrics["image_to_text/r1"]) and len(hits) == 100
    assert sorted(both.queries["image_to_text/index"]) == list(range(100))


def test_other_modalities_have_their_names():
    rng = np.random.default_rng(0)
    rows = {"audio": unit(rng.standard_normal((9, 4))), "video": unit(rng.standard_normal((9, 4)))}
    evaluator = Retrieval(queries="audio", candidates="video", at=(2,))
    found = evaluator.finish(rows | {"index": np.arange(9)}, context())
    assert {"audio_to_video/r2", "video_to_audio/median_rank"} < set(found.metrics)
    assert set(found.baselines["chance"]) == set(found.metrics)


def test_token_masks_are_told_from_caption_masks():
    vectors = np.zeros((2, 3, 4), np.float32)
    tokens = np.zeros((2, 3, 7), bool)
    tokens[:, :2, :5] = True
    batch = {"text_mask": tokens, "group": np.arange(2)}
    embed = {"image": vectors[:, 0], "text": vectors}
    rows = Retrieval().records(lambda variables, batch: embed, None, batch, None)
    np.testing.assert_array_equal(rows["text_mask"], [[True, True, False]] * 2)
    embed = {"image": vectors[:, 0], "text": vectors[:, 0]}
    batch = {"text_mask": tokens[:, 0], "group": np.arange(2)}
    assert "text_mask" not in Retrieval().records(lambda variables, batch: embed, None, batch, None)


def test_what_cannot_be_right_is_refused():
    wide, long = captions(np.random.default_rng(0))
    with pytest.raises(ConfigError, match="predict gave no text, only image"):
        only = {"image": wide["image"]}
        Retrieval().records(lambda *_: only, None, {"pixels": None}, None)
    with pytest.raises(ConfigError, match="no column 'concept' among image, text"):
        finish(wide, group="concept")
    with pytest.raises(ConfigError, match="no column 'style' to average over"):
        finish(wide, average_over="style")
    wide["image"][3, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 of 60 query embeddings .* finite \(the first: 3\)"):
        finish(wide)
    with pytest.raises(DataError, match="image_id .* is in two groups"):
        finish(long | {"group": long["index"]})
    with pytest.raises(DataError, match="text_mask leaves no text at all"):
        finish(wide | {"text_mask": np.zeros_like(wide["text_mask"])})
    bare = context(InMemory([{"image": b"", "text": "a cat"}]))
    with pytest.raises(ConfigError, match="the data has no column 'style'"):
        Retrieval(average_over="style").check(bare)
    Retrieval().check(bare)
