"""Classification: the class with the largest logit, for tasks that predict logits over classes.

* Whatever is classified (pictures, clips, sounds): the evaluator sees logits and labels alone.
* Accuracies beside chance and the majority class, as in zero_shot.py and linear_probe.py.
* Of sounds people see the spectrogram of one of them and can play it; of clips strips of frames
  with what was said and what is right, where the model looked in time, and one that moves.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Ask, Context, Evaluator, Result, draw
from mmjax.evaluation.drawing import answer_sheet, clip_sheet, speech_sheet
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.measures import accuracy
from mmjax.transforms.audio import DecodeAudio, Sound
from mmjax.transforms.mel import LogMel

RATE = 16_000  # samples per second of a sound that is shown
STRIPS = 6  # clips that are shown as strips of frames, at most
MOVING = 256  # pixels that a small clip is enlarged to where it moves, about


@dataclasses.dataclass(frozen=True)
class Classification(Evaluator):
    predict: str = "logits"  # the task's predict function
    logits: str = "logits"  # key of the logits [B, C] in what `predict` returns
    label: str = "label"  # field of the right class, from 0
    class_names: tuple[str, ...] = ()  # name i belongs to label i; (): the data's, or numbers

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
        names = self._names(count, context)
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

    def _names(self, count: int, context: Context) -> tuple[str, ...]:
        """Of the classes: the config's, else the data's where it has as many, else numbers."""
        whole = getattr(context.source, "source", context.source)  # of a subset
        of_data = tuple(getattr(whole, "class_names", ()))
        if not self.class_names and len(of_data) == count:
            return of_data
        return self.class_names or accuracy.numbered(count)

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
        title = _verdict(rows, row, names)
        if isinstance(example.get("text"), str):
            title = f"{title}. {example['text']}"
        frames = LogMel(rate=RATE, seconds=None).batch([samples]).features[0]
        sheet = speech_sheet.draw(frames, (), title)
        return {"heard": sheet, "played": Sound(samples, RATE)}

    def illustrate(self, rows: Rows, context: Context, ask: Ask) -> dict[str, Any]:
        """Of clips, strips of frames, wrong answers first, and the first of them as it moves."""
        right = rows["best"] == rows["label"]
        places = answer_sheet.chosen(right, min(self.keep, STRIPS))
        if not len(places) or "video" not in context.source[int(rows["index"][places[0]])]:
            return {}
        numbers = rows["index"][places]
        order = np.argsort(numbers)  # rows come back in this one
        places, numbers = places[order], numbers[order]
        read = ask(self.predict, numbers, {}) or {}
        looked = ask("over_time", numbers, {}) or {}
        names = self._names(int(rows["classes"][0]), context)
        clips = []
        for place, number in zip(places.tolist(), numbers.tolist(), strict=True):
            at = np.flatnonzero(np.asarray(read.get("index", ())) == number)
            if not len(at) or "video" not in (shown := context.show(read, int(at[0]))):
                continue
            shares = looked["over_time"][int(at[0])] if "over_time" in looked else None
            said = _verdict(rows, place, names)
            clips.append(clip_sheet.Clip(said, (shown["video"],), (), bool(right[place]), shares))
        if not clips:
            return {}
        title = f"{right.mean():.1%} of {len(right):,} clips are right"
        return {"strips": clip_sheet.draw(clips, title), "moving": _enlarged(clips[0].strips[0])}


def _verdict(rows: Rows, row: int, names: Sequence[str]) -> str:
    """What was said of a row, and what is right."""
    said = names[int(rows["best"][row])]
    right = names[int(rows["label"][row])]
    return f"{said}: right" if said == right else f"{said}: it is {right}"


def _enlarged(clip: np.ndarray) -> np.ndarray:
    """A small clip with larger pixels."""
    times = max(1, MOVING // max(clip.shape[1:3]))
    return clip.repeat(times, axis=1).repeat(times, axis=2)


Config = Classification  # what a config's sub-tree of this evaluator is turned into
