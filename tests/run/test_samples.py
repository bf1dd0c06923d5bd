"""Samples by prompt and seed: the same in any company; what cannot be made is said beforehand.

The model is the toy of tests/tasks/test_diffusion.py."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image
from tasks.test_diffusion import VARIABLES, made

import mmjax.processors.illustrated as illustrated
from mmjax.config import ConfigError
from mmjax.data.source import CorruptExample, InMemory
from mmjax.processors import video
from mmjax.run.restore import Restored
from mmjax.run.samples import Request, Sampler, Setting

SHAPE = (2, 4, 4, 1)
SOURCE = InMemory([{"text": "a one moves up and a two moves down"}])
CONFIG = illustrated.Config(
    tokenizer="words", image_size=4, frames=video.Frames(2), grey=True, max_length=6, pad_to=6
)


class Run(Restored):
    """What a run in a work directory would be."""

    task = made()
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    run = SimpleNamespace(task=task, mesh=mesh, put=lambda batch: batch, workdir="runs/toy")
    processor = illustrated.build(CONFIG, lambda: [SOURCE], None)
    model = task.model
    variables = VARIABLES

    def __init__(self):
        pass


def test_a_sample_is_of_its_prompt_and_seed():
    sampler = Sampler(Run(), Setting(batch_size=3, steps=2))
    requests = [Request(text, seed) for text in ("a one", "a two moves") for seed in (5, 6)]
    told = []
    whole = np.concatenate(list(sampler.several(requests, told.append)))
    assert whole.shape == (4, 2, 4, 4, 3) and whole.dtype == np.uint8 and told == [3, 1]
    alone = np.concatenate(list(sampler.several(requests[1:2])))
    np.testing.assert_allclose(alone[0].astype(int), whole[1].astype(int), atol=1)
    assert np.abs(whole[0].astype(int) - whole[1]).max() > 20  # another seed
    np.testing.assert_array_equal(sampler(["a one"], seeds=(5, 6)), whole[:2])


def test_a_clip_begins_with_a_picture(tmp_path):
    class Begun(Run):
        task = made(takes_frames=True, first=0.5)
        model = task.model
        run = SimpleNamespace(task=task, mesh=Run.mesh, put=lambda batch: batch, workdir="runs/toy")

    picture = np.full((8, 6, 3), 200, np.uint8)
    Image.fromarray(picture).save(tmp_path / "first.png")
    sampler = Sampler(Begun(), Setting(batch_size=2, steps=2, first=str(tmp_path / "first.png")))
    clips = sampler(["a one", "a two"])
    np.testing.assert_allclose(clips[:, 0], 200, atol=1)
    assert np.abs(clips[:, 1].astype(int) - 200).max() > 20
    with pytest.raises(FileNotFoundError):
        Sampler(Begun(), Setting(first="absent.png"))


def test_what_cannot_be_made_is_said_before_anything_is_compiled():
    with pytest.raises(ConfigError, match="3 frames"):
        Sampler(Run(), Setting(frames=3))
    with pytest.raises(ConfigError, match="first=a.png: the run never learned"):
        Sampler(Run(), Setting(first="a.png"))
    sampler = Sampler(Run())
    with pytest.raises(ConfigError, match="no prompt"):
        sampler.check([])
    with pytest.raises(CorruptExample, match="5 tokens, and the model reads 4"):
        sampler.batch([Request("a one moves up and", 0)], 0)

    class Other(Run):
        run = SimpleNamespace(task=SimpleNamespace(predict={"embed": None}), workdir="runs/toy")

    with pytest.raises(ConfigError, match="runs/toy: its task makes no pictures or clips"):
        Sampler(Other())
