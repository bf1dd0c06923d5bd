"""What prepares clips: of loaded checkpoints, from files on, and of runs."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from made_clips import encoded, grey, webp
from PIL import Image

from mmjax.config import ConfigError
from mmjax.conversion import load
from mmjax.data.source import CorruptExample
from mmjax.processors import image_text, video, video_text
from mmjax.tokenizers import words

GOLDEN = Path(__file__).parents[1] / "golden" / "video"


@pytest.fixture(scope="module")
def vivit():
    return load.load(GOLDEN / "vivit")


def test_frames_come_out_of_a_file(vivit, tmp_path):
    """At even times, as many as the model has; the same as frames that are given."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(encoded())
    from_file = vivit.processor(path)["video"]
    assert from_file.shape == (1, 4, 9, 9, 3)
    frames = np.stack([grey(number) for number in (2, 7, 12, 17)])
    given = vivit.processor(videos=frames)["video"]
    np.testing.assert_allclose(from_file, given, atol=2 / 127)
    pictures = [Image.fromarray(frame) for frame in frames]
    np.testing.assert_array_equal(vivit.processor(pictures)["video"], given)
    several = vivit.processor([frames, path])["video"]
    np.testing.assert_array_equal(several, np.concatenate([given, from_file]))
    shown = vivit.processor.show({"video": given}, 0)["video"]
    np.testing.assert_allclose(shown[:, 4, 4, 0], [20, 70, 120, 170], atol=1)
    with pytest.raises(ValueError, match="clips of 3 and of 4 frames make no batch"):
        vivit.processor([frames, frames[:3]])


def test_a_loaded_model_takes_files(vivit, tmp_path):
    path = tmp_path / "clip.webp"
    path.write_bytes(webp())
    assert "takes       video" in repr(vivit) and "encode_video" in repr(vivit)
    out = vivit(video=[path, encoded()], hidden_states=True)
    assert out.output.pooled.shape == (2, 12)
    assert out.hidden_states["video/transformer"].shape == (3, 2, 9, 12)
    # the two containers keep colours to a level or two
    np.testing.assert_allclose(out.output.pooled[0], out.output.pooled[1], atol=0.05)
    np.testing.assert_allclose(vivit.encode_video([path]), out.output.pooled[:1], atol=1e-5)
    with pytest.raises(CorruptExample, match="not a readable video file"):
        vivit(video=b"no video at all" * 20)
    names = load.load(GOLDEN / "videomae").classify(path, field="video")
    assert names.names == ("runs", "jumps", "sits") and len(names.best) == 1


def test_texts_beside_clips_are_compared_by_the_model():
    """X-CLIP's texts read the clip, so that vectors of each alone are not what is compared."""
    tokenizer = words.train(["a red cat", "two dogs run", "a photo of a"], 32, lowercase=True)
    config = video_text.Config(
        image_size=9, max_length=6, frames=video.Frames(3), start="", end=""
    )
    loaded = dataclasses.replace(
        load.load(GOLDEN / "xclip"), processor=video_text.Processor(config, tokenizer)
    )
    clips = [np.random.default_rng(i).integers(0, 256, (3, 9, 9, 3), np.uint8) for i in range(2)]
    prompts = ["a cat", "a red cat", "a dogs", "a red dogs"]
    logits = loaded.logits(video=clips, text=prompts)
    expected = loaded(video=clips, text=prompts).output.logits
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(loaded.logits(text=prompts, video=clips), logits.T, atol=1e-4)
    found = loaded.classify(clips, ["cat", "dogs"], ["a {}", "a red {}"], field="video")
    np.testing.assert_allclose(found.logits, logits.reshape(2, 2, 2).mean(2), atol=1e-4)


def test_clips_of_a_run():
    """Training draws, evaluation does not; a pace says which frames are there."""
    config = video.Config(
        16, video.Frames(3), image_text.Augmentation(zoom=(0.5, 2.0), flip=0.5, brightness=0.3)
    )
    made = video.build(config, None, None)
    example = {"video": encoded(), "label": 3}

    def through(steps, seed):
        rng = np.random.default_rng(seed)
        done = dict(example)
        for step in steps:
            done = step(done, rng)
        return done

    first, second = (through(made.train, seed) for seed in (0, 1))
    assert first["video"].shape == (3, 16, 16, 3) and first["label"] == 3
    assert np.abs(first["video"] - second["video"]).max() > 0.1
    np.testing.assert_array_equal(first["video"], through(made.train, 0)["video"])
    batch = made.collate([through(made.evaluate, seed) for seed in (0, 1)])
    np.testing.assert_array_equal(batch["video"][0], batch["video"][1])
    np.testing.assert_allclose(made.show(batch, 0)["video"][:, 8, 8, 0], [30, 100, 160], atol=2)
    paced = video.Processor(dataclasses.replace(config, frames=video.Frames(6, "pace", 2.0)))
    evaluated = through(paced.evaluate, 0)
    assert evaluated["video_mask"].tolist() == [True] * 4 + [False] * 2
    assert made.sizes["video.frames"] == 3
    # several views in evaluation; a model that is asked by itself sees the middle one
    several = dataclasses.replace(paced.config.frames, frames=2, clips=3, crops=3)
    viewed = video.Processor(dataclasses.replace(config, frames=several))
    assert viewed.sizes["views"] == 9 and "views" not in made.sizes
    views = through(viewed.evaluate, 0)["video"]
    assert views.shape == (9, 2, 16, 16, 3)
    alone = viewed.inputs({"video": [encoded()]})["video"]
    np.testing.assert_array_equal(alone[0], views[4])
    first = video.shown({"video": views}, 0, viewed.normalize)
    np.testing.assert_array_equal(viewed.show({"video": views[None]}, 0)["video"], first)
    with pytest.raises(ConfigError, match="clips=2 of a video differ where pick='pace'"):
        video.Frames(clips=2)
    with pytest.raises(ConfigError, match="there are no texts"):
        video.Processor(video.Config(augmentation=image_text.Augmentation(drop_words=0.1)))
