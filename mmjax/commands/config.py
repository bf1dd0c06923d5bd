"""Config: every field of a run's config with its type, value, default and meaning.

    python -m mmjax.main --mode=config --config=configs/contrastive/clip_emoji.py
    python -m mmjax.main --mode=config | grep optimizer

Without a config: the fields that all of them have.
"""

from __future__ import annotations

import dataclasses

from mmjax.run import fields, workdir
from mmjax.run import options as run_options


@dataclasses.dataclass(frozen=True)
class Options:
    config: str = ""  # config file, with :variant,key=value after it
    workdir: str = ""  # or the folder of a run
    changes: tuple[str, ...] = ()  # of the config, "train.steps=20": --config.train.steps=20


def run(options: Options) -> None:
    """Prints a line for each field, as `--config.<field>=<value>` changes it."""
    asked = bool(options.config or options.workdir or options.changes)
    config = run_options.Options
    if asked:
        config = workdir.asked(options.config, options.workdir, options.changes)
    for line in fields.lines(config):
        print(line)
