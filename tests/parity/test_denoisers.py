"""U-Nets of clips and the autoencoder live against `diffusers`, on tiny random checkpoints of odd
shapes, to 1e-4; saved here and opened there."""

import denoiser_reference as reference
import jax
import numpy as np
import pytest

from mmjax.conversion import load

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.parity

THREE = dict(
    reference.UNET, block_out_channels=[6, 12, 18], layers_per_block=2, sample_size=[8, 12],
    down_block_types=["DownBlock3D", "DownBlock3D", "CrossAttnDownBlock3D"],
    up_block_types=["CrossAttnUpBlock3D", "UpBlock3D", "UpBlock3D"], attention_head_dim=2,
)  # fmt: skip
KNOWN = dict(reference.UNET, in_channels=7, norm_eps=1e-5, sample_size=16)
CASES = {
    "two": (reference.UNET, (5, 4, 12)),
    "three": (THREE, (2, 8, 4)),
    "known": (KNOWN, (1, 6, 4)),
}


def same(theirs, again):
    """Every tensor, and every field but who wrote it when."""
    ours, wanted = again.state_dict(), theirs.state_dict()
    assert ours.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert bool((ours[name] == tensor).all()), name
    for name, value in theirs.config.items():
        if not name.startswith("_"):
            written = again.config[name]
            assert written == (list(value) if isinstance(value, tuple) else value), name


def opened(name, folder):
    return getattr(diffusers, name).from_pretrained(folder)


@pytest.mark.parametrize("case", CASES)
def test_unet3d(case, tmp_path):
    fields, shape = CASES[case]
    theirs = reference.build("UNet3DConditionModel", **fields)
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    run = jax.jit(loaded.model.apply)
    times, states = reference.told()
    samples = seen = reference.clips(*shape)
    given = ()
    if case == "known":
        there = np.array([[True], [False]])  # a row's only frame, and nothing of the other's
        given = (1 - samples, there)
        wide = there[..., None, None, None] * np.ones_like(samples[..., :1])
        seen = np.concatenate([samples, given[0] * wide, wide], axis=-1)
    # the reference has no mask: a masked text is a shorter one
    for length in (reference.LENGTH, 3):
        mask = np.tile(np.arange(reference.LENGTH) < length, (reference.ROWS, 1))
        expected = reference.said_of_clips(theirs, seen, times, states[:, :length])
        found = run(loaded.variables, samples, times, states, mask, *given)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    load.save(loaded, tmp_path / "ours")
    same(theirs, opened("UNet3DConditionModel", tmp_path / "ours"))


@pytest.mark.parametrize("case", ["maps", "without"])
def test_autoencoder_kl(case, tmp_path):
    fields = dict(reference.AUTOENCODER)
    if case == "without":
        fields |= dict(
            use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False,
            block_out_channels=[4, 8, 8], down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3, layers_per_block=2, in_channels=1,
            out_channels=1, shift_factor=None, sample_size=8,
        )  # fmt: skip
    theirs = reference.build("AutoencoderKL", **fields)
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = load.load(tmp_path / "theirs")
    images = reference.clips(1, 12, 20, fields.get("in_channels", 3))[:, 0]
    latents = reference.clips(1, 5, 3)[:, 0]
    expected = reference.said_of_pictures(theirs, images, latents)
    config = loaded.config
    scaled = (latents - config.shift) * config.scale

    def ours(variables, images, scaled):
        posterior = loaded.model.apply(variables, images, method="posterior")
        decoded = loaded.model.apply(variables, scaled, method="decode")
        return posterior, posterior.divergence(), decoded

    posterior, divergence, decoded = jax.jit(ours)(loaded.variables, images, scaled)
    found = dict(posterior._asdict(), decoded=decoded)
    for name, one in found.items():
        np.testing.assert_allclose(one, expected[name], atol=1e-4, rtol=0, err_msg=name)
    np.testing.assert_allclose(divergence, expected["divergence"], rtol=1e-5)
    load.save(loaded, tmp_path / "ours")
    same(theirs, opened("AutoencoderKL", tmp_path / "ours"))
