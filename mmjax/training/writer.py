"""Metrics on disk: JSON lines and TensorBoard, cut back to the restored step when a run goes on;
and on a page of Weights & Biases, if it is asked for.

* `metrics.jsonl` holds no time, so a resumed run's file equals the undisturbed one byte for byte;
  times are in `timing.jsonl`. A line is written whole and flushed.
* Only process 0 writes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.training import media, weights_and_biases


class Writer:
    """Appends to a work directory's metric files from `step` on; later lines of an earlier attempt
    are dropped."""

    def __init__(
        self, folder: Path | str, step: int, *, tensorboard: bool = True, wandb: str = ""
    ):
        """
        Args:
          step: the last one that is kept of what was written before; -1: none.
          wandb: project of Weights & Biases; "": none.
        """
        self.folder = Path(folder)
        self.active = jax.process_index() == 0
        self.board = None
        self.page: weights_and_biases.Board | None = None
        number = f"-{jax.process_index()}" if jax.process_index() else ""
        self.corrupt_file = f"corrupt{number}.jsonl"  # every process names its own rows
        cut_back(self.folder / self.corrupt_file, step)
        if not self.active:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("metrics.jsonl", "timing.jsonl"):
            cut_back(self.folder / name, step)
        for pictures in (self.folder / "pictures").glob("*"):
            if pictures.name.isdigit() and int(pictures.name) > step:
                shutil.rmtree(pictures)
        if tensorboard:
            from mmjax.training.board import open_board  # protobuf, only where it is wanted

            self.board = open_board(self.folder / "tensorboard", step)

        if wandb:
            self.page = weights_and_biases.Board(self.folder, wandb)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One line of `metrics.jsonl`, and a point of each curve."""
        self._line("metrics.jsonl", step, values)
        if self.board:
            for name, value in values.items():
                self.board.add_scalar(name, float(value), step)
        if self.page:
            self.page.scalars(step, values)

    def timing(self, step: int, values: Mapping[str, float]) -> None:
        """One line of `timing.jsonl`."""
        self._line("timing.jsonl", step, values)
        if self.board:
            for name, value in values.items():
                self.board.add_scalar(f"timing/{name}", float(value), step)
        if self.page:
            self.page.scalars(step, {f"timing/{name}": value for name, value in values.items()})

    def corrupt(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Corrupt examples of this process's rows of a step, a line of `corrupt.jsonl` each."""
        with open(self.folder / self.corrupt_file, "a", encoding="utf-8") as out:
            for row in rows:
                out.write(json.dumps({"step": step, **row}) + "\n")

    def media(self, step: int, name: str, medium: Any) -> None:
        """What people see, as pictures/<step>/<name> with an ending of its kind, and in
        TensorBoard.

        Args:
          medium: a PIL image, a clip (uint8 [T, H, W, 3]), a video.Video, an audio.Sound
            or a text.
        """
        if not self.active:
            return
        ending, data = media.encoded(medium)
        path = self.folder / "pictures" / f"{step:08d}" / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(data)
        os.replace(temporary, path)
        if self.board:
            media.to_board(self.board, step, name, medium)
        if self.page:
            self.page.media(step, name, medium)

    def close(self) -> None:
        if self.board:
            self.board.close()
        if self.page:
            self.page.close()

    def _line(self, file: str, step: int, values: Mapping[str, float]) -> None:
        if not self.active:
            return
        row = {"step": step, **{name: _number(value) for name, value in values.items()}}
        with open(self.folder / file, "a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


def _number(value: float) -> float | str | None:
    value = float(value)
    return value if np.isfinite(value) else str(value)  # JSON has no NaN


def cut_back(path: Path, step: int) -> None:
    """Drops the lines after `step` and a last line that was cut in the middle."""
    if not path.exists():
        return
    kept = [line + "\n" for line, row in _whole(path) if row["step"] <= step]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    os.replace(temporary, path)


def read(path: Path | str) -> list[dict]:
    """The rows of a metrics file; a last line that was cut in the middle is left out."""
    return [row for _, row in _whole(Path(path))] if Path(path).exists() else []


def _whole(path: Path) -> Iterator[tuple[str, dict]]:
    """Lines and their rows, up to the first that is no row of a step."""
    for line in path.read_bytes().split(b"\n"):
        text = line.decode("utf-8", "replace")
        try:
            row = json.loads(text)
        except json.JSONDecodeError:
            return
        if not isinstance(row, dict) or "step" not in row:
            return
        yield text, row
