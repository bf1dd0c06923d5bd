"""One tower of CLIP, SigLIP or CLAP: `CLIPTextModel`, `ClapAudioModelWithProjection`, ...

* LLaVA takes such image towers, diffusion models such text towers. Parameters have the paths that
  they have in the pair, and the rows of its table.
* `pooled` is projected where the file has a projection, and not of unit length, as there. SigLIP's
  text tower always has one.
* All names but the projection's begin with "vision_model.", "text_model." or "audio_model."; later
  releases may leave that out, and CLAP's towers without a projection always do.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from mmjax.conversion import clap as claps
from mmjax.conversion import clip as clips
from mmjax.conversion import siglip
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import Entry
from mmjax.models import clap, clip, htsat
from mmjax.processors.checkpoints import checkpoint as checkpoint_processor
from mmjax.processors.checkpoints import sounds as checkpoint_sounds

# the files that have the tables
PAIRS = {"clip": clips, "siglip": siglip, "siglip2": siglip, "clap": claps}
MODALITIES = {"vision": "image", "text": "text", "audio": "audio"}  # their word for a tower -> ours
MODEL_TYPES = tuple(
    f"{family}_{part}_model"
    for family in PAIRS
    for part in (("audio", "text") if family == "clap" else ("vision", "text"))
)
TWO_KINDS = ("clip", "clap")  # with and without a projection
IGNORED = rf"embeddings\.position_ids|{claps.IGNORED}"


@dataclasses.dataclass(frozen=True)
class Config:
    """Of one tower."""

    family: str  # "clip", "siglip", "siglip2" or "clap"
    part: str  # "vision", "text" or "audio"
    pair: clip.Config | clap.Config  # of a pair that has this tower; its other one is any

    @property
    def modality(self) -> str:
        """The first name in the paths of its parameters."""
        return MODALITIES[self.part]

    @property
    def projected(self) -> bool:
        return getattr(self.pair, f"{self.modality}_projection")


def config(upstream: Mapping[str, Any]) -> Config:
    """Of config.json; without fields, the sizes that the pair's has."""
    family, part, _ = upstream["model_type"].split("_")
    names = _architectures(family, part)
    fields.only(upstream, "architectures", None, *([name] for name in names))
    whole = {**upstream, "model_type": family, "architectures": None, f"{part}_config": upstream}
    tower = Config(family, part, PAIRS[family].config(whole))
    projected = tower.projected
    size = tower.pair.embedding
    width = _width(getattr(tower.pair, tower.modality))
    if family in TWO_KINDS:
        projected = (upstream.get("architectures") or names)[0] != names[0]
    elif projected:
        size = upstream.get("projection_size", width)
    changes = {f"{tower.modality}_projection": projected, "embedding": size if projected else width}
    return Config(family, part, dataclasses.replace(tower.pair, **changes))


def _width(tower: Any) -> int:
    """Of what a tower pools."""
    if isinstance(tower, htsat.Config):
        return tower.stage(len(tower.depths) - 1).width
    return tower.transformer.width


def upstream(config: Config) -> dict[str, Any]:
    """The config.json of a model."""
    name = _architectures(config.family, config.part)[-1 if config.projected else 0]
    whole = PAIRS[config.family].upstream(config.pair)
    return {**whole[f"{config.part}_config"], "architectures": [name]}


def _architectures(family: str, part: str) -> list[str]:
    """Without and with a projection, where there are both."""
    name = f"{'CLIP' if family == 'clip' else family.capitalize()}{part.capitalize()}Model"
    return [name, f"{name}WithProjection"] if family in TWO_KINDS else [name]


def model(config: Config) -> nn.Module:
    """The tower."""
    return clip.Tower(config.pair, config.modality)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    tower = getattr(config.pair, config.modality)
    return importlib.import_module(type(tower).__module__).inputs(tower)


def processor(folder: Path, config: Config) -> Any:
    """The pair's, of which one half may be there."""
    if config.family == "clap":
        return checkpoint_sounds.load(folder, checkpoint_sounds.ALONE)
    make = getattr(PAIRS[config.family], "processor", lambda at, _: checkpoint_processor.load(at))
    return make(folder, config.pair)


def rename(name: str) -> str:
    """Names without the tower's prefix."""
    return re.sub(r"^(vision|text|audio)_model\.", "", name)


def saved(name: str, config: Config) -> str:
    """Names with the tower's prefix, which a projection's lacks."""
    bare = config.family == "clap" and not config.projected
    return name if bare or "_projection." in name else f"{config.part}_model.{name}"


def table(config: Config) -> list[Entry]:
    """Every parameter and where a file keeps it."""
    modality = config.modality
    own = (f"{modality}/", f"{modality}_head/") if config.projected else (f"{modality}/",)
    rows = PAIRS[config.family].table(config.pair)
    return [
        dataclasses.replace(row, name=rename(row.name)) for row in rows if row.path.startswith(own)
    ]
