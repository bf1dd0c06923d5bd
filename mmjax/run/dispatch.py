"""Words of a command line to a command, and errors to messages.

* A command is a module of mmjax.commands (or a full import path) with `Options` and
  `run(options)`: it is found by its name, `mmjax embed ...` or `--mode=embed`; its flags are the
  fields of its Options.
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
from collections.abc import Sequence
from typing import Any

from mmjax import flags, registry
from mmjax.errors import UserError
from mmjax.run import runtime

ROOM = "mmjax.commands"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on a disk


def run(words: Sequence[str], *, started: float = 0.0, about: str = "") -> int:
    """Exit status: 0 done or stopped cleanly, 1 a set that could not be prepared, 2 something to
    mend, 130 interrupted twice, 141 nobody reads the output any more.

    Args:
      started: time.monotonic() at the start of the program.
      about: what `--help` says where no mode is asked for.
    """
    runtime.started_at(started)
    mode, processes, rest = _mode(words, about)
    before = None
    if mode == "train" and threading.current_thread() is threading.main_thread():
        # while steps run, the loop has its own handler
        before = signal.signal(signal.SIGTERM, _terminated)
    try:
        module = registry.find(ROOM, mode, where="--mode")
        options = flags.parse(
            module.Options, rest, name=f"mmjax {mode}", about=module.__doc__ or ""
        )
        if processes:
            runtime.join(processes)
        status = module.run(options)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
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


def _mode(words: Sequence[str], about: str) -> tuple[str, str, list[str]]:
    """The command's name, what `--processes` says, and all other words.

    The command is the first word, `mmjax embed --data=...`, or behind `--mode`.
    """
    command = None
    rest = list(words)
    if rest and not rest[0].startswith("-"):
        command = rest.pop(0)
    parser = argparse.ArgumentParser("mmjax", add_help=False, allow_abbrev=False)
    parser.add_argument("--processes", default="")
    if command is None:
        parser.add_argument("--mode")
    else:
        parser.set_defaults(mode=command)
    found, rest = parser.parse_known_args(rest)
    if rest in (["--help"], ["-h"]) and found.mode is None:
        print(f"{about}\nmodes: {', '.join(registry.names(ROOM))}")
        raise SystemExit(0)
    return found.mode or "train", found.processes, rest


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
