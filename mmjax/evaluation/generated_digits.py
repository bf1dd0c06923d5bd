"""Whether clips that were made show the digit that was asked for, going where it was to go.

* Who judges: generated/digit_judge.py, a classifier and a centroid. The same is asked of the data's
  own clips ("real"), which says how good the judge is, and of clips made without guidance
  ("no_guidance").
* With `scales`, each row is made with each scale of guidance besides: how the agreement grows and
  the diversity shrinks. Diversity is the mean distance between the digits of two clips of one
  class, in units of that between two real ones.

Letters: N rows, T frames, H and W pixels, C channels, S scales.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from PIL import Image

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context, Result, draw
from mmjax.evaluation.drawing import sweep_sheet
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.generated import digit_judge
from mmjax.evaluation.generated.base import Generated, as_bytes
from mmjax.typing import Bool, Int, Natural, Positive, UInt8

NUMBERS = ("digit_agreement", "motion_agreement", "both")


@dataclasses.dataclass(frozen=True)
class GeneratedDigits(Generated):
    side: Positive = 12  # pixels of an edge of the digits, which the classifier learns
    judge_steps: Natural = 700  # that the classifier learns for

    @property
    def columns(self) -> tuple[str, ...]:
        return ("digit", "direction", "text")

    def check(self, context: Context) -> None:
        for name in ("digit", "direction"):
            if context.source.column(name) is None:
                raise ConfigError(f"the data has no column {name!r}: it is for moving digits")

    def pixels(self, samples: jax.Array) -> jax.Array:
        """One channel."""
        return as_bytes(samples.mean(-1))

    def finish(self, rows: Rows, context: Context) -> Result:
        judge = digit_judge.judge(self.side, self.judge_steps)
        answers = {
            name: _agreement(judge, rows[name], rows)
            for name in ("made", "real", "no_guidance") if name in rows
        }  # fmt: skip
        means = {
            name: {number: float(values.mean()) for number, values in answer.items()}
            for name, answer in answers.items()
        }
        metrics = means.pop("made") | {"classifier_accuracy": judge.accuracy}
        unit = diversity(rows["real"], rows["digit"])
        metrics["diversity"] = diversity(rows["made"], rows["digit"]) / unit
        means["chance"] = {"digit_agreement": 0.1, "motion_agreement": 0.125}
        media = self._shown(rows, answers["made"]["both"])
        if self.scales:
            found = self._swept(judge, rows, unit)
            media["guidance"] = _sheet(rows, found, means["real"])
            media["guidance_table"] = _table(found, means["real"])
            for scale, row in found.items():
                metrics |= {f"guidance_{scale:g}/{name}": value for name, value in row.items()}
        queries = {name: answers["made"][name].astype(np.float64) for name in NUMBERS}
        return Result(metrics, means, media, queries | {"index": rows["index"]})

    def _swept(
        self, judge: digit_judge.Judge, rows: Rows, unit: float
    ) -> dict[float, dict[str, float]]:
        """The numbers of each scale."""
        found = {}
        for number, scale in enumerate(self.scales):
            clips = rows["swept"][:, number]
            answer = _agreement(judge, clips, rows)
            found[scale] = {name: float(values.mean()) for name, values in answer.items()}
            found[scale]["diversity"] = diversity(clips, rows["digit"]) / unit
        return found

    def _shown(self, rows: Rows, right: Bool[np.ndarray, " N"]) -> dict[str, Any]:
        """Some clips side by side, and what was asked for them."""
        if not self.keep:
            return {}
        order = draw(len(right), self.keep)
        clips = np.stack([rows["made"][row] for row in order])
        said = [
            f"{rows['text'][row]}: {'right' if right[row] else 'wrong'}" for row in order
        ]  # fmt: skip
        return {"clips": side_by_side(clips), "asked_for": "\n".join(said)}


def diversity(clips: UInt8[np.ndarray, "N T H W"], labels: Int[np.ndarray, " N"]) -> float:
    """The mean distance between the digits of two clips of one class: between the means of the
    windows about their centres of mass. Clips that show nothing are left out."""
    found, owner = digit_judge.windows(clips)
    counts = np.bincount(owner, minlength=len(clips))
    sums = np.zeros((len(clips), found.shape[1] * found.shape[2]))
    np.add.at(sums, owner, found.reshape(len(found), -1))
    means = sums / np.maximum(counts, 1)[:, None]
    distances: list[float] = []
    for label in np.unique(labels):
        mine = means[(labels == label) & (counts > 0)]
        apart = np.linalg.norm(mine[:, None] - mine[None], axis=-1)
        distances += apart[np.triu_indices(len(mine), 1)].tolist()
    return float(np.mean(distances)) if distances else float("nan")


def side_by_side(clips: UInt8[np.ndarray, "N T H W"], times: int = 3) -> np.ndarray:
    """Clips as one, uint8 [T, H, W, 3]: rows of eight at most, each pixel `times` as large."""
    count, frames, height, width = clips.shape
    columns = min(8, count)
    lines = -(-count // columns)
    padded = np.zeros((lines * columns, frames, height, width), np.uint8)
    padded[:count] = clips
    padded = padded.repeat(times, 2).repeat(times, 3)
    padded = np.pad(padded, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=96)
    grid = padded.reshape(lines, columns, frames, *padded.shape[2:])
    grid = grid.transpose(2, 0, 3, 1, 4)
    grid = grid.reshape(frames, lines * padded.shape[2], columns * padded.shape[3])
    return np.repeat(grid[..., None], 3, -1)


def _agreement(
    judge: digit_judge.Judge, clips: UInt8[np.ndarray, "N T H W"], rows: Rows
) -> dict[str, Bool[np.ndarray, " N"]]:
    digit = judge.digits(clips) == rows["digit"]
    motion = digit_judge.directions(clips) == rows["direction"]
    return dict(zip(NUMBERS, (digit, motion, digit & motion), strict=True))


def _table(found: Mapping[float, Mapping[str, float]], real: Mapping[str, float]) -> str:
    lines = ["guidance   digit  motion    both  diversity"]
    for scale, row in found.items():
        numbers = [f"{row[name]:8.3f}" for name in NUMBERS]
        lines.append(f"{scale:8g}{''.join(numbers)}   {row['diversity']:8.3f}")
    numbers = [f"{real[name]:8.3f}" for name in NUMBERS]
    lines.append(f"    real{''.join(numbers)}      1.000")
    return "\n".join(lines)


def _sheet(
    rows: Rows, found: Mapping[float, Mapping[str, float]], real: Mapping[str, float]
) -> Image.Image:
    order = draw(len(rows["index"]), min(6, len(rows["index"])))
    lines = [
        sweep_sheet.Line(str(rows["text"][row]), list(rows["swept"][row])) for row in order
    ]  # fmt: skip
    return sweep_sheet.draw(lines, found, real)




Config = GeneratedDigits  # what a config's sub-tree of this evaluator is turned into
