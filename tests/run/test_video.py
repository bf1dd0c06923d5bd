"""Clips through the door of a run: moving digits, a processor of clips and texts, a dual encoder
whose tower reads frame by frame what a trained tower of pictures knows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax import config as configs
from mmjax import tree
from mmjax.datasets import bundled
from mmjax.run import warm_start
from mmjax.run.assembly import Run
from mmjax.run.options import Options

SMALL = dict(width=16, layers=1, heads=2, hidden=24)
# one line: the emoji CLIP, its image tower for each frame, its image head behind them
FROM_PICTURES = {
    "": "emoji_clip", "video/image": "emoji_clip#image", "video_head": "emoji_clip#image_head",
}  # fmt: skip


def options(**changes):
    config = configs.load(
        "configs/contrastive/clip_emoji.py:smoke,train.steps=2,train.evaluate_every=2,"
        "data.batch_size=8,execution.tensorboard=False",
        schema=Options,
    )
    config.data.train = dict(digits=dict(name="moving_digits", rows=16))
    config.data.processor = dict(
        name="video_text", image_size=16, max_length=24, pad_to=24, frames=dict(frames=4)
    )
    config.model = dict(
        name="video_clip", embedding=16,
        video=dict(name="frame_tower", image=dict(patch_size=8, transformer=SMALL),
                   transformer=SMALL),
        text=dict(name="text", transformer=SMALL),
    )  # fmt: skip
    config.optimizer.groups = (dict(learning_rate=1e-3),)
    config.task.mixup = False
    config.validation, config.test, config.checkpoint.metric = {}, {}, ""
    for key, value in changes.items():
        config[key] = value
    return configs.build(Options, config)


@pytest.mark.slow
@pytest.mark.parametrize("tower", ["frames", "tubelets"])
def test_a_run_on_clips(tower, tmp_path):
    model = dict(
        name="video_clip", embedding=16, text=dict(name="text", transformer=SMALL),
        video=dict(name="video_vit", patch_size=8, transformer=SMALL),
    )  # fmt: skip
    made = options() if tower == "frames" else options(model=model)
    run = mmjax.train(made, tmp_path / "run")
    assert run.finished
    back = mmjax.restore(tmp_path / "run")
    clip = np.zeros((8, 32, 32, 3), np.uint8)
    vectors = back.encode_video(clip)
    assert vectors.shape == (1, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors), 1, rtol=1e-5)
    logits = back.logits(video=[clip, clip], text=["a seven", "first a two", "a nine moves"])
    assert logits.shape == (2, 3)
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)


@pytest.mark.slow
def test_a_trained_tower_of_pictures_reads_clips():
    """At the start a clip that stands still has the vector of its picture."""
    clip = mmjax.load(bundled.model("emoji_clip"))
    whole = configs.to_dict(clip.config)
    image = {**whole.pop("image"), "name": "vit"}
    video = dict(name="frame_tower", image=image, transformer=None)
    model = dict(whole, name="video_clip", video=video)
    processor = dict(
        name="video_text", image_size=48, max_length=24, pad_to=24, frames=dict(frames=3),
        tokenizer=str(bundled.model("emoji_clip") / "tokenizer.json"),
    )  # fmt: skip
    made = options(model=model, warm_start=FROM_PICTURES, data=dict(
        train=dict(digits=dict(name="moving_digits", rows=16)), processor=processor, batch_size=8,
    ))  # fmt: skip
    run = Run(made)
    with jax.set_mesh(run.mesh):
        params = warm_start.begin(run, report=False).params
    given = tree.flatten(clip.params)
    assert not any(path.startswith("image") for path in tree.flatten(params))
    for path, leaf in tree.flatten(params).items():
        theirs = path.replace("video/image/", "image/").replace("video_head/", "image_head/")
        np.testing.assert_array_equal(leaf, given[theirs].astype(leaf.dtype), err_msg=path)
    picture = jax.random.normal(jax.random.key(0), (1, 48, 48, 3))
    still = jnp.repeat(picture[:, None], 3, axis=1)
    found = run.model.apply({"params": params}, still, method="encode_video")
    alone = clip.model.apply({"params": clip.params}, picture, method="encode_image")
    np.testing.assert_allclose(found, alone, atol=2e-3)  # the package keeps 16 bits
