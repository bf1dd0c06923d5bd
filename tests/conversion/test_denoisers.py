"""What of diffusers' models is read, and what is refused by its name."""

import dataclasses
import json
from pathlib import Path

import pytest

from mmjax.conversion import autoencoder_kl, unet3d
from mmjax.conversion.mapping.fields import Unsupported
from mmjax.models.autoencoder_kl import VARIANTS as AUTOENCODERS
from mmjax.models.unet3d import VARIANTS as UNETS

GOLDEN = Path(__file__).parents[1] / "golden" / "denoisers"


def fields(name):
    return json.loads((GOLDEN / name / "config.json").read_text())


def test_defaults_are_the_published_models():
    """A release leaves out what equals the defaults of the class."""
    published = dataclasses.replace(UNETS["modelscope"], size=(), dropout=0.0)
    assert unet3d.config({}) == published
    latents = autoencoder_kl.config(
        dict(
            block_out_channels=[128, 256, 512, 512], down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=2, sample_size=512,
        )
    )  # fmt: skip
    assert latents == AUTOENCODERS["kl-f8"]


@pytest.mark.parametrize("name", ["unet3d", "autoencoder_kl"])
def test_every_field_comes_back(name):
    family = {"unet3d": unet3d, "autoencoder_kl": autoencoder_kl}[name]
    theirs = fields(name)
    ours = family.upstream(family.config(theirs))
    for key in theirs.keys() - {"_diffusers_version", "latents_mean", "latents_std"}:
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(act_fn="mish"), "act_fn = 'mish' is not supported"),
        (dict(in_channels=4), "in_channels = 4 with out_channels = 3 .*; 3 is, and 7"),
        (dict(up_block_types=["UpBlock3D"] * 2), "up_block_types = .* in reverse on the way up"),
        (dict(attention_head_dim=[4, 8]), r"attention_head_dim = \[4, 8\]"),
        (dict(time_cond_proj_dim=16), "time_cond_proj_dim = 16"),
    ],
)
def test_unets_that_are_not_here(change, message):
    with pytest.raises(Unsupported, match=message):
        unet3d.config(dict(fields("unet3d"), **change))


def test_autoencoders_that_are_not_here():
    for change in (dict(latents_mean=[0.0] * 3), dict(out_channels=4), dict(act_fn="relu")):
        (name,) = change
        with pytest.raises(Unsupported, match=f"{name} = "):
            autoencoder_kl.config(dict(fields("autoencoder_kl"), **change))
    with pytest.raises(Unsupported, match="down_block_types"):
        autoencoder_kl.config(
            dict(fields("autoencoder_kl"), down_block_types=["AttnDownEncoderBlock2D"] * 2)
        )


@pytest.mark.parametrize("change", [dict(film=True), dict(time="causal"), dict(entry=False)])
def test_what_diffusers_does_not_have_is_not_written_as_its_own(change):
    config = dataclasses.replace(unet3d.config(fields("unet3d")), **change)
    (name,) = change
    with pytest.raises(Unsupported, match=f"has no {name} = .*mmjax.export writes"):
        unet3d.upstream(config)


def test_names_of_older_files():
    at = "encoder.mid_block.attentions.0"
    assert autoencoder_kl.rename(f"{at}.proj_attn.weight") == f"{at}.to_out.0.weight"
    assert autoencoder_kl.rename(f"{at}.key.bias") == f"{at}.to_k.bias"
    assert autoencoder_kl.rename("quant_conv.weight") == "quant_conv.weight"
