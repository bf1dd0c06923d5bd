"""What Orbax, TensorStore and asyncio say beside an error that mmjax explains already.

* For the process of `python -m mmjax.main`, which is mmjax's own: its user sees one message. A
  program or a notebook that imports mmjax keeps its loggers and hooks as they are.
"""

from __future__ import annotations

import _thread
import logging
import sys
import threading
from typing import Any

from absl import logging as absl_logging


def silence() -> None:
    """Leaves out, from now on and in this process, what only repeats an error that is raised."""
    # Orbax reports every save at INFO, and prints the traceback of what it then raises anyway
    absl_logging.get_absl_logger().setLevel(logging.CRITICAL)
    # asyncio prints the tracebacks of the writes that were under way beside the one that failed
    logging.getLogger("asyncio").addFilter(_not_of_a_write)
    # TensorStore tells the later errors of a save to an event loop that is closed by then
    if not isinstance(sys.unraisablehook, _WithoutEchoes):
        sys.unraisablehook = _WithoutEchoes(sys.unraisablehook)


def _not_of_a_write(record: logging.LogRecord) -> bool:
    return "in OCDBT database" not in record.getMessage()


class _WithoutEchoes:
    """A hook that passes on everything but news of a closed event loop; a Ctrl-C that fell into a
    callback of JAX's, where Python drops it, is heard a moment later."""

    def __init__(self, report: Any):
        self.report = report

    def __call__(self, event: Any) -> None:
        if isinstance(event.exc_value, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()
        elif str(event.exc_value) != "Event loop is closed":
            self.report(event)
