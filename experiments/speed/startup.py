"""From the command to the first train step, cold and with the compile cache: the default config.

    python -m experiments.speed.startup

Each start is a process of its own; the cold one has an empty cache folder. Seconds are those that
the run itself writes into result.json (`first_step_seconds`, from the start of the process).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mmjax.report.table import aligned

ROOT = Path(__file__).resolve().parents[2]
BARS = {"cold": 20.0, "with the compile cache": 8.0}


def first_step(config: str, cache: str, folder: str) -> float:
    """Seconds from the start of the process to the end of the first step."""
    command = [sys.executable, "-m", "mmjax.main", f"--config={config}", f"--workdir={folder}"]
    subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "MMJAX_CACHE": cache},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    result = json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))
    return result["first_step_seconds"]


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="configs/contrastive/clip_emoji.py")
    parser.add_argument("--turns", type=int, default=2)
    flags = parser.parse_args()
    # one step of the same program: the length of a run is not part of it
    short = "train.steps=1,optimizer.groups.0.warmup=0,optimizer.groups.1.warmup=0"
    short += ",validation={},test={},checkpoint.metric=''"
    config = f"{flags.config}{',' if ':' in flags.config else ':'}{short}"
    found: dict[str, list[float]] = {name: [] for name in BARS}
    for _ in range(flags.turns):
        with tempfile.TemporaryDirectory() as folder:
            for number, name in enumerate(BARS):
                found[name].append(first_step(config, f"{folder}/cache", f"{folder}/{number}"))
    rows = [(name, f"{min(seconds):.1f}", f"{max(seconds):.1f}", f"{BARS[name]:.0f}")
            for name, seconds in found.items()]  # fmt: skip
    print(aligned(("first step after", "s, best", "s, worst", "bar"), rows, right=(1, 2, 3)))


if __name__ == "__main__":
    main()
