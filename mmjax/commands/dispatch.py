"""Flags to a command, and errors to messages.

* What a user can mend (config, data, checkpoint) ends in one message and exit status 2; a bug shows
  its traceback.
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from mmjax.commands import runtime
from mmjax.config import ConfigError, load

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on a disk


def run(flags: argparse.Namespace, fields: list[str], started: float) -> int:
    """Exit status: 0 done or stopped cleanly, 2 something to mend, 130 interrupted twice."""
    before = None
    if flags.mode == "train" and threading.current_thread() is threading.main_thread():
        # while steps run, the loop has its own handler
        before = signal.signal(signal.SIGTERM, _terminated)
    try:
        if flags.processes:
            runtime.join(flags.processes)
        _command(flags, fields, started)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except mendable() as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(
            f"\n{error}: the disk is full, or a limit is reached. Complete checkpoints are kept: "
            "make room, and the same command goes on from the last one",
            file=sys.stderr,
        )
        return 2
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    return 0


def _terminated(number: int, frame: Any) -> None:
    """Before the first step and after the last there is nothing to save."""
    print("\nSIGTERM: the same command goes on from the last checkpoint", file=sys.stderr)
    raise SystemExit(0)


def mendable() -> tuple[type[Exception], ...]:
    """Errors that say what to do; everything else is a bug."""
    from mmjax.data.pipeline import TooManyCorrupt
    from mmjax.data.source import CorruptExample, DataError
    from mmjax.tokenizers.bpe import TokenizerError
    from mmjax.training.checkpoint import CheckpointError
    from mmjax.training.loop import NotFinite

    return (
        ConfigError,
        CheckpointError,
        NotFinite,
        TooManyCorrupt,
        CorruptExample,
        DataError,
        TokenizerError,
        FileNotFoundError,
    )


def _command(flags: argparse.Namespace, fields: list[str], started: float) -> None:
    if flags.mode == "evaluate" and not flags.config:
        from mmjax.commands import evaluate

        if not flags.workdir:
            raise ConfigError("--mode=evaluate needs the --workdir of a run")
        evaluate.evaluate(flags.workdir, split=flags.split, step=flags.step)
        return
    if not flags.config:
        raise ConfigError(
            "--config is missing: a config file, such as --config=configs/contrastive/clip_emoji.py"
        )
    from mmjax.commands.options import Options

    config = load(flags.config, fields, schema=Options)
    workdir = Path(flags.workdir or Path("runs") / Path(flags.config.partition(":")[0]).stem)
    if flags.mode == "train":
        from mmjax.commands import train

        train.train(config, workdir, started=started)
    elif flags.mode == "evaluate":
        from mmjax.commands import evaluate

        evaluate.evaluate(workdir, split=flags.split, step=flags.step)
    elif flags.mode == "show":
        from mmjax.commands import show

        show.show(config)
    else:
        from mmjax.commands import inspect

        inspect.inspect(config, workdir, step=flags.step or 0)
