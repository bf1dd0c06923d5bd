"""`open_clip`'s own files: open_clip_config.json with a state dict in safetensors.

https://github.com/mlfoundations/open_clip: ViTs and CLIP's residual networks.

* Queries, keys and values are one tensor; projections are [in, out], as here.
* "quick_gelu" is a field of the whole model; the residual network itself has ReLU.
* The text tower's names stand at the top, or under "text." in newer files.
* Its tokenizer mends web text first and pads with 0; the highest id of a row is the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion.clip import PATCHES
from mmjax.conversion.formats import files
from mmjax.conversion.mapping.fields import Unsupported
from mmjax.conversion.mapping.table import Entry, linear, multihead, norm
from mmjax.layers import transformer
from mmjax.models import clip, resnet, text, vit
from mmjax.models.clip import inputs as inputs
from mmjax.processors.checkpoints import open_clip as open_clip_processor

CONFIG = "open_clip_config.json"
IGNORED = r".*\.num_batches_tracked|attn_mask"
# Fields that change what is computed, and the values of them that are computed here.
VISION: dict[str, tuple] = {
    "ls_init_value": (None,), "attentional_pool": (False, ""), "pos_embed_type": ("learnable",),
    "final_ln_after_pool": (False,), "pool_type": ("tok",), "block_type": (None, "default"),
    "qk_norm": (False,), "scaled_cosine_attn": (False,), "scale_heads": (False,),
    "scale_attn_inner": (False,), "scale_attn": (False,), "scale_fc": (False,),
    "timm_model_name": (None, ""),
}  # fmt: skip
TEXT: dict[str, tuple] = {
    **{key: value for key, value in VISION.items() if key not in ("pool_type", "timm_model_name")},
    "embed_cls": (False,), "pool_type": ("argmax", "eos", "last"), "proj_type": ("linear",),
    "hf_model_name": (None, ""),
}  # fmt: skip


def config(upstream: Mapping[str, Any]) -> clip.Config:
    """Of an open_clip_config.json."""
    upstream = upstream.get("model_cfg", upstream)
    vision = upstream["vision_cfg"]
    words = upstream["text_cfg"]
    for name, fields, known in (("vision_cfg", vision, VISION), ("text_cfg", words, TEXT)):
        for key, allowed in known.items():
            if key in fields and fields[key] not in allowed:
                raise Unsupported(
                    f"{CONFIG}: {name}.{key} = {fields[key]!r} is not supported; "
                    f"{' or '.join(map(repr, allowed))} is"
                )
    quick = upstream.get("quick_gelu", False)
    image = _image(vision, upstream["embed_dim"], quick)
    pool = words.get("pool_type", "argmax")
    width = words.get("width", 512)
    return clip.Config(
        image=image,
        text=text.Config(
            words.get("vocab_size", 49408),
            words.get("context_length", 77),
            _body(words, 512, width // words.get("heads", 8), quick),
            causal=not words.get("no_causal_mask", False),
            attend_padding=words.get("no_causal_mask", False),
            end_id={"argmax": -1, "eos": words.get("eos_id", 2), "last": None}[pool],
        ),
        embedding=upstream["embed_dim"],
        image_projection=not isinstance(image, resnet.Config),
        projection_bias=_no_bias(words),
        scale_init=math.exp(upstream.get("init_logit_scale", math.log(1 / 0.07))),
        scale_max=None,
        bias_init=upstream.get("init_logit_bias"),
    )


def _image(vision: Mapping[str, Any], embedding: int, quick: bool) -> vit.Config | resnet.Config:
    """The image tower: a residual network where "layers" counts the blocks of each stage."""
    size = vision.get("image_size", 224)
    if not isinstance(size, int):
        raise Unsupported(f"{CONFIG}: vision_cfg.image_size = {size} is not supported; a number is")
    if not isinstance(vision.get("layers", 12), Sequence):
        return vit.Config(
            size,
            vision.get("patch_size", 16),
            transformer=_body(vision, 768, vision.get("head_width", 64), quick),
            patch_bias=False,
            pre_norm=not vision.get("no_ln_pre", False),
        )
    width = vision["width"]
    return resnet.Config(
        size,
        stages=tuple(vision["layers"]),
        width=width,
        heads=width * 32 // vision.get("head_width", 64),
        embedding=embedding,
    )


def _no_bias(words: Mapping[str, Any]) -> bool:
    if words.get("proj_bias", False):
        raise Unsupported(f"{CONFIG}: text_cfg.proj_bias = True is not supported; False is")
    return False


def _body(fields: Mapping[str, Any], width: int, head: int, quick: bool) -> transformer.Config:
    width = fields.get("width", width)
    approximate = (fields.get("act_kwargs") or {}).get("approximate", "none")
    plain = {"none": "gelu", "tanh": "gelu_tanh"}[approximate]
    return transformer.Config(
        width=width,
        layers=fields.get("layers", 12),
        heads=width // head,
        hidden=int(width * fields.get("mlp_ratio", 4.0)),
        activation="quick_gelu" if quick else plain,
        norm_epsilon=(fields.get("norm_kwargs") or {}).get("eps", 1e-5),
    )


def upstream(config: clip.Config) -> dict[str, Any]:
    """The open_clip_config.json of a model, with the pixels' preparation of CLIP."""
    image = config.image
    words = config.text
    quick = words.transformer.activation == "quick_gelu"
    if isinstance(image, resnet.Config):
        vision = {"layers": list(image.stages), "width": image.width, "patch_size": None}
        vision["head_width"] = image.width * 32 // image.heads
    else:
        vision = {**_fields(image.transformer), "patch_size": image.patch_size}
        vision["head_width"] = image.transformer.width // image.transformer.heads
        vision["no_ln_pre"] = not image.pre_norm
    text_fields = {
        "context_length": words.context_length,
        "vocab_size": words.vocab_size,
        "heads": words.transformer.heads,
        "no_causal_mask": not words.causal,
        **_fields(words.transformer),
    }
    if words.end_id is None and words.attend_padding:
        text_fields["pool_type"] = "last"
    elif words.end_id not in (-1, None):
        text_fields |= {"pool_type": "eos", "eos_id": words.end_id}
    model = {
        "embed_dim": config.embedding,
        "quick_gelu": quick,
        "init_logit_scale": math.log(config.scale_init),
        "vision_cfg": {"image_size": image.image_size, **vision},
        "text_cfg": text_fields,
    }
    if config.bias_init is not None:
        model["init_logit_bias"] = config.bias_init
    return {"model_cfg": model, "preprocess_cfg": open_clip_processor.DEFAULTS}


def _fields(config: transformer.Config) -> dict[str, Any]:
    ratio = config.hidden / config.width
    out: dict[str, Any] = {"width": config.width, "layers": config.layers}
    # the width of the MLP is int(width * ratio) there: never one too few by rounding
    out["mlp_ratio"] = ratio if int(config.width * ratio) == config.hidden else ratio + 1e-9
    if config.activation == "gelu_tanh":
        out["act_kwargs"] = {"approximate": "tanh"}
    if config.norm_epsilon != 1e-5:
        out["norm_kwargs"] = {"eps": config.norm_epsilon}
    return out


def model(config: clip.Config) -> nn.Module:
    """The dual encoder."""
    return clip.Model(config)


def processor(folder: Path, config: clip.Config) -> Any:
    """Pixels by preprocess_cfg; CLIP's vocabulary behind the mending of web text."""
    written = folder / CONFIG
    fields = files.parsed(written) if written.exists() else {}
    return open_clip_processor.of(fields, config.image.image_size, config.text.context_length)


def rename(name: str) -> str:
    """Newer files keep the text tower's tensors under "text."."""
    return name.removeprefix("text.")


def table(config: clip.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    words = config.text.transformer
    rows = [
        Entry("log_scale", "logit_scale"),
        Entry("text/tokens", "token_embedding.weight"),
        Entry("text/positions", "positional_embedding"),
        *_blocks("text/transformer/blocks", "transformer", words),
        *norm("text/norm", "ln_final"),
        Entry("text_head/kernel", "text_projection"),
    ]
    if config.bias_init is not None:
        rows.append(Entry("bias", "logit_bias"))
    image = config.image
    if isinstance(image, resnet.Config):
        return [*rows, *_resnet(image)]
    edge = image.patch_size
    if image.pre_norm:
        rows += norm("image/pre_norm", "visual.ln_pre")
    return [
        *rows,
        Entry("image/class_token", "visual.class_embedding", "D -> 1 D"),
        Entry("image/positions", "visual.positional_embedding"),
        Entry(
            "image/patch_embedding/kernel", "visual.conv1.weight", PATCHES, {"p": edge, "q": edge}
        ),
        *_blocks("image/transformer/blocks", "visual.transformer", image.transformer),
        *norm("image/norm", "visual.ln_post"),
        Entry("image_head/kernel", "visual.proj"),
    ]


def _blocks(path: str, name: str, config: transformer.Config) -> list[Entry]:
    at = f"{name}.resblocks.{{layer}}"
    stack = {"layers": config.layers}
    return [
        *multihead(f"{path}/attention", f"{at}.attn", config.heads, **stack),
        *norm(f"{path}/attention_norm", f"{at}.ln_1", **stack),
        *norm(f"{path}/mlp_norm", f"{at}.ln_2", **stack),
        *linear(f"{path}/mlp/up", f"{at}.mlp.c_fc", **stack),
        *linear(f"{path}/mlp/down", f"{at}.mlp.c_proj", **stack),
    ]


def _resnet(config: resnet.Config) -> list[Entry]:
    rows = []
    for i in range(3):
        rows += _convolution(f"image/stem_{i}", f"visual.conv{i + 1}")
        rows += _frozen(f"image/stem_norm_{i}", f"visual.bn{i + 1}")
    for stage, blocks in enumerate(config.stages):
        for block in range(blocks):
            path = f"image/stage_{stage}_block_{block}"
            name = f"visual.layer{stage + 1}.{block}"
            for i in (1, 2, 3):
                rows += _convolution(f"{path}/conv{i}", f"{name}.conv{i}")
                rows += _frozen(f"{path}/norm{i}", f"{name}.bn{i}")
            if block == 0:
                rows += _convolution(f"{path}/shortcut", f"{name}.downsample.0")
                rows += _frozen(f"{path}/shortcut_norm", f"{name}.downsample.1")
    pool = "visual.attnpool"
    heads = {"N": config.heads}
    rows.append(Entry("image/positions", f"{pool}.positional_embedding"))
    for part in ("query", "key", "value"):
        source = f"{pool}.{part[0]}_proj"
        rows += linear(f"image/{part}", source, layout="(N H) D -> D N H", sizes=heads)
    return [
        *rows,
        *linear("image/out", f"{pool}.c_proj", layout="D (N H) -> N H D", sizes=heads),
    ]


def _convolution(path: str, name: str) -> list[Entry]:
    return [Entry(f"{path}/kernel", f"{name}.weight", "O I H W -> H W I O")]


def _frozen(path: str, name: str) -> list[Entry]:
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return [Entry(f"{path}/{ours}", f"{name}.{theirs}") for ours, theirs in names.items()]
