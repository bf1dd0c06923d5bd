"""The autoencoder of latents as diffusers keeps it: `AutoencoderKL`.

https://arxiv.org/abs/2112.10752.

* Older files have other names for the maps of its attention.
* `latents_mean` and `latents_std`, which a few later ones have channel by channel, are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from mmjax.conversion.formats import hub
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, norm
from mmjax.conversion.unet3d import VERSION, attention, convolution, residual
from mmjax.models import autoencoder_kl
from mmjax.models.autoencoder_kl import inputs as inputs

CLASS = "AutoencoderKL"
MODEL_TYPES = (CLASS,)
WEIGHTS = hub.DIFFUSERS
DOWN, UP = "DownEncoderBlock2D", "UpDecoderBlock2D"
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def config(upstream: Mapping[str, Any]) -> autoencoder_kl.Config:
    """Of config.json; without fields, the reference's defaults."""
    get = upstream.get
    fields.only(upstream, "act_fn", "silu", "swish")
    for name in ("latents_mean", "latents_std"):
        fields.only(upstream, name, None)
    widths = tuple(get("block_out_channels", (64,)))
    for name, kind in (("down_block_types", DOWN), ("up_block_types", UP)):
        fields.only(upstream, name, [kind] * len(widths))
    channels = get("in_channels", 3)
    fields.only(upstream, "out_channels", channels)
    size = get("sample_size", 32)
    return autoencoder_kl.Config(
        channels=channels,
        latent_channels=get("latent_channels", 4),
        widths=widths,
        layers=get("layers_per_block", 1),
        groups=get("norm_num_groups", 32),
        attention=get("mid_block_add_attention", True),
        encoder_map=get("use_quant_conv", True),
        decoder_map=get("use_post_quant_conv", True),
        scale=float(get("scaling_factor", 0.18215)),
        shift=float(get("shift_factor") or 0.0),
        size=(size,) if isinstance(size, int) else tuple(size),
    )


def upstream(config: autoencoder_kl.Config) -> dict[str, Any]:
    """The config.json of a model."""
    c = config
    return {
        "_class_name": CLASS,
        "_diffusers_version": VERSION,
        "in_channels": c.channels,
        "out_channels": c.channels,
        "down_block_types": [DOWN] * len(c.widths),
        "up_block_types": [UP] * len(c.widths),
        "block_out_channels": list(c.widths),
        "layers_per_block": c.layers,
        "act_fn": "silu",
        "latent_channels": c.latent_channels,
        "norm_num_groups": c.groups,
        "sample_size": c.size[0] if len(c.size) == 1 else list(c.size),
        "scaling_factor": c.scale,
        "shift_factor": c.shift or None,
        "force_upcast": True,
        "use_quant_conv": c.encoder_map,
        "use_post_quant_conv": c.decoder_map,
        "mid_block_add_attention": c.attention,
    }


def model(config: autoencoder_kl.Config) -> nn.Module:
    """Encoder and decoder."""
    return autoencoder_kl.Model(config)


def rename(name: str) -> str:
    """Names of the later files."""
    old = re.compile(r"(mid_block\.attentions\.0)\.(query|key|value|proj_attn)\.")
    return old.sub(lambda found: f"{found[1]}.{OLD[found[2]]}.", name)


def table(config: autoencoder_kl.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    c = config
    rows = [*_both_ends(c, "encoder"), *_both_ends(c, "decoder")]
    last = len(c.widths) - 1
    width = c.widths[0]
    for level, wide in enumerate(c.widths):
        at = f"encoder.down_blocks.{level}"
        for number in range(c.layers):
            path = f"encoder/down_{level}_{number}"
            rows += residual(path, f"{at}.resnets.{number}", width, wide, told=False)
            width = wide
        if level < last:
            rows += convolution(f"encoder/halve_{level}/convolution", f"{at}.downsamplers.0.conv")
    for place, level in enumerate(reversed(range(len(c.widths)))):
        at = f"decoder.up_blocks.{place}"
        for number in range(c.layers + 1):
            path = f"decoder/up_{level}_{number}"
            wide = c.widths[level]
            rows += residual(path, f"{at}.resnets.{number}", width, wide, told=False)
            width = wide
        if level:
            rows += convolution(f"decoder/double_{level}/convolution", f"{at}.upsamplers.0.conv")
    if c.encoder_map:
        rows += convolution("encoder_map", "quant_conv")
    if c.decoder_map:
        rows += convolution("decoder_map", "post_quant_conv")
    return rows


def _both_ends(config: autoencoder_kl.Config, name: str) -> list[Entry]:
    """First and last convolution of one way, and its middle."""
    wide = config.widths[-1]
    path, at = f"{name}/middle", f"{name}.mid_block"
    rows = [
        *convolution(f"{name}/conv_in", f"{name}.conv_in"),
        *norm(f"{name}/norm_out", f"{name}.conv_norm_out"),
        *convolution(f"{name}/conv_out", f"{name}.conv_out"),
        *residual(f"{path}/residual_0", f"{at}.resnets.0", wide, wide, told=False),
        *residual(f"{path}/residual_1", f"{at}.resnets.1", wide, wide, told=False),
    ]
    if config.attention:
        rows += norm(f"{path}/norm", f"{at}.attentions.0.group_norm")
        rows += attention(f"{path}/attention", f"{at}.attentions.0", 1, bias=True)
    return rows
