"""Classification: the class with the largest logit, for tasks that predict logits over classes.

* Whatever is classified (pictures, clips, sounds): the evaluator sees logits and labels alone.
* Accuracies beside chance and the majority class, as in zero_shot.py and linear_probe.py.
* Of sounds people see the spectrogram of one of them and can play it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation import accuracy
from mmjax.evaluation.base import Context, Evaluator, Result, draw
from mmjax.evaluation.drawing import speech_sheet
from mmjax.evaluation.gather import Rows
from mmjax.transforms.audio import DecodeAudio, Sound
from mmjax.transforms.mel import LogMel

RATE = 16_000  # samples per second of a sound that is shown


@dataclasses.dataclass(frozen=True)
class Classification(Evaluator):
    predict: str = "logits"  # the task's predict function
    logits: str = "logits"  # key of the logits [B, C] in what `predict` returns
    label: str = "label"  # field of the right class, from 0
    class_names: tuple[str, ...] = ()  # name i belongs to label i; (): numbers

    def check(self, context: Context) -> None:
        labels = context.source.column(self.label)
        if labels is not None and self.class_names:
            accuracy.check_labels(np.asarray(labels), len(self.class_names))

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        if self.label not in batch:
            raise ConfigError(
                f"the data has no field {self.label!r} to classify by; it has {', '.join(batch)}"
            )
        out = predict(variables, batch)
        if self.logits not in out:
            raise ConfigError(f"predict gave no {self.logits!r}, only {', '.join(out)}")
        logits = out[self.logits].astype(jnp.float32)  # [B, C]
        label = batch[self.label]
        return {
            "label": label,
            "classes": jnp.full(label.shape, logits.shape[1]),
            "finite": jnp.isfinite(logits).all(1),
            **accuracy.places(logits, label),
        }

    def finish(self, rows: Rows, context: Context) -> Result:
        label = rows["label"]
        count = int(rows["classes"][0])
        names = self.class_names or accuracy.numbered(count)
        if len(names) != count:
            raise ConfigError(
                f"class_names has {len(names)} names, but the model tells {count} classes apart"
            )
        accuracy.check_labels(label, count, rows["index"])
        if not rows["finite"].all():
            raise ValueError(f"logits of {np.sum(~rows['finite'])} examples are not finite")
        hits = accuracy.hits_of(label, rows["best"], rows["above"])
        result = accuracy.result(
            label, rows["index"], rows["best"], hits, names, each=count <= accuracy.FEW
        )
        result.media.update(self._heard(rows, names, context))
        return result

    def _heard(self, rows: Rows, names: Sequence[str], context: Context) -> dict[str, Any]:
        """Where the rows are sounds, one of them: its spectrogram with what was said of it, and the
        sound itself."""
        if not self.keep:
            return {}
        row = int(draw(len(rows["index"]), 1)[0])
        example = context.decode(int(rows["index"][row]))
        if "audio" not in example:
            return {}
        samples = DecodeAudio(RATE)(example)["audio"]
        said = names[int(rows["best"][row])]
        right = names[int(rows["label"][row])]
        title = f"{said}: right" if said == right else f"{said}: it is {right}"
        if isinstance(example.get("text"), str):
            title = f"{title}. {example['text']}"
        frames = LogMel(rate=RATE, seconds=None).batch([samples]).features[0]
        sheet = speech_sheet.draw(frames, (), title)
        return {"heard": sheet, "played": Sound(samples, RATE)}


Config = Classification  # what a config's sub-tree of this evaluator is turned into
