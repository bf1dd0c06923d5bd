"""X-CLIP as the hub keeps it: `XCLIPModel`, https://arxiv.org/abs/2208.02816.

* The text tower, the image tower's blocks and the blocks over frames are CLIP's, with CLIP's names;
  a block of the image tower has messages besides.
* `eos_token_id` = 2 means the highest id of a row, as in CLIP's first releases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion import clip as clips
from mmjax.conversion.clip import PATCHES, part
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry, linear, norm
from mmjax.models import frame_tower, video_clip
from mmjax.models.video_clip import inputs as inputs
from mmjax.processors.checkpoints import clips as checkpoint_clips

MODEL_TYPES = ("xclip",)
IGNORED = r"(vision|text)_model\.embeddings\.position_ids"
OVER = "mit_"  # before the fields of the transformer over frames


def config(upstream: Mapping[str, Any]) -> video_clip.Config:
    """Of config.json; towers without fields have the sizes of B/32."""
    fields.only(upstream, "architectures", ["XCLIPModel"], None)
    both = clips.config({**upstream, "architectures": None})
    vision = part(upstream, "vision_config")
    inside = {key.removeprefix(OVER): vision[key] for key in vision if key.startswith(OVER)}
    same = {key: vision[key] for key in ("hidden_act", "layer_norm_eps") if key in vision}
    over = clips.body({**inside, **same}, 512, 1, 8, 2048, "quick_gelu", 1e-5)
    words = both.text.transformer
    activation = fields.activation(upstream, "prompt_hidden_act", "quick_gelu")
    if activation != words.activation:
        raise fields.Unsupported(
            f"config.json: prompt_hidden_act = {activation!r} is not supported where the text "
            f"tower's hidden_act is {words.activation!r}: they are one here"
        )
    video = frame_tower.Config(
        dataclasses.replace(both.image, feature_layer=-1),
        vision.get("num_frames", 8),
        both.embedding,
        over,
        messages=True,
    )
    shared = {field.name: getattr(both, field.name) for field in dataclasses.fields(both)}
    return video_clip.Config(
        **{**shared, "image": None},
        video=video,
        video_projection=False,
        prompt_layers=upstream.get("prompt_layers", 2),
        prompt_heads=upstream.get("prompt_num_attention_heads", 8),
        prompt_scale=upstream.get("prompt_alpha", 0.1),
    )


def upstream(config: video_clip.Config) -> dict[str, Any]:
    """The config.json of a model."""
    video = config.video
    whole = clips.upstream(dataclasses.replace(config, image=video.image))
    inside = clips.sizes(video.transformer)
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    vision = {
        **whole["vision_config"],
        "model_type": "xclip_vision_model",
        "num_frames": video.frames,
        **{f"{OVER}{name}": inside[name] for name in names},
    }
    vision.pop("projection_dim")
    words = {**whole["text_config"], "model_type": "xclip_text_model"}
    words.pop("projection_dim")
    return {
        **whole,
        "model_type": "xclip",
        "architectures": ["XCLIPModel"],
        "vision_config": vision,
        "text_config": words,
        "prompt_layers": config.prompt_layers,
        "prompt_num_attention_heads": config.prompt_heads,
        "prompt_alpha": config.prompt_scale,
        "prompt_hidden_act": words["hidden_act"],
    }


def model(config: video_clip.Config) -> nn.Module:
    """The dual encoder with its prompts."""
    return video_clip.Model(config)


def processor(folder: Path, config: video_clip.Config) -> Any:
    """Clips of as many frames as the model has, and texts."""
    return checkpoint_clips.load(folder, config.video.frames)


def rename(name: str) -> str:
    """One spelling of a norm whose name CLIP's files write otherwise."""
    return name.replace("pre_layrnorm", "pre_layernorm")


def table(config: video_clip.Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    video = config.video
    image = video.image
    at = "vision_model.embeddings"
    patches = {"p": image.patch_size, "q": image.patch_size}
    tower = "video/image"
    return [
        Entry("log_scale", "logit_scale"),
        Entry(f"{tower}/class_token", f"{at}.class_embedding", "D -> 1 D"),
        Entry(f"{tower}/positions", f"{at}.position_embedding.weight"),
        Entry(f"{tower}/patch_embedding/kernel", f"{at}.patch_embedding.weight", PATCHES, patches),
        *norm(f"{tower}/pre_norm", "vision_model.pre_layernorm"),
        *clips.blocks(f"{tower}/transformer/blocks", "vision_model.encoder", image.transformer),
        *_messages(f"{tower}/transformer/blocks", "vision_model.encoder", image.transformer),
        *norm(f"{tower}/norm", "vision_model.post_layernorm"),
        *linear("video/projection", "visual_projection", bias=False),
        Entry("video/positions", "mit.position_embedding", "1 T D -> T D"),
        *clips.blocks("video/transformer/blocks", "mit.encoder", video.transformer),
        *clips.words(config.text),
        *linear("text_head", "text_projection", bias=False),
        *norm("prompts/places_norm", "prompts_visual_layernorm"),
        Entry("prompts/places_map/kernel", "prompts_visual_projection"),
        *norm("prompts/norm", "prompts_generator.layernorm"),
        Entry("prompts/scale", "prompts_generator.alpha"),
        *_readers("prompts/blocks", "prompts_generator.decoder.{layer}", config),
    ]


def _messages(path: str, name: str, config: Any) -> list[Entry]:
    """What the blocks of the image tower have besides."""
    at = f"{name}.layers.{{layer}}"
    stack = {"layers": config.layers}
    rows = [
        row for row in clips.blocks(path, name, config) if row.path.startswith(f"{path}/attention/")
    ]
    attention = [
        dataclasses.replace(
            row,
            path=row.path.replace("/attention/", "/message_attention/"),
            name=row.name.replace("self_attn", "message_attn"),
        )
        for row in rows
    ]
    return [
        *attention,
        *norm(f"{path}/message_attention_norm", f"{at}.message_ln", **stack),
        *linear(f"{path}/message", f"{at}.message_fc", **stack),
    ]


def _readers(path: str, at: str, config: video_clip.Config) -> list[Entry]:
    """The blocks in which a text reads a clip."""
    stack = {"layers": config.prompt_layers}
    heads = {"N": config.prompt_heads}
    rows = [
        *norm(f"{path}/cross_norm", f"{at}.norm1", **stack),
        *norm(f"{path}/mlp_norm", f"{at}.norm3", **stack),
        *linear(f"{path}/mlp/up", f"{at}.mlp.0", **stack),
        *linear(f"{path}/mlp/down", f"{at}.mlp.3", **stack),
    ]
    for ours, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        name = f"{at}.cross_attn.{theirs}"
        layout = "(N H) D -> D N H"
        path_of_one = f"{path}/cross/{ours}"
        rows += linear(path_of_one, name, bias=False, layout=layout, sizes=heads, **stack)
    name = f"{at}.cross_attn.proj"
    layout = "D (N H) -> N H D"
    return [*rows, *linear(f"{path}/cross/out", name, layout=layout, sizes=heads, **stack)]
