"""How far the hidden patches are off, beside a picture of one grey; some of them to look at."""

import dataclasses

import numpy as np

from mmjax.evaluation.base import Evaluator, Result


@dataclasses.dataclass(frozen=True)
class Config(Evaluator):
    predict: str = "restore"  # the task's predict function
    keep: int = 4  # pictures that are shown

    def records(self, predict, variables, batch, prepared):
        out = predict(variables, batch)
        media = {"patches": out["patches"]}
        return {"error": out["error"], "plain": out["plain"], "media": media}

    def finish(self, rows, context):
        media = {}
        if "media" in rows:
            drawn = np.asarray(rows["media"]["patches"])
            clip = np.rint((drawn[..., :3] * 0.5 + 0.5) * 255).clip(0, 255).astype(np.uint8)
            media = {"patches": np.repeat(np.repeat(clip[:, :, None], 8, 1), 8, 2)}
        return Result(
            {"error": float(rows["error"].mean())},
            {"grey": {"error": float(rows["plain"].mean())}},
            media,
            {"error": rows["error"], "index": rows["index"]},
        )
