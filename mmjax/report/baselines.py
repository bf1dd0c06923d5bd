"""Which numbers of a run are baselines of others, told from their names alone.

* "chance/unseen/image_to_text/r1" is what "unseen/image_to_text/r1" must be read against: whatever
  measured a baseline wrote its own name before that of the evaluation.
* So a first segment is a baseline's name where all that comes behind it are evaluations, which have
  numbers of their own. No list of baselines is kept, and a new one is recognised.
* Validation is apart: "validation/chance/..." is read against "validation/..." and no other.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

VALIDATION = "validation"
TRAIN = "train"  # of training's own metrics, which no evaluation measures


class Name(NamedTuple):
    """A number's name in its parts."""

    baseline: str  # what measured it; "": the model itself
    metric: str  # the name without it, "validation/unseen/image_to_text/r1"


class Names:
    """Splits the names of one run's numbers."""

    def __init__(self, keys: Iterable[str]):
        self._seconds: dict[str, set[str]] = {}  # first segment -> segments that follow it
        for key in keys:
            first, _, rest = _without_validation(key).partition("/")
            if rest and first != TRAIN:
                self._seconds.setdefault(first, set()).add(rest.partition("/")[0])

    @functools.cached_property
    def baselines(self) -> tuple[str, ...]:
        """Names of baselines, in the order of their first numbers."""
        evaluations = set(self._seconds)
        return tuple(
            first for first, seconds in self._seconds.items() if seconds <= evaluations - {first}
        )

    def split(self, key: str) -> Name:
        """("chance", "a/r1") of "chance/a/r1"; ("", key) where it is no baseline."""
        bare = _without_validation(key)
        first, _, rest = bare.partition("/")
        if first not in self.baselines:
            return Name("", key)
        return Name(first, key[: len(key) - len(bare)] + rest)

    def of(self, metric: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The baselines in `values` of a metric: {"chance": 0.005}."""
        prefix = f"{VALIDATION}/" if metric.startswith(f"{VALIDATION}/") else ""
        rest = metric.removeprefix(prefix)
        keys = {name: f"{prefix}{name}/{rest}" for name in self.baselines}
        return {name: values[key] for name, key in keys.items() if key in values}


def _without_validation(key: str) -> str:
    return key.removeprefix(f"{VALIDATION}/")
