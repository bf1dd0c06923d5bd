"""mmjax: the JAX home of multimodal models.

    import mmjax
    config = mmjax.load_config("configs/contrastive/clip_emoji.py:smoke")
    run = mmjax.train(config, "runs/first")
    clip = mmjax.load("openai/clip-vit-base-patch32")

The command line is `python -m mmjax.main`. Everything is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
_PUBLIC = {
    "train": ("mmjax.commands.train", "train"),
    "evaluate": ("mmjax.commands.evaluate", "evaluate"),
    "evaluate_model": ("mmjax.commands.evaluate", "evaluate_model"),
    "compare": ("mmjax.commands.compare", "compare"),
    "prepare": ("mmjax.commands.prepare", "prepare"),
    "restore": ("mmjax.run.restore", "restore"),
    "load_config": ("mmjax.config", "load"),
    "load": ("mmjax.run.load", "load"),
    "save": ("mmjax.run.load", "save"),
    "transcribe": ("mmjax.run.transcribe", "transcribe"),
    "export": ("mmjax.commands.export", "export"),
}
__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from mmjax.commands.compare import compare as compare
    from mmjax.commands.evaluate import evaluate as evaluate
    from mmjax.commands.evaluate import evaluate_model as evaluate_model
    from mmjax.commands.export import export as export
    from mmjax.commands.prepare import prepare as prepare
    from mmjax.commands.train import train as train
    from mmjax.config import load as load_config  # noqa: F401
    from mmjax.run.load import load as load
    from mmjax.run.load import save as save
    from mmjax.run.restore import restore as restore
    from mmjax.run.transcribe import transcribe as transcribe


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"mmjax has no {name!r}; it has {', '.join(__all__)}")
    import importlib

    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
