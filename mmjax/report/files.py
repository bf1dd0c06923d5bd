"""What a work directory says of its run, read so that nothing absent or broken matters."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Files:
    """What can be read of the work directory; absent or broken files are empty."""

    def __init__(self, workdir: Path):
        self.config = _json(workdir / "config.json")
        self.environment = _json(workdir / "environment.json")
        self.result = _json(workdir / "result.json")
        self.intervals = _json(workdir / "intervals.json")
        self.metrics = _rows(workdir / "metrics.jsonl")
        self.timing = _rows(workdir / "timing.jsonl")
        self.corrupt = _rows(workdir / "corrupt.jsonl")
        self.command = _text(workdir / "command.txt").strip()
        self.title = str(self.config.get("name") or workdir.resolve().name)
        steps = [row.get("step") for row in self.metrics]
        self.step = max((step for step in steps if isinstance(step, int)), default=0)

    def option(self, path: str) -> Any:
        """A value of the config, "train.steps"; None where there is none."""
        value: Any = self.config
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    @property
    def steps(self) -> int | None:
        """How many the run is to have."""
        steps = self.option("train.steps")
        return steps if isinstance(steps, int) else None

    @property
    def optimizer_groups(self) -> dict[str, str]:
        """What to call the groups that have a number for a name: {"0": "muon", "1": "adamw"}."""
        groups = self.option("optimizer.groups")
        groups = groups if isinstance(groups, list) else []
        groups = [group for group in groups if isinstance(group, Mapping)]
        optimizers = [str(group.get("optimizer", "")) for group in groups]
        names = {}
        for number, (group, optimizer) in enumerate(zip(groups, optimizers, strict=True)):
            alone = optimizers.count(optimizer) == 1
            names[str(number)] = optimizer if alone else f"{optimizer} {group.get('match', '')}"
        return names

    def latest(self) -> dict[str, Any]:
        """The newest value of everything that was evaluated."""
        latest: dict[str, Any] = {}
        for row in self.metrics:
            latest |= row
        kept = (key for key in latest if key != "step" and not key.startswith("train/"))
        return {key: latest[key] for key in kept}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in _text(path).splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a run that is writing, or was killed
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
