"""Curves and pictures sent to Weights & Biases, https://docs.wandb.ai/ref/python.

* Optional: `pip install wandb` (or `mmjax[wandb]`), and `execution.wandb` names a project.
* What a work directory holds stays whole without it. Who is logged in, and whether anything is sent
  (`WANDB_MODE=offline`), is the affair of wandb's own settings.
* A run that goes on keeps its page, by the id in `wandb.txt`. Curves are over mmjax's own steps, so
  those that are repeated after a kill are drawn again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.config import ConfigError
from mmjax.training import media
from mmjax.transforms.audio import Sound

STEP = "step"
ID = "wandb.txt"  # in the work directory


def package() -> Any:
    """The module wandb.

    Raises:
      ConfigError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            "execution.wandb names a project of Weights & Biases, and the package wandb is not "
            "installed: pip install wandb, or leave execution.wandb out"
        ) from error
    return wandb


class Board:
    """The page of the run in a work directory."""

    def __init__(self, folder: Path, project: str):
        """
        Args:
          project: "project" or "entity/project".

        Raises:
          ConfigError: wandb is not installed.
        """
        self.wandb = package()
        entity, _, name = project.rpartition("/")
        known = folder / ID
        config = folder / "config.json"
        self.run = self.wandb.init(
            project=name,
            entity=entity or None,
            name=folder.name,
            dir=str(folder),
            id=known.read_text(encoding="utf-8").strip() if known.exists() else None,
            resume="allow",
            config=json.loads(config.read_text(encoding="utf-8")) if config.exists() else None,
        )
        known.write_text(f"{self.run.id}\n", encoding="utf-8")
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        self.run.log({**{name: float(value) for name, value in values.items()}, STEP: step})

    def media(self, step: int, name: str, medium: Any) -> None:
        """What people see: a PIL image, a clip (the frame in its middle), a Sound or a text."""
        self.run.log({name: self._shown(medium), STEP: step})

    def _shown(self, medium: Any) -> Any:
        if isinstance(medium, str):
            table = self.wandb.Table(columns=["text"])
            table.add_data(medium)
            return table
        if isinstance(medium, Sound):
            return self.wandb.Audio(np.asarray(medium.samples), sample_rate=medium.rate)
        if isinstance(medium, Image.Image):
            return self.wandb.Image(medium)
        return self.wandb.Image(media.middle(medium))

    def close(self) -> None:
        self.run.finish()
