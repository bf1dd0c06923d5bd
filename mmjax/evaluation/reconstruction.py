"""How well the hidden tubelets of clips are made up, beside each tubelet's own mean.

* "error" is the mean squared error over all hidden tubelets of all clips, on the scale of the
  targets. "below_mean" is the share by which it is smaller than that of a model that gives each
  hidden tubelet its mean: 0 has learned nothing, 1 is perfect. It is a ratio of sums, so that clips
  with little in them count for little.
* People see some clips, what of them was visible and what was made up, as strips and as one that
  moves.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mmjax.evaluation.base import Context, Evaluator, Ratio, Result
from mmjax.evaluation.drawing import clip_sheet
from mmjax.evaluation.gather import Rows

TIMES = 4  # as large as they are the clips that move are shown
GAP = 2  # pixels between them


@dataclasses.dataclass(frozen=True)
class Reconstruction(Evaluator):
    predict: str = "restore"  # the task's predict function
    keep: int = 4  # clips that are shown

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        out = predict(variables, batch)
        media = {"video": batch["video"], "seen": out["seen"], "restored": out["restored"]}
        return {"error": out["error"], "mean_error": out["mean_error"], "media": media}

    def finish(self, rows: Rows, context: Context) -> Result:
        error = np.asarray(rows["error"], np.float64)
        mean = np.asarray(rows["mean_error"], np.float64)
        below = Ratio(mean - error, mean)
        return Result(
            {"error": float(error.mean()), "below_mean": below.value},
            {"tubelet_mean": {"error": float(mean.mean()), "below_mean": 0.0}},
            _pictures(rows["media"], context) if "media" in rows else {},
            {"error": error, "below_mean": below, "index": rows["index"]},
        )


def _pictures(media: Rows, context: Context) -> dict[str, Any]:
    """The strips, and the first of the clips as it moves."""
    clips = []
    moving = []
    for row in range(len(media["index"])):
        shown = {}
        for name in ("video", "seen", "restored"):
            made = context.show({"video": media[name]}, row)
            if "video" not in made:
                return {}
            shown[name] = made["video"]
        height = min(len(one[0]) for one in shown.values())
        strips = tuple(one[:, :height, :height] for one in shown.values())
        clips.append(clip_sheet.Clip(f"clip {media['index'][row]}", strips, ("clip", "visible",
                                     "made up")))  # fmt: skip
        moving.append(strips)
    gap = np.zeros((*moving[0][0].shape[:2], GAP, 3), np.uint8) + 128
    first, second, third = moving[0]
    side_by_side = np.concatenate([first, gap, second, gap, third], axis=2)
    large = side_by_side.repeat(TIMES, axis=1).repeat(TIMES, axis=2)
    title = "What was hidden, and what was made up"
    return {"made_up": clip_sheet.draw(clips, title), "moving": large}


Config = Reconstruction  # what a config's sub-tree of this evaluator is turned into
