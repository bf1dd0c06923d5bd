"""Relative paths of a run's data, which were meant from the folder that it was started in.

* config.json keeps them as they were written, so that a project can be moved as a whole: its run
  goes on with the same command. environment.json says where that was.
* Whoever opens the run from elsewhere gets what they meant, as long as it is still there.
"""

import os
import re
from typing import Any

PATHS = ("path", "root", "data_dir")  # fields of sources that are paths
DATA = ("data", "parts", "validation", "test")  # sub-trees of a config with sources in them


def reachable(config: dict[str, Any], started_in: str) -> dict[str, Any]:
    """The config of a run with absolute paths for the data that was found from `started_in`."""
    return {
        key: _reachable(value, started_in) if key in DATA else value
        for key, value in config.items()
    }


def _reachable(value: Any, started_in: str) -> Any:
    if isinstance(value, list | tuple):
        return [_reachable(inside, started_in) for inside in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, inside in value.items():
        if key in PATHS and isinstance(inside, str) and inside:
            found[key] = _absolute(inside, started_in)
        else:
            found[key] = _reachable(inside, started_in)
    return found


def _absolute(path: str, started_in: str) -> str:
    """As it is where there is nothing of that name: it may be no path, or may have moved along."""
    whole = os.path.join(started_in, path)
    bare = re.split(r"[*?\[{]", whole)[0]  # of a pattern the folder in which it is looked for
    if bare != whole:
        bare = os.path.dirname(bare)
    return whole if os.path.exists(bare) else path
