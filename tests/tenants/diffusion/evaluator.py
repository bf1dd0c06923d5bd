"""How near samples are to the mean picture of their class, over a sweep of guidance."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from mmjax.evaluation.base import Evaluator, Result


@dataclasses.dataclass(frozen=True)
class Config(Evaluator):
    predict: str = "sample"  # the task's predict function
    guidance: tuple[float, ...] = (0.0, 2.0)  # that are tried
    keep: int = 4  # samples that are shown

    @property
    def columns(self):
        return ("label",)

    def records(self, predict, variables, batch, prepared):
        drawn = {scale: predict(variables, batch, guidance=scale) for scale in self.guidance}
        off = {
            f"off_{scale:g}": jnp.square(one["image"] - batch["image"]).mean((1, 2, 3))
            for scale, one in drawn.items()
        }
        return {**off, "media": {"image": drawn[self.guidance[-1]]["image"]}}

    def finish(self, rows, context):
        metrics = {
            f"guidance_{scale:g}/off": float(rows[f"off_{scale:g}"].mean())
            for scale in self.guidance
        }
        media = {}
        if "media" in rows:
            images = [
                context.show({"image": rows["media"]["image"]}, row)["image"]
                for row in range(len(rows["media"]["image"]))
            ]
            media = {"samples": np.stack(images)}
        last = rows[f"off_{self.guidance[-1]:g}"]
        return Result(metrics, {}, media, {"off": last, "index": rows["index"]})
