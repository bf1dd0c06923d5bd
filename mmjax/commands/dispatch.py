"""Flags to a command, and errors to messages.

* What a user can mend (config, data, checkpoint) ends in one message and exit status 2; a bug shows
  its traceback.
"""

from __future__ import annotations

import argparse
import errno
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from mmjax.config import ConfigError, load
from mmjax.errors import UserError
from mmjax.run import runtime

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on a disk


def run(flags: argparse.Namespace, fields: list[str], started: float) -> int:
    """Exit status: 0 done or stopped cleanly, 1 a set that could not be prepared, 2 something to
    mend, 130 interrupted twice, 141 nobody reads the output any more."""
    before = None
    if flags.mode == "train" and threading.current_thread() is threading.main_thread():
        # while steps run, the loop has its own handler
        before = signal.signal(signal.SIGTERM, _terminated)
    try:
        if flags.processes:
            runtime.join(flags.processes)
        if flags.mode == "plan" and flags.devices:
            runtime.imagine(flags.devices)
        status = _command(flags, fields, started)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _unread():
            raise  # another pipe's, to a worker perhaps
        return 141
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except (UserError, FileNotFoundError) as error:
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


def _unread() -> bool:
    """Whether nobody reads our output any more (`| head`); if so, the rest of it goes nowhere."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors and hang-ups are always told
    if not output.poll(0):
        return False
    # what is left in the buffer would be written once more when Python ends
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _terminated(number: int, frame: Any) -> None:
    """Before the first step and after the last there is nothing to save."""
    print("\nSIGTERM: the same command goes on from the last checkpoint", file=sys.stderr)
    raise SystemExit(0)


def _prepare(flags: argparse.Namespace, fields: list[str]) -> int:
    from mmjax.commands import prepare
    from mmjax.run.options import Options

    sets = tuple(name for name in flags.set.split(",") if name)
    if flags.config:
        sets += prepare.needed(load(flags.config, fields, schema=Options))
        if not sets:
            print(f"{flags.config} reads no set that has to be prepared")
            return 0
    return prepare.prepare(prepare.Options(sets, flags.side, flags.mirror, flags.again))


def _vectors(flags: argparse.Namespace) -> int:
    if flags.mode == "search":
        from mmjax.commands import search

        out = flags.out or "search.png"
        search.run(search.Options(flags.query, flags.index, flags.model, flags.count, out))
        return 0
    from mmjax.commands import embed

    model = flags.model or "emoji_clip"
    embed.run(embed.Options(flags.data, flags.out, model, flags.kind, flags.column))
    return 0


def _command(flags: argparse.Namespace, fields: list[str], started: float) -> int:
    if flags.mode == "prepare":
        return _prepare(flags, fields)
    if flags.mode in ("embed", "search"):
        return _vectors(flags)
    if flags.mode == "compare":
        from mmjax.commands import compare

        groups = [
            [one for one in text.split(",") if one] for text in (flags.workdir, flags.against)
        ]
        if not all(groups):
            raise ConfigError("--mode=compare needs runs: --workdir=A,B --against=C,D")
        compare.compare(*groups, split=flags.split, out=flags.out or None)
        return 0
    if flags.mode == "evaluate" and not flags.config and not flags.model:
        from mmjax.commands import evaluate

        if not flags.workdir:
            raise ConfigError("--mode=evaluate needs the --workdir of a run")
        evaluate.evaluate(flags.workdir, split=flags.split, step=flags.step)
        return 0
    if not flags.config:
        raise ConfigError(
            "--config is missing: a config file, such as --config=configs/contrastive/clip_emoji.py"
        )
    from mmjax.run.options import Options

    config = load(flags.config, fields, schema=Options)
    workdir = Path(flags.workdir or Path("runs") / Path(flags.config.partition(":")[0]).stem)
    if flags.mode == "train":
        from mmjax.commands import train

        train.train(config, workdir, started=started)
    elif flags.mode == "evaluate":
        from mmjax.commands import evaluate

        if flags.model:
            evaluate.evaluate_model(flags.model, config=config, split=flags.split)
        else:
            evaluate.evaluate(workdir, split=flags.split, step=flags.step)
    elif flags.mode == "plan":
        from mmjax.commands import plan

        plan.plan(config, chip_name=flags.hardware)
    elif flags.mode == "show":
        from mmjax.commands import show

        show.show(config)
    else:
        from mmjax.commands import inspect

        inspect.inspect(config, workdir, step=flags.step or 0)
    return 0
