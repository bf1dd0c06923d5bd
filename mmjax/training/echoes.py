"""What Orbax, TensorStore and asyncio say beside an error that mmjax explains already.

* For the process of `python -m mmjax.main`, which is mmjax's own: its user sees one message. A
  program or a notebook that imports mmjax keeps its loggers and hooks as they are.
"""

from __future__ import annotations

import _thread
import inspect
import logging
import sys
import threading
import warnings
from typing import Any

from absl import logging as absl_logging


def silence() -> None:
    """Leaves out, from now on and in this process, what only repeats an error that is raised."""
    # Orbax reports every save at INFO, and prints the traceback of what it then raises anyway
    absl_logging.get_absl_logger().setLevel(logging.CRITICAL)
    # asyncio prints the tracebacks of the reads and writes that were under way beside the one that
    # failed, and Python that they were not waited for
    logging.getLogger("asyncio").addFilter(_is_no_echo)
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
    # TensorStore tells the later errors of a save to an event loop that is closed by then
    if not isinstance(sys.unraisablehook, _WithoutEchoes):
        sys.unraisablehook = _WithoutEchoes(sys.unraisablehook)


def _is_no_echo(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(said in message for said in ("in OCDBT database", "was never retrieved"))


class _WithoutEchoes:
    """A hook that passes on everything but news of a closed event loop and of Orbax's reads; a
    Ctrl-C that fell into a callback of JAX's, where Python drops it, is heard a moment later."""

    def __init__(self, report: Any):
        self.report = report

    def __call__(self, event: Any) -> None:
        if isinstance(event.exc_value, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()
        elif str(event.exc_value) != "Event loop is closed" and not _of_a_read(event):
            self.report(event)


def _of_a_read(event: Any) -> bool:
    where = getattr(event, "object", None)
    return inspect.iscoroutine(where) and "orbax" in where.cr_code.co_filename
