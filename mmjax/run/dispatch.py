"""Words of a command line to a command, and errors to messages.

* A command is a module of mmjax.commands (or a full import path) with `Options` and
  `run(options)`: it is found by its name, `mmjax embed ...` or `--mode=embed`; its flags are the
  fields of its Options.
* What a user can mend (config, data, checkpoint, a path) ends in one message and exit status 2; a
  bug shows its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from mmjax import flags, registry
from mmjax.data import storage
from mmjax.errors import UserError, about_path
from mmjax.run import runtime
from mmjax.terminal import accept_all_letters, printable
from mmjax.training import stop

ROOM = "mmjax.commands"


def run(words: Sequence[str], *, started: float = 0.0, about: str = "") -> int:
    """Exit status: 0 done, 1 a set that could not be prepared, 2 something to mend, 141 nobody
    reads the output any more, 128 + the number of a signal that stopped it (130 Ctrl-C, 143
    SIGTERM; training/stop.py).

    Args:
      started: time.monotonic() at the start of the program.
      about: what `--help` says where no mode is asked for.
    """
    runtime.started_at(started)
    accept_all_letters()
    mode, processes, rest = _mode(words, about)
    named = {"$MMJAX_CACHE": str(runtime.cache_folder()), "$MMJAX_DATA": str(storage.folder())}
    listening = _stopped_by_signals() if mode == "train" else contextlib.nullcontext()
    try:
        with listening:
            module = registry.find(ROOM, mode, where="--mode")
            options = flags.parse(
                module.Options, rest, name=f"mmjax {mode}", about=module.__doc__ or ""
            )
            named |= _values(options)
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
        return stop.exit_status(signal.SIGINT)
    except UserError as error:
        return _told(error)
    except OSError as error:
        told = about_path(error, named)
        if told is None and not isinstance(error, FileNotFoundError):
            raise
        return _told(told or error)


def _told(error: Exception) -> int:
    """Says what can be mended; the exit status."""
    message = printable(f"{type(error).__name__}: {error}", keep="\n\t")
    print(f"\n{message}", file=sys.stderr)
    return 2


def _values(options: Any) -> dict[str, str]:
    """The words that a user gave to flags, among which are paths."""
    found: dict[str, str] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, str) and value:
            found[f"--{field.name}"] = value
    return found


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


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Before the first step and after the last there is nothing to save: a signal ends the program
    at once. While steps run, the loop has its own handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: stop.listen(number, _stopped) for number in stop.SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopped(number: int, frame: Any) -> None:
    if number != signal.SIGTERM and jax.distributed.is_initialized():
        # the others must not wait for this process: JAX tells them, and all stop at one step
        signal.raise_signal(signal.SIGTERM)
        return
    name = signal.Signals(number).name
    print(f"\n{name}: the same command goes on from the last checkpoint", file=sys.stderr)
    raise SystemExit(stop.exit_status(number))
