"""What goes wrong inside Orbax and TensorStore, as one line of our own.

* Their messages hold whole specifications; they stay in the cause of the error that is raised.
* The reads that went on beside the one that failed are thrown away with what they met, and Python
  tells of each on the standard error output, in 60 lines. They say nothing that the error does not.
"""

from __future__ import annotations

import inspect
import logging
import sys
import textwrap
import warnings
from typing import Any

from mmjax.errors import UserError

LONGEST = 300  # letters of a cause that are shown


class CheckpointError(UserError, ValueError):
    """A checkpoint that is absent, damaged, or of another model; every tensor that does not fit is
    named."""


class explained:
    """Turns what goes wrong while files are touched into a CheckpointError that says where."""

    def __init__(self, what: str):
        self.what = what
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._told
        logging.getLogger("asyncio").addFilter(_is_no_echo)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._warnings.__exit__()
        if not isinstance(error, Exception):
            sys.unraisablehook = self._hook
            logging.getLogger("asyncio").removeFilter(_is_no_echo)
            return
        # from here on hook and filter stay: the other reads may end later
        if isinstance(error, CheckpointError):
            return
        first_line = (str(error).splitlines() or [""])[0].partition(" [tensorstore_spec=")[0]
        shown = textwrap.shorten(f"{type(error).__name__}: {first_line}", LONGEST)
        raise CheckpointError(f"{self.what}: {shown}") from error

    def _told(self, said: Any) -> None:
        """What Python does with an exception that nobody can catch."""
        late = isinstance(said.exc_value, RuntimeError) and "loop is closed" in str(said.exc_value)
        read = inspect.iscoroutine(said.object) and "orbax" in said.object.cr_code.co_filename
        if not late and not read:
            self._hook(said)


def _is_no_echo(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()
