"""What holds of models of videos besides the table: padding, order, sizes, masks, starts."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import watching

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.generation import over_time
from mmjax.layers import tubelets
from mmjax.models import (
    frame_tower,
    resnet,
    video_classifier,
    video_clip,
    video_mae,
    video_vit,
    vit,
)
from mmjax.models.towers import hierarchical
from mmjax.objectives import masked_video


def start(model, *arguments):
    """Random parameters, without a program that draws them."""
    shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), *arguments))
    rng = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32)  # noqa: E731
    return jax.tree.map(draw, shapes)


TOWERS = {
    "joint": video_vit.Model(dataclasses.replace(watching.VIVIT, tubelet=1)),
    "divided": video_vit.Model(watching.DIVIDED),
    "space": video_vit.Model(watching.SPACE),
    "talking": frame_tower.Model(watching.TALKING),
    "scales": hierarchical.Model(watching.PROGRAMME),
}


@pytest.mark.parametrize("name", TOWERS)
def test_padding_changes_nothing_and_order_does(name):
    """What stands behind a clip's real frames is not in its vector; the real ones are, and so is
    their order, unless each frame is looked at by itself."""
    model = TOWERS[name]
    clips = watching.clips(4)
    valid = watching.there(4)
    variables = start(model, clips, valid)
    run = jax.jit(lambda video, valid: model.apply(variables, video, valid).pooled)
    padding = jnp.where(valid[..., None, None, None], clips, 7.0)
    first = run(clips, valid)
    np.testing.assert_allclose(first, run(padding, valid), atol=1e-5)
    other = run(clips.at[:, 0].add(1.0), valid)
    assert (np.abs(np.asarray(first - other)).max(1) > 1e-3).all()
    everything = jnp.ones_like(valid)
    turned = np.abs(np.asarray(run(clips, everything) - run(clips[:, ::-1], everything))).max()
    assert turned < 1e-5 if name == "space" else turned > 1e-3


SCALES = (
    hierarchical.Scale("short", 2),
    hierarchical.Scale("medium", 6, 2),
    hierarchical.Scale("long", 0, 4),
)


def test_each_head_asks_by_itself():
    """With queries, a head reads what is there of a clip, and no other head's parameters."""
    model = video_classifier.Model(watching.QUERIES)
    clips = watching.clips(4)
    valid = watching.there(4)
    variables = start(model, clips, valid)
    run = jax.jit(lambda variables, video: model.apply(variables, video, valid).logits)
    first = run(variables, clips)
    assert first["now"].shape == (4, 2) and first["after"].shape == (4, 3)
    padding = jnp.where(valid[..., None, None, None], clips, 7.0)
    np.testing.assert_allclose(first["after"], run(variables, padding)["after"], atol=1e-5)
    probes = variables["params"]["pool"]["probe"]
    variables["params"]["pool"]["probe"] = probes.at[0].add(1.0)
    other = run(variables, clips)
    np.testing.assert_array_equal(first["after"], other["after"])
    assert np.abs(first["now"] - other["now"]).max() > 1e-3
    with pytest.raises(ConfigError, match="queries are those of several heads"):
        video_classifier.Config(classes=3, queries=True)


def of_scales(*scales):
    """A tower of clips of ten frames."""
    return hierarchical.Model(
        dataclasses.replace(watching.PROGRAMME, frames=10, scales=scales, together=4)
    )


@pytest.mark.parametrize("scale", SCALES)
def test_a_scale_sees_its_span_and_mixes_its_segments(scale):
    """Of clips of 10, 7 and 1 frames: nothing before the span, no order inside a segment."""
    model = of_scales(scale)
    video = jax.random.normal(jax.random.key(5), (3, 10, 8, 8, 3))
    length = np.array([10, 7, 1])
    valid = jnp.arange(10)[None] < length[:, None]
    variables = start(model, video, valid)

    @jax.jit
    def run(video):
        gradient = jax.grad(lambda x: (model.apply(variables, x, valid).pooled ** 2).sum())
        return model.apply(variables, video, valid).tokens, gradient(video)

    tokens, gradient = run(video)
    before = length[:, None] - np.arange(10)[None]  # 1: the last frame
    span = (before >= 1) & (before <= (scale.frames or 10))
    np.testing.assert_array_equal(np.abs(np.asarray(gradient)).sum((2, 3, 4)) > 0, span)
    turned = video.at[0, -2:].set(video[0, :-3:-1])  # the last two change places
    other = run(turned)[0]
    same = np.abs(np.asarray(tokens - other)[0]).max() < 1e-5
    assert same == (scale.name != "short")
    np.testing.assert_array_equal(tokens[1:], other[1:])


def test_vectors_are_those_of_all_scales_counted_from_the_end():
    model = of_scales(*SCALES)
    lengths = np.array([10, 7, 3, 1, 0])
    counts = [sum(scale.vectors(length) for scale in SCALES) for length in lengths.tolist()]
    assert counts == [2 + 3 + 3, 2 + 3 + 2, 2 + 2 + 1, 1 + 1 + 1, 0]
    assert model.config.vectors(lengths).tolist() == counts
    video = jax.random.normal(jax.random.key(5), (2, 10, 8, 8, 3))
    variables = start(model, video)
    alone = of_scales(*SCALES[:2])  # what is before the last six frames changes nothing
    run = jax.jit(lambda video, valid: alone.apply(variables, video, valid).tokens)
    whole = run(video, jnp.ones((2, 10), bool))
    assert whole.shape == (2, 5, 16)
    moved = jnp.roll(video, -3, axis=1)
    shorter = jnp.broadcast_to(jnp.arange(10)[None] < 7, (2, 10))
    np.testing.assert_allclose(run(moved, shorter), whole, atol=1e-5)
    assert alone.config.read(10) == 6 and model.config.read(10) == 10
    with pytest.raises(ValueError, match="a clip of 11 frames for a model of at most 10"):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 11, 8, 8, 3)))
    with pytest.raises(ConfigError, match="name one at least, and each once"):
        of_scales(SCALES[0], SCALES[0])
    with pytest.raises(ConfigError, match=r"fusion.width=16 must be that of the scales"):
        wide = dataclasses.replace(watching.OVER, width=32)
        dataclasses.replace(watching.PROGRAMME, transformer=wide)


def test_a_cut_clip_is_put_together_again():
    video = jax.random.normal(jax.random.key(0), (2, 6, 8, 12, 3))
    cut = tubelets.cut(video, 3, 4)
    assert cut.shape == (2, 2 * 2 * 3, 3 * 4 * 4 * 3)
    np.testing.assert_array_equal(tubelets.joined(cut, 3, 4, 8, 12), video)
    with pytest.raises(ValueError, match="a clip of 5 frames of 8 x 12 pixels does not divide"):
        tubelets.cut(video[:, :5], 3, 4)


def test_tubes_are_hidden_at_every_time():
    draw = jax.jit(masked_video.visible_tubes, static_argnums=(1, 2, 3, 4))
    index = np.asarray(draw(jax.random.key(0), 64, 3, 10, 0.75))
    assert index.shape == (64, 3 * 3)  # int(7.5) of 10 places are hidden
    place = index.reshape(64, 3, 3) - 10 * np.arange(3)[:, None]
    assert (place == place[:, :1]).all()
    assert (np.diff(place[:, 0]) > 0).all()
    counts = np.bincount(place[:, 0].ravel(), minlength=10)
    assert counts.min() > 5 and counts.sum() == 64 * 3  # each place has its turn
    hidden = np.asarray(tubelets.others(jnp.asarray(index), 30))
    both = np.sort(np.concatenate([index, hidden], axis=1), axis=1)
    np.testing.assert_array_equal(both, np.tile(np.arange(30), (64, 1)))
    assert (np.diff(hidden) > 0).all()
    assert draw(jax.random.key(0), 2, 3, 4, 1.0).shape == (2, 3)  # one place at least is seen


@pytest.mark.slow
def test_what_is_hidden_is_not_read():
    model = video_mae.Model(video_mae.Config(watching.MASKED, watching.OVER))
    clips = watching.clips(2)
    seen = watching.seen(2)
    variables = start(model, clips, seen)

    def pixels(video):
        return model.apply(variables, video, seen).pixels.sum()

    cut = watching.MASKED.cut(jax.jit(jax.grad(pixels))(clips))
    reached = np.abs(np.asarray(cut)).max(2) > 0
    expected = np.zeros((2, 8), bool)
    expected[np.arange(2)[:, None], np.asarray(seen)] = True
    np.testing.assert_array_equal(reached, expected)


def test_a_target_has_its_own_mean_and_deviation():
    cut = 3 + 2 * jax.random.normal(jax.random.key(0), (2, 5, 4 * 4 * 3))
    target = np.asarray(masked_video.normalised(cut, 3)).reshape(2, 5, 16, 3)
    np.testing.assert_allclose(target.mean(2), 0, atol=1e-5)
    np.testing.assert_allclose(target.std(2, ddof=1), 1, atol=1e-5)
    assert np.isfinite(np.asarray(masked_video.normalised(jnp.ones((1, 1, 12)), 3))).all()


def test_a_clip_of_pictures_is_their_mean_at_the_start():
    """A trained image tower inside, whose paths are its own: what warm_start relies on."""
    tower = frame_tower.Model(frame_tower.Config(watching.IMAGE, 4, transformer=None))
    clips = watching.clips(2)
    image = vit.Model(watching.IMAGE)
    alone = start(image, clips[:, 0])
    whole = jax.eval_shape(tower.init, jax.random.key(0), clips)["params"]
    paths = {path.removeprefix("image/") for path in tree.flatten(nn.unbox(whole))}
    assert paths == set(tree.flatten(alone["params"]))
    params = {"params": {"image": alone["params"]}}
    valid = jnp.array([[1, 1, 1, 0], [1, 0, 0, 0]], bool)
    pooled = jax.jit(tower.apply)(params, clips, valid).pooled
    frames = jax.jit(image.apply)(alone, clips.reshape(-1, 8, 8, 3)).pooled.reshape(2, 4, -1)
    np.testing.assert_allclose(pooled[0], frames[0, :3].mean(0), atol=1e-5)
    np.testing.assert_allclose(pooled[1], frames[1, 0], atol=1e-5)


@pytest.mark.parametrize("image", [
    resnet.Config(8, stages=(1,), width=4, heads=2, embedding=16),
    dataclasses.replace(watching.IMAGE, pool="attention"),
])  # fmt: skip
def test_any_tower_of_pictures_reads_clips(image):
    model = frame_tower.Model(frame_tower.Config(image, 4, transformer=watching.OVER))
    out, _ = jax.eval_shape(
        model.init_with_output, jax.random.key(0), watching.clips(2), watching.there(2)
    )
    assert out.tokens.shape == (2, 4, 16) and out.pooled.shape == (2, 16)
    assert out.places.shape[:2] == (2, 4)


def test_wrong_sizes_are_explained():
    wrong = jnp.zeros((1, 5, 8, 8, 3))
    with pytest.raises(ValueError, match="clips of 4 x 8 x 8 x 3 .* got 5 x 8 x 8 x 3"):
        jax.eval_shape(TOWERS["joint"].init, jax.random.key(0), wrong)
    with pytest.raises(ValueError, match="5 frames for a model of at most 4"):
        jax.eval_shape(TOWERS["talking"].init, jax.random.key(0), wrong)
    with pytest.raises(ConfigError, match="needs the class token"):
        dataclasses.replace(watching.DIVIDED, pool="mean")
    with pytest.raises(ConfigError, match="strides 2, 3 of the stem do not divide 4"):
        dataclasses.replace(watching.VIVIT, stem=(vit.Stage(8), vit.Stage(8, 3)))
    stemmed = video_vit.Model(dataclasses.replace(watching.STEMMED, pool="mean"))
    with pytest.raises(ConfigError, match="a stem reads beyond the tubelets that are visible"):
        jax.eval_shape(stemmed.init, jax.random.key(0), watching.clips(2), None, watching.seen(2))
    with pytest.raises(ConfigError, match="are those of one classifier; with heads .way"):
        video_classifier.Config(
            watching.VIVIT, classes=3, heads=(video_classifier.Head("way", 2),)
        )
    with pytest.raises(ConfigError, match="less than one tubelet of 9 frames"):
        dataclasses.replace(watching.VIVIT, tubelet=9)
    with pytest.raises(ConfigError, match="width=16 must be that of a frame's vector, 20"):
        dataclasses.replace(watching.FRAMES, projection=20)
    with pytest.raises(ConfigError, match="texts read the places of single frames"):
        dataclasses.replace(watching.PAIR, video=watching.VIVIT, prompt_layers=1)
    with pytest.raises(ConfigError, match="said by class tokens"):
        frame_tower.Config(dataclasses.replace(watching.IMAGE, pool="mean"), messages=True)


def test_where_a_tower_looks_in_time():
    """Shares of the times; frames that are not there have none."""
    for tower, times in ((watching.VIVIT, 2), (watching.DIVIDED, 4), (watching.FRAMES, 4)):
        heads = (video_classifier.Head("way", 3), video_classifier.Head("pace", 2))
        model = video_classifier.Model(video_classifier.Config(tower, heads=heads))
        inputs = (watching.clips(2), jnp.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool))
        variables = start(model, *inputs)
        shares = np.asarray(over_time.over_time(model, variables, inputs))
        assert shares.shape == (2, times) and over_time.tells(model.config)
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
        assert (shares[0] > 0).all()
        np.testing.assert_allclose(shares[1, times // 2 :], 0, atol=1e-6)
        logits = jax.eval_shape(model.apply, variables, *inputs).logits
        assert {name: one.shape for name, one in logits.items()} == {"way": (2, 3), "pace": (2, 2)}
    assert not over_time.tells(video_classifier.Config(watching.SPACE))


def test_texts_that_read_clips_are_not_trained_by_vectors():
    model = video_clip.Model(watching.XCLIP)
    with pytest.raises(ConfigError, match="a loss of vectors does not train"):
        jax.eval_shape(
            lambda key: model.init(key, "video", watching.clips(), train=True, method="encode"),
            jax.random.key(0),
        )


@pytest.mark.slow
def test_published_sizes():
    """Parameters of the variants, without drawing any."""

    def count(module, name):
        config = module.VARIANTS[name]
        made = jax.eval_shape(module.Model(config).init, jax.random.key(0), *module.inputs(config))
        return tree.count(made["params"])

    # of the checkpoints' towers: 1568 + 1 places of 768, and a place's own; no classifier
    assert count(video_vit, "VideoMAE-B") == 86_227_200
    assert count(video_clip, "X-CLIP-B/32") == 196_585_729
