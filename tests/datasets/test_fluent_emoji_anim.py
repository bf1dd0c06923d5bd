"""Emoji that move, out of a package that is made here: which are kept, how large, and where."""

import io

import numpy as np
import pytest
from PIL import Image

from mmjax.data.source import DataError
from mmjax.datasets import emoji, fluent_emoji_anim, prepared
from mmjax.transforms.video import DecodeVideo, Uniform


def moving(frames=20, side=100):
    """Grey that becomes lighter, on nothing."""
    pictures = []
    for number in range(frames):
        pixels = np.zeros((side, side, 4), np.uint8)
        pixels[20:80, 20:80] = (10 * number, 10 * number, 10 * number, 255)
        pictures.append(Image.fromarray(pixels))
    data = io.BytesIO()
    options = dict(append_images=pictures[1:], duration=40, lossless=True) if frames > 1 else {}
    pictures[0].save(data, "WEBP", save_all=frames > 1, **options)
    return data.getvalue()


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    concepts = emoji.concepts()
    one_of = {concept.split: concept for concept in concepts if concept.images[1]}
    files = {f"package/assets/{one.key}.webp": moving() for one in one_of.values()}
    still = next(one for one in concepts if one not in one_of.values())
    files[f"package/assets/{still.key}.webp"] = moving(1)
    files["package/assets/1f44d-1f3fb.webp"] = moving()  # a skin tone
    files["package/assets/ffff.webp"] = moving()  # no emoji that is known
    files["package/README.md"] = b"MIT"

    def members(package, wanted):
        assert package.size == 164_966_217
        yield from ((name, data) for name, data in files.items() if wanted(name))

    with prepared.building(fluent_emoji_anim.SET, tmp_path, 256) as writer:
        done = list(fluent_emoji_anim._build(members, writer))
    assert done[-1] == (len(files) - 1, fluent_emoji_anim.FILES)
    return one_of


def test_clips_with_the_names_and_splits_of_the_bundled_emoji(made):
    whole = fluent_emoji_anim.open(fluent_emoji_anim.Config("all"))
    assert len(whole) == len(made)
    test = fluent_emoji_anim.open(fluent_emoji_anim.Config("test"))
    assert len(test) == sum(split in ("test/unseen_style", "test/unseen_concept") for split in made)
    (example,) = fluent_emoji_anim.open(fluent_emoji_anim.Config("train", tags=0))
    concept = made["train"]
    assert example["text"] == concept.name and example["group"] == emoji.concepts().index(concept)
    frames = DecodeVideo(Uniform(16))(example)["video"]
    assert frames.shape == (16, 64, 64, 3)
    assert (frames[:, 0, 0] > 245).all()  # on white
    middle = frames[:, 32, 32, 0].astype(int)
    assert (np.diff(middle) >= 0).all() and middle[0] < 20 and middle[-1] > 170
    with pytest.raises(DataError, match="is none of train"):
        fluent_emoji_anim.open(fluent_emoji_anim.Config("dev"))


def test_without_the_package_the_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    with pytest.raises(DataError, match="--set=fluent_emoji_anim"):
        fluent_emoji_anim.open(fluent_emoji_anim.Config())
