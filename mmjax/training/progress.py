"""What a person sees while a run goes on: a bar on a terminal, a line now and then elsewhere.

* Progress is work done, so a resumed run starts where it was; the time left comes from recent steps
  alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import jax

from mmjax.data.storage import open_bar
from mmjax.terminal import printable


class Progress:
    """Shows the step, the loss, examples/s, the share of the machine's FLOP/s and the time left."""

    def __init__(self, steps: int, start: int = 0, *, title: str = "train", seconds: float = 10.0):
        self.steps = steps
        self.title = title
        self.seconds = seconds  # between lines, where there is no terminal
        self.shown = time.monotonic()
        self.bar = None
        if jax.process_index() == 0 and sys.stderr.isatty():
            self.bar, self.job = open_bar(title, steps, start, estimate=False)

    def update(self, step: int, values: Mapping[str, str], left: float | None = None) -> None:
        """`values` are shown in order; `left`: estimated seconds to the end."""
        text = "  ".join(f"{name} {value}" for name, value in values.items())
        if left is not None and step < self.steps:
            text += f"  {clock(left)} left"
        if self.bar:
            self.bar.update(self.job, completed=step, text=f"{step}/{self.steps}  {text}")
        elif jax.process_index() == 0 and (
            time.monotonic() - self.shown > self.seconds or step == self.steps
        ):
            self.shown = time.monotonic()
            print(f"{self.title} {step}/{self.steps}  {text}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        text = printable(text)
        if self.bar:
            self.bar.console.print(text, markup=False, highlight=False)
        elif jax.process_index() == 0:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None


def clock(seconds: float) -> str:
    """75 -> 1:15."""
    seconds = round(seconds)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
