"""What goes wrong inside Orbax and TensorStore, as one line of our own.

* Their messages hold whole specifications; they stay in the cause of the error that is raised.
* What Python prints of the reads that went on beside the one that failed is left out by echoes.py,
  in mmjax's own process alone.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator

from mmjax.errors import UserError

LONGEST = 300  # letters of a cause that are shown


class CheckpointError(UserError, ValueError):
    """A checkpoint that is absent, damaged, or of another model; every tensor that does not fit is
    named."""


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns what goes wrong while files are touched into a CheckpointError that says where."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # of whatever kind: it comes from the files' libraries
        first_line = (str(error).splitlines() or [""])[0].partition(" [tensorstore_spec=")[0]
        shown = textwrap.shorten(f"{type(error).__name__}: {first_line}", LONGEST)
        raise CheckpointError(f"{what}: {shown}") from error
