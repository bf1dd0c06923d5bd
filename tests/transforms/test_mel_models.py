"""Spectrograms of AST and CLAP: the numbers of the reference, crops, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from mmjax.data.source import CorruptExample
from mmjax.transforms.mel_ast import AstMel
from mmjax.transforms.mel_clap import ClapMel

GOLDEN = Path(__file__).parents[1] / "golden" / "spectrograms.npz"
STEP = 25


def clip(seconds, rate):
    """The same as in golden/make_spectrograms.py, which cannot be imported without transformers."""
    rng = np.random.default_rng(round(seconds * 10))
    time = np.arange(round(seconds * rate)) / rate
    noise = 0.05 * rng.normal(size=len(time)) * (time < seconds / 2)
    return (0.3 * np.sin(2 * np.pi * 440 * time) + noise).astype(np.float32)


@pytest.mark.parametrize(("seconds", "frames"), [(1.5, 148), (11.0, 1024)])
def test_ast_has_the_references_numbers(seconds, frames):
    with np.load(GOLDEN) as golden:
        want = golden[f"ast_{seconds:g}"]
    found = AstMel()({"audio": clip(seconds, 16_000), "text": "hum"})
    assert found["audio"].shape == (1024, 128) and found["audio_mask"].sum() == frames
    np.testing.assert_allclose(found["audio"][::STEP], want, atol=1e-4)


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
@pytest.mark.parametrize("seconds", [3.2, 11.0])
def test_clap_has_the_references_numbers(truncation, seconds):
    """In decibels, from -100."""
    with np.load(GOLDEN) as golden:
        want = golden[f"{truncation}_{seconds:g}"]
    found = ClapMel(truncation).of(clip(seconds, 48_000))
    pictures = 4 if truncation == "fusion" else 1
    assert found.features.shape == (pictures, 1001, 64)
    assert found.longer == (seconds > 10)
    np.testing.assert_allclose(found.features[:, ::STEP], want, atol=2e-4)


def test_crops_are_drawn_from_the_generator():
    mel = ClapMel("rand_trunc", seconds=1)
    sound = clip(1.5, 48_000)
    one, again, other = (mel.of(sound, np.random.default_rng(seed)).features for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1
    fused = ClapMel("fusion", seconds=1).of(sound, np.random.default_rng(0)).features
    assert fused.shape == (4, 101, 64) and np.abs(fused[1] - fused[3]).max() > 1


@pytest.mark.parametrize(("padding", "silent"), [("repeatpad", 0.1), ("repeat", 0.0), ("pad", 0.7)])
def test_short_clips_are_filled(padding, silent):
    """0.3 seconds in a window of one."""
    features = ClapMel("rand_trunc", padding, seconds=1).of(clip(0.3, 48_000)).features[0]
    assert (features == -100).all(1).mean() == pytest.approx(silent, abs=0.03)


def test_what_is_refused():
    with pytest.raises(CorruptExample, match="0.0187 seconds of sound .300 samples.; one frame"):
        AstMel().of(np.zeros(300, np.float32))
    with pytest.raises(CorruptExample, match="no sound"):
        ClapMel().of(np.zeros(0, np.float32))
