"""The U-Net of clips as diffusers keeps it: `UNet3DConditionModel`.

https://arxiv.org/abs/2308.06571 (ModelScope's text-to-video).

* `attention_head_dim` is the size of a head, though the reference hands it on as a number of heads:
  it is handed on twice the wrong way round.
* It takes clips of any length, and its way up mirrors its way down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from mmjax.conversion.formats import hub
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.models import unet3d
from mmjax.models.unet3d import inputs as inputs

CLASS = "UNet3DConditionModel"
VERSION = "0.42.0"  # of diffusers, whose form is written
MODEL_TYPES = (CLASS,)
WEIGHTS = hub.DIFFUSERS
DOWN, UP = "DownBlock3D", "UpBlock3D"
ATTENDS = "CrossAttn"  # in front of a level's name, where it has transformers
PLACES = "O C p q -> p q C O"  # a kernel over places
FRAMES = "O C t 1 1 -> t C O"  # and one over frames


def config(upstream: Mapping[str, Any]) -> unet3d.Config:
    """Of config.json; without fields, ModelScope's sizes."""
    get = upstream.get
    fields.only(upstream, "act_fn", "silu", "swish")
    fields.only(upstream, "downsample_padding", 1)
    for name in ("num_attention_heads", "time_cond_proj_dim"):
        fields.only(upstream, name, None)
    channels = get("in_channels", 4)
    wanted = get("out_channels", 4)
    if channels not in (wanted, 2 * wanted + 1):
        raise fields.Unsupported(
            f"config.json: in_channels = {channels} with out_channels = {wanted} is not supported; "
            f"{wanted} is, and {2 * wanted + 1}, those of known frames and which they are besides"
        )
    widths = get("block_out_channels", (320, 640, 1280, 1280))
    downs = get("down_block_types", (ATTENDS + DOWN,) * 3 + (DOWN,))
    ups = get("up_block_types", (UP,) + (ATTENDS + UP,) * 3)
    attention = tuple(name.startswith(ATTENDS) for name in downs)
    if [_level(DOWN, here) for here in attention] != list(downs) or ups_of(attention) != list(ups):
        raise fields.Unsupported(
            f"config.json: down_block_types = {list(downs)} with up_block_types = {list(ups)} is "
            f"not supported; {ATTENDS}{DOWN} and {DOWN} are, with the same in reverse on the way up"
        )
    head_size = get("attention_head_dim", 64)
    if not isinstance(head_size, int):
        raise fields.Unsupported(
            f"config.json: attention_head_dim = {head_size} is not supported; one number is"
        )
    size = get("sample_size")
    return unet3d.Config(
        channels=wanted,
        text_width=get("cross_attention_dim", 1024),
        widths=tuple(widths),
        layers=get("layers_per_block", 2),
        attention=attention,
        head_size=head_size,
        entry=True,
        groups=get("norm_num_groups", 32),
        norm_epsilon=get("norm_eps", 1e-5),
        middle_divisor=float(get("mid_block_scale_factor", 1)),
        given=channels != wanted,
        frames=0,
        size=() if size is None else (size,) if isinstance(size, int) else tuple(size),
    )


def _level(kind: str, attends: bool) -> str:
    return (ATTENDS if attends else "") + kind


def ups_of(attention: tuple[bool, ...]) -> list[str]:
    """Names of the levels on the way up."""
    return [_level(UP, here) for here in reversed(attention)]


def upstream(config: unet3d.Config) -> dict[str, Any]:
    """The config.json of a model.

    Raises:
      Unsupported: a model that the reference does not have.
    """
    c = config
    own = {
        "film": (c.film, False), "time": (c.time, "factorised"),
        "entry": (c.entry, True),
    }  # fmt: skip
    for name, (value, needed) in own.items():
        if value != needed:
            raise fields.Unsupported(
                f"{CLASS} of diffusers has no {name} = {value!r}, only {needed!r}: "
                "mmjax.export writes the model in mmjax's own format"
            )
    return {
        "_class_name": CLASS,
        "_diffusers_version": VERSION,
        "sample_size": None if not c.size else c.size[0] if len(c.size) == 1 else list(c.size),
        "in_channels": c.channels_in,
        "out_channels": c.channels,
        "down_block_types": [_level(DOWN, here) for here in c.attention],
        "up_block_types": ups_of(c.attention),
        "block_out_channels": list(c.widths),
        "layers_per_block": c.layers,
        "downsample_padding": 1,
        "mid_block_scale_factor": c.middle_divisor,
        "act_fn": "silu",
        "norm_num_groups": c.groups,
        "norm_eps": c.norm_epsilon,
        "cross_attention_dim": c.text_width,
        "attention_head_dim": c.head_size,
        "num_attention_heads": None,
        "time_cond_proj_dim": None,
    }


def model(config: unet3d.Config) -> nn.Module:
    """The U-Net."""
    return unet3d.Model(config)


def table(config: unet3d.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    c = config
    rows = [
        *convolution("conv_in", "conv_in"),
        *linear("time_in", "time_embedding.linear_1"),
        *linear("time_out", "time_embedding.linear_2"),
        *norm("norm_out", "conv_norm_out"),
        *convolution("conv_out", "conv_out"),
        *_transformer("temporal_in", "transformer_in", unet3d.ENTRY_HEADS),
        *_layer("middle", "mid_block", 0, c.widths[-1], c.widths[-1], c.head_size),
        *_layer("middle_end", "mid_block", 1, c.widths[-1], c.widths[-1], None),
    ]
    last = len(c.widths) - 1
    width = c.widths[0]
    kept = [width]
    for level, (wide, attends) in enumerate(zip(c.widths, c.attention, strict=True)):
        for number in range(c.layers):
            path, name = f"down_{level}_{number}", f"down_blocks.{level}"
            rows += _layer(path, name, number, width, wide, c.head_size if attends else None)
            width = wide
            kept.append(width)
        if level < last:
            rows += convolution(f"halve_{level}/convolution", f"{name}.downsamplers.0.conv")
            kept.append(width)
    for place, level in enumerate(reversed(range(len(c.widths)))):
        head_size = c.head_size if c.attention[level] else None
        for number in range(c.layers + 1):
            path, name = f"up_{level}_{number}", f"up_blocks.{place}"
            entering = width + kept.pop()
            width = c.widths[level]
            rows += _layer(path, name, number, entering, width, head_size)
        if level:
            rows += convolution(f"double_{level}/convolution", f"{name}.upsamplers.0.conv")
    return rows


def convolution(path: str, name: str) -> list[Entry]:
    """Over places."""
    kernel = Entry(f"{path}/kernel", f"{name}.weight", PLACES)
    return [kernel, Entry(f"{path}/bias", f"{name}.bias")]


def residual(path: str, name: str, entering: int, leaving: int, told: bool = True) -> list[Entry]:
    """A residual block of so many channels.

    Args:
      told: it hears of a time.
    """
    rows = [
        *norm(f"{path}/norm_1", f"{name}.norm1"),
        *convolution(f"{path}/conv_1", f"{name}.conv1"),
        *norm(f"{path}/norm_2", f"{name}.norm2"),
        *convolution(f"{path}/conv_2", f"{name}.conv2"),
    ]
    if told:
        at = f"{name}.time_emb_proj"
        rows.append(Entry(f"{path}/condition/kernel", f"{at}.weight", "O D -> D 1 O"))
        rows.append(Entry(f"{path}/condition/bias", f"{at}.bias", "O -> 1 O"))
    if entering != leaving:
        rows += convolution(f"{path}/shortcut", f"{name}.conv_shortcut")
    return rows


def _layer(
    path: str, name: str, number: int, entering: int, leaving: int, head_size: int | None
) -> list[Entry]:
    rows = residual(f"{path}/residual", f"{name}.resnets.{number}", entering, leaving)
    for part in (1, 2, 3, 4):
        at = f"{name}.temp_convs.{number}.conv{part}"
        own = f"{path}/temporal_residual"
        conv = 2 if part == 1 else 3  # behind norm, activation, and in all but the first dropout
        rows += norm(f"{own}/norm_{part}", f"{at}.0")
        rows.append(Entry(f"{own}/conv_{part}/kernel", f"{at}.{conv}.weight", FRAMES))
        rows.append(Entry(f"{own}/conv_{part}/bias", f"{at}.{conv}.bias"))
    if head_size:
        heads = leaving // head_size
        rows += _transformer(f"{path}/spatial", f"{name}.attentions.{number}", heads)
        rows += _transformer(f"{path}/temporal", f"{name}.temp_attentions.{number}", heads)
    return rows


def _transformer(path: str, name: str, heads: int) -> list[Entry]:
    block, at = f"{path}/block", f"{name}.transformer_blocks.0"
    rows = [
        *norm(f"{path}/norm", f"{name}.norm"),
        *linear(f"{path}/in", f"{name}.proj_in"),
        *linear(f"{path}/out", f"{name}.proj_out"),
        *linear(f"{block}/mlp/down", f"{at}.ff.net.2"),
    ]
    halves = {"two": 2}
    up = f"{at}.ff.net.0.proj"
    rows.append(Entry(f"{block}/mlp/up/kernel", f"{up}.weight", "(two F) D -> D two F", halves))
    rows.append(Entry(f"{block}/mlp/up/bias", f"{up}.bias", "(two F) -> two F", halves))
    for number in (1, 2, 3):
        rows += norm(f"{block}/norm_{number}", f"{at}.norm{number}")
    for number in (1, 2):
        own = f"{block}/attention_{number}"
        rows += attention(own, f"{at}.attn{number}", heads, bias=False)
    return rows


def attention(path: str, name: str, heads: int, *, bias: bool) -> list[Entry]:
    """Of queries, keys and values, and the map behind.

    Args:
      bias: of all but the last, which always has one.
    """
    sizes = {"N": heads}
    rows = []
    for part in ("query", "key", "value"):
        rows += linear(
            f"{path}/{part}", f"{name}.to_{part[0]}", bias=bias, layout="(N H) D -> D N H",
            sizes=sizes,
        )  # fmt: skip
    return [
        *rows, *linear(f"{path}/out", f"{name}.to_out.0", layout="D (N H) -> N H D", sizes=sizes)
    ]  # fmt: skip
