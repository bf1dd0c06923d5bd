"""Zero-shot classification: the class whose written name is nearest (CLIP, arXiv:2103.00020).

* Prompts, and the vector of a class: processors/classes.py.
* The prompts are embedded once per run, through the same sharded predict as the pictures.
* Ties are averaged as in retrieval: a collapsed model scores chance, whatever the labels.
* Beside the accuracies stand chance (1 of the classes) and the majority class of the labels.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.evaluation.base import Context, Evaluator, Result
from mmjax.evaluation.gather import Rows
from mmjax.evaluation.measures import accuracy, ranking
from mmjax.processors import classes


@dataclasses.dataclass(frozen=True)
class ZeroShot(Evaluator):
    class_names: tuple[str, ...] = ()  # name i belongs to label i
    templates: tuple[str, ...] = ("{}",)  # prompts, each with one {} for the class name
    image: str = "image"  # key of what is classified in what `predict` returns
    text: str = "text"  # the raw field of a prompt, and key of its embedding
    label: str = "label"  # field of the right class, from 0
    batch: int = 256  # prompts embedded at a time; over all processes; a multiple of the devices

    def __post_init__(self):
        classes.check(self.class_names, self.templates)

    def check(self, context: Context) -> None:
        labels = context.source.column(self.label)
        if labels is not None:
            accuracy.check_labels(np.asarray(labels), len(self.class_names))

    def prepare(self, context: Context, collect) -> np.ndarray:
        """Unit vectors of the classes, [classes, D]."""
        texts = classes.prompts(self.class_names, self.templates)
        rows = collect(self._embed_text, self._batches(texts, context))
        return classes.class_vectors(rows["text"], len(self.class_names))

    def _batches(
        self, texts: Sequence[str], context: Context
    ) -> Iterator[Mapping[str, np.ndarray]]:
        """This process's share of the prompts, in batches whose last one is filled up."""
        devices = jax.device_count()
        part, parts = context.share
        size = min(self.batch, -(-len(texts) // devices) * devices)
        if size % parts:
            raise ConfigError(f"zero-shot: {parts} processes cannot share {size} prompts a batch")
        real = len(texts)
        filled = [*texts, *texts[-1:] * (-real % size)]
        index = np.arange(len(filled), dtype=np.int32)
        fields = {
            **context.encode([{self.text: text} for text in filled]),
            "index": index,
            "weight": (index < real).astype(np.float32),
            "source": np.zeros(len(filled), np.int32),
        }
        for start in range(0, len(filled), size):
            mine = slice(start + part * size // parts, start + (part + 1) * size // parts)
            yield {name: value[mine] for name, value in fields.items()}

    def _embed_text(self, predict, variables, batch, prepared):
        out = predict(variables, batch)
        if self.text not in out:
            raise ConfigError(f"zero-shot: predict gave no {self.text!r}, only {', '.join(out)}")
        return {"text": out[self.text]}

    def records(self, predict, variables, batch, prepared):
        out = predict(variables, batch)
        for name, holder in ((self.image, out), (self.label, batch)):
            if name not in holder:
                raise ConfigError(f"zero-shot: no {name!r} among {', '.join(holder)}")
        image = out[self.image].astype(jnp.float32)  # [B, D]
        scores = jnp.einsum("bd,cd->bc", image, prepared, precision="highest")
        right = jnp.take_along_axis(scores, batch[self.label][:, None], axis=1)
        near = ranking.TIE * jnp.linalg.norm(image, axis=1)[:, None]
        return {
            "label": batch[self.label],
            "best": scores.argmax(1),
            "above": (scores > right + near).sum(1),
            "tied": (jnp.abs(scores - right) <= near).sum(1) - 1,  # without itself
            "finite": jnp.isfinite(scores).all(1),
        }

    def finish(self, rows: Rows, context: Context) -> Result:
        label = rows["label"]
        accuracy.check_labels(label, len(self.class_names), rows["index"])
        if not rows["finite"].all():
            count = f"{np.sum(~rows['finite'])} of {len(label)}"
            raise ValueError(f"zero-shot: scores of {count} examples are not finite")
        ranks = ranking.Ranks(rows["above"], rows["tied"], np.ones_like(label))
        hits = {k: ranks.hits(k) for k in accuracy.TOP}
        return accuracy.result(label, rows["index"], rows["best"], hits, self.class_names)


Config = ZeroShot  # what a config's sub-tree of this evaluator is turned into
