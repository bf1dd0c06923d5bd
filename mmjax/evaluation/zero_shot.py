"""Zero-shot classification: the class whose written name is nearest (CLIP, arXiv:2103.00020).

* Each class name goes into each template ("a photo of a {}."); a class is the mean of the unit
  vectors of its prompts, made a unit vector again.
* The prompts are embedded once per run, through the same sharded predict as the pictures.
* Ties are averaged as in retrieval: a collapsed model scores chance, whatever the labels.
* Beside the accuracies stand chance (1 of the classes) and the majority class of the labels. Top-1
  averaged over classes shows what a skewed data set hides.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.evaluation import pictures, ranking
from mmjax.evaluation.base import Evaluator, Result, Rows


@dataclasses.dataclass(frozen=True)
class ZeroShot(Evaluator):
    class_names: tuple[str, ...] = ()  # name i belongs to label i
    templates: tuple[str, ...] = ("{}",)  # prompts, each with one {} for the class name
    # [N] strings -> {"text": int32 [N, L], "text_mask": bool [N, L]}, handed in by the command; L
    # may differ from call to call, at the price of a compilation each.
    encode: Callable[[Sequence[str]], Mapping[str, np.ndarray]] | None = None
    predict: str = "embed"  # the task's predict function; it returns one embedding per modality
    image: str = "image"  # key of what is classified in what `predict` returns
    text: str = "text"  # key of the prompts' embeddings
    label: str = "label"  # field or column of the right class, from 0
    batch: int = 256  # prompts embedded at a time; over all processes; a multiple of the devices
    # (which part of a batch this process reads, of how many), handed in by the command; None: a
    # part for each process
    share: tuple[int, int] | None = None

    def __post_init__(self):
        if len(self.class_names) < 2:
            raise ValueError(f"zero-shot needs at least 2 class names, not {len(self.class_names)}")
        if not self.templates:
            raise ValueError('zero-shot needs at least one template, such as "a photo of a {}."')
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(
                    f'template {template!r} needs "{{}}" once, where the class name goes'
                )
        names, counts = np.unique(self.class_names, return_counts=True)
        if (counts > 1).any():
            name = str(names[counts > 1][0])
            raise ValueError(f"class name {name!r} is given for several labels")

    def check(self, columns):
        labels = columns.get(self.label)
        if labels is not None:
            self._check_labels(labels, np.arange(len(labels)))

    def prepare(self, collect):
        """Unit vectors of the classes, [classes, D]."""
        if self.encode is None:
            raise ValueError("zero-shot needs `encode`: strings to the task's text fields")
        prompts = [
            template.replace("{}", name) for name in self.class_names for template in self.templates
        ]
        rows = collect(self._embed_text, self._batches(prompts))
        vectors = _unit(rows["text"]).reshape(len(self.class_names), len(self.templates), -1)
        return _unit(vectors.mean(1))

    def records(self, predict, variables, batch, prepared):
        out = predict(variables, batch)
        for name, there in ((self.image, out), (self.label, batch)):
            if name not in there:
                raise ValueError(f"zero-shot: no {name!r} among {', '.join(there)}")
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

    def finish(self, rows: Rows) -> Result:
        names, label = self.class_names, rows["label"]
        self._check_labels(label, rows["index"])
        if not rows["finite"].all():
            count = f"{np.sum(~rows['finite'])} of {len(label)}"
            raise ValueError(f"zero-shot: scores of {count} examples are not finite")
        ranks = ranking.Ranks(rows["above"], rows["tied"], np.ones_like(label))
        counts = np.bincount(label, minlength=len(names))
        metrics, queries = {}, {"accuracy/label": label, "accuracy/index": rows["index"]}
        for k in (1, 5):
            if k < len(names):
                queries[f"accuracy/top{k}"] = hits = ranks.hits(k)
                metrics[f"accuracy/top{k}"] = float(hits.mean())
                metrics[f"chance/accuracy/top{k}"] = k / len(names)
        sums = np.bincount(label, queries["accuracy/top1"], minlength=len(names))
        metrics["accuracy/per_class"] = float((sums[counts > 0] / counts[counts > 0]).mean())
        metrics["chance/accuracy/per_class"] = 1 / len(names)
        metrics["majority/accuracy/top1"] = float(counts.max() / counts.sum())
        confusion = np.zeros((len(names), len(names)), np.int64)
        np.add.at(confusion, (label, rows["best"]), 1)
        return Result(metrics, {"confusion": pictures.confusion(confusion, names)}, queries)

    def _check_labels(self, label, index):
        count = len(self.class_names)
        bad = np.flatnonzero((label < 0) | (label >= count))
        if bad.size:
            raise ValueError(
                f"zero-shot: {bad.size} labels have no class name; example {index[bad[0]]} has "
                f"label {label[bad[0]]}, but the {count} class names are for labels 0 to "
                f"{count - 1}"
            )

    def _batches(self, prompts):
        """This process's share of the prompts, in batches whose last one is filled up."""
        devices = jax.device_count()
        host, hosts = self.share or (jax.process_index(), jax.process_count())
        size = min(self.batch, -(-len(prompts) // devices) * devices)
        if size % hosts:
            raise ValueError(f"zero-shot: {hosts} processes cannot share {size} prompts a batch")
        real = len(prompts)
        prompts = prompts + prompts[-1:] * (-real % size)
        fields = self.encode(prompts)
        index = np.arange(len(prompts), dtype=np.int32)
        fields = dict(fields) | {"index": index, "weight": (index < real).astype(np.float32)}
        for start in range(0, len(prompts), size):
            mine = slice(start + host * size // hosts, start + (host + 1) * size // hosts)
            yield {name: value[mine] for name, value in fields.items()}

    def _embed_text(self, predict, variables, batch, prepared):
        out = predict(variables, batch)
        if self.text not in out:
            raise ValueError(f"zero-shot: predict gave no {self.text!r}, only {', '.join(out)}")
        return {"text": out[self.text]}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


Config = ZeroShot  # what a config's sub-tree of this evaluator is turned into
