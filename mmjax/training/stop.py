"""Signals that end a run early, remembered until the step is over.

* SIGTERM, SIGHUP (the terminal or the connection is gone) and SIGUSR1 (what Slurm warns with) mean
  what Ctrl-C means: finish the step, save, stop. A second Ctrl-C ends at once.
* With several processes, one that gets a signal is enough: JAX tells the others of a SIGTERM, and
  all stop after the same step.
* The program then ends with 128 + the signal's number, as a shell would report it: 143 for SIGTERM,
  129 for SIGHUP, 138 for SIGUSR1 (on Linux), 130 for Ctrl-C. A script that goes on after a success
  does not take an interrupted run for a finished one.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import jax

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
# what Ctrl-C is answered: written, not printed, as the signal may come in the middle of a print
NOTICE = b"\nSIGINT: saves after this step and stops; Ctrl-C again stops at once\n"


def exit_status(number: int) -> int:
    """Of a program that a signal has ended; 0 where there was none."""
    return 128 + number if number else 0


def listen(number: int, handler: Any) -> Any:
    """Sets a signal's handler and returns the one before.

    A SIGHUP that is ignored stays so: under `nohup` a run outlives its terminal.
    """
    before = signal.getsignal(number)
    if number == signal.SIGHUP and before == signal.SIG_IGN:
        return before
    return signal.signal(number, handler)


class Stop:
    """Remembers a signal until the step is over. Use `with`, around the steps."""

    def __init__(self) -> None:
        self.number = 0  # of the signal; 0: none yet
        self._before: dict[int, Any] = {}

    @property
    def reason(self) -> str:
        """The signal's name; "" where there was none."""
        return signal.Signals(self.number).name if self.number else ""

    def __enter__(self) -> Stop:
        if threading.current_thread() is not threading.main_thread():
            return self  # Python lets no other thread listen
        handlers = {number: self._remember for number in (*SIGNALS, signal.SIGINT)}
        if jax.process_count() > 1:
            handlers = {number: self._pass_on for number in handlers}
            del handlers[signal.SIGTERM]  # its handler is JAX's, see `reached`
        for number, handler in handlers.items():
            self._before[number] = listen(number, handler)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            if self.number:
                raise KeyboardInterrupt
            os.write(2, NOTICE)
        self.number = self.number or number

    def _pass_on(self, number: int, frame: Any) -> None:
        """Tells the other processes, by the only signal that JAX passes on."""
        self._remember(number, frame)
        signal.raise_signal(signal.SIGTERM)

    def reached(self, step: int) -> bool:
        """Whether to stop now; processes of one run agree on the step."""
        if jax.process_count() == 1:
            return bool(self.number)
        from jax.experimental import multihost_utils

        if not multihost_utils.reached_preemption_sync_point(step):
            return False
        self.number = self.number or signal.SIGTERM
        return True
