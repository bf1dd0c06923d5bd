"""A model behind its processor: pictures, texts, sounds in, what the model says of them out.

    clip = mmjax.load("emoji_clip")             # or mmjax.restore("runs/clip_emoji")
    clip.encode_image(["cat.png", "dog.png"])   # vectors
    clip.classify("cat.png", ["cat", "dog"])    # and clip.logits(image=..., text=...)
    clip(image="cat.png", hidden_states=True)   # whatever the model's call returns, and its insides

* One class for loaded checkpoints and restored runs, and for every modality: fields are called as
  the data calls them, and what becomes of a field is the processor's affair.
* A value is one or several (a list) of: a path, encoded bytes, a Pillow image, uint8 [H, W, 3];
  samples [T] at the processor's rate; a text. What is no raw field is an argument of the model's
  call and passed on as it is, so prepared arrays may be given too.
* How a model is applied to raw fields, and compiled: applied.py.

Letters: B rows, N and M rows of two modalities, E embedding size, V classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.layers.attention import WEIGHTS
from mmjax.processors import classes
from mmjax.processors.applied import STATES, Applied, by_path
from mmjax.typing import Float


class Answer(NamedTuple):
    """What a model's call returns, and its insides where they were asked for."""

    output: Any  # of `model.apply`
    # by the path of the stack, "image/transformer": [layers + 1, B, L, D], embeddings first; of a
    # ResNet by stage, "image/stage_0": [B, H, W, C]
    hidden_states: Mapping[str, Any]
    # by the path of the attention, "image/transformer/blocks/attention": [layers, B, heads, L, S]
    attention_weights: Mapping[str, Any]


class Inference(Applied):
    """What `Loaded` and `Restored` have in common."""

    def encode_image(self, images: Any, **options: Any) -> np.ndarray:
        """Vectors of pictures; options: see `encode`."""
        return self.encode("image", images, **options)

    def encode_text(self, texts: Any, **options: Any) -> np.ndarray:
        """Vectors of texts; options: see `encode`."""
        return self.encode("text", texts, **options)

    def encode_audio(self, sounds: Any, **options: Any) -> np.ndarray:
        """Vectors of sounds; options: see `encode`."""
        return self.encode("audio", sounds, **options)

    def encode_video(self, videos: Any, **options: Any) -> np.ndarray:
        """Vectors of clips; options: see `encode`."""
        return self.encode("video", videos, **options)

    def encode(
        self,
        field: str,
        values: Any,
        *,
        normalize: bool | None = None,
        batch_size: int | None = None,
        refuse_unknown: bool = True,
    ) -> np.ndarray:
        """What the model's `encode_<field>` makes of raw values: float32 [B, E] where it compares
        them (CLIP, SigLIP, sentence embeddings), else what its file says (Whisper: [B, C, D]).

        Args:
          normalize: to unit length; None: as the model does by itself.
          batch_size: rows that are computed at a time, the last batch filled up; None: all.
          refuse_unknown: texts of which the tokenizer knows no word; else they are empty ones.

        Raises:
          ConfigError: a model that has no vectors of this field, or no choice of their length.
          CorruptExample: a value that cannot be used.
        """
        method, first = self._encoder(field)
        arguments = {}
        if normalize is not None:
            if "normalize" not in inspect.signature(getattr(self.model, method)).parameters:
                raise ConfigError(
                    f"{self._name}: {method} does not choose between vectors of unit length and "
                    "others; leave normalize out"
                )
            arguments["normalize"] = normalize
        rows = self._rows(field, values, refuse_unknown)
        size = batch_size or len(rows)
        parts = []
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            full = part + part[-1:] * (size - len(part))
            prepared = self._filled_up(field, self._prepared({field: full}))
            out = self._call(method, (*first, *prepared.values()), arguments)
            parts.append(np.asarray(out, np.float32)[: len(part)])
        return np.concatenate(parts)

    def __call__(
        self, *, hidden_states: bool = False, attention_weights: bool = False, **fields: Any
    ) -> Answer:
        """What the model's call says of raw fields (image=, text=, audio=, ...), of its own
        arguments (ids=, mask=, logits_at=, ...) as they are, or of both.

        Raises:
          ConfigError: nothing is given, or something that neither the processor nor the call takes.
          CorruptExample: a value that cannot be used.
        """
        parameters = inspect.signature(self.model.__call__).parameters
        taken = list(parameters)
        open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        raw = {name: self._rows(name, fields[name]) for name in fields if name in self.takes}
        arguments = {name: value for name, value in fields.items() if name not in raw}
        unknown = sorted(arguments.keys() - set(taken))
        if (unknown and not open_ended) or not fields:
            raise ConfigError(
                f"{self._name} takes {', '.join(self.takes) or 'nothing'} as they are, and "
                f"prepared {', '.join(taken)}; given: {', '.join(unknown) or 'nothing'}"
            )
        for name, value in self._prepared(raw).items():
            if name in taken or open_ended:
                arguments[name] = value
        lacking = [name for name in raw if self._argument(name) not in arguments]
        if lacking:
            raise ConfigError(
                f"{self._name}: its call takes {', '.join(taken)}, and nothing says which of them "
                f"{', '.join(lacking)} is: the processor's `arguments` do"
            )
        collections = [STATES] * hidden_states + [WEIGHTS] * attention_weights
        out = self._call("__call__", (), arguments, tuple(collections))
        if not collections:
            return Answer(out, {}, {})
        out, kept = out
        states = by_path(kept.get(STATES, {}), "hidden_states")
        return Answer(out, states, by_path(kept.get(WEIGHTS, {}), "weights"))

    def logits(self, **fields: Any) -> Float[np.ndarray, "N M"]:
        """How each value of one field fits each of another: `logits(image=pictures, text=texts)`.

        The cosines of their vectors, times the model's scale, with its bias where it has one.

        Raises:
          ConfigError: other than two fields, or a model that does not compare.
        """
        if not hasattr(self.model, "scale_and_bias"):
            raise ConfigError(
                f"{self._name} does not compare two modalities: what it says of one is its call"
            )
        if len(fields) != 2:
            raise ConfigError(
                "logits compares two fields, as in logits(image=pictures, text=texts); given: "
                f"{', '.join(fields) or 'nothing'}"
            )
        if hasattr(type(self._module), "compare"):
            return self._side_by_side(fields)
        vectors = [self.encode(name, values) for name, values in fields.items()]
        return self._compared(*vectors, self._scale_and_bias(next(iter(fields))))

    def _side_by_side(self, fields: Mapping[str, Any]) -> np.ndarray:
        """Of a model that reads the one beside the other (X-CLIP), and so has logits of its own."""
        rows = {name: self._rows(name, values) for name, values in fields.items()}
        logits = np.asarray(self._call("compare", (), self._prepared(rows)), np.float32)
        return logits.T if next(iter(fields)) == "text" else logits  # which are the last axis

    def classify(
        self,
        values: Any,
        names: Sequence[str] | None = None,
        templates: Sequence[str] = ("{}",),
        *,
        field: str | None = None,
    ) -> classes.Classification:
        """Which class fits: of written names (zero-shot), or of a classifier's own classes.

        Args:
          names: of the classes; None: those that the model was trained for.
          templates: texts with one {} for the name, "a photo of a {}."; a class is their mean (the
            mean of their logits, where a text has another vector beside each value).
          field: what `values` are; None: pictures where the model takes some, else its own field.

        Raises:
          ConfigError: one class, a template without {}, a model that cannot be asked like this.
          CorruptExample: a value, or a name, that cannot be used.
        """
        if field is None:
            fields = [name for name in self.takes if name != "text"]
            field = "image" if "image" in fields or not fields else fields[0]
        if names is None:
            return self._own_classes(field, values)
        if not hasattr(self.model, "scale_and_bias"):
            raise ConfigError(
                f"{self._name} does not compare {field} with texts, so it knows no classes by "
                "their names: give a CLIP or a SigLIP, or leave the names out"
            )
        if isinstance(names, str) or isinstance(templates, str):
            raise ConfigError('names and templates are lists: ["cat", "dog"], ["a photo of a {}."]')
        classes.check(names, templates)
        prompts = classes.prompts(names, templates)
        if hasattr(type(self._module), "compare"):
            logits = self._side_by_side({field: values, "text": prompts})
            logits = logits.reshape(len(logits), len(names), -1).mean(2)
            return classes.classification(names, logits)
        vectors = self.encode("text", prompts)
        vectors = classes.class_vectors(vectors, len(names))
        scale, bias = self._scale_and_bias(field)
        logits = self._compared(self.encode(field, values), vectors, (scale, bias))
        return classes.classification(names, logits, sigmoid=bias is not None)

    def __repr__(self) -> str:
        leaves = jax.tree.leaves(self.params)
        types = ", ".join(sorted({str(leaf.dtype) for leaf in leaves}))
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) / 2**20
        methods = [name for name in dir(type(self._module)) if name.startswith("encode_")]
        try:
            takes = ", ".join(self.takes) or "what is prepared already"
        except ConfigError as error:  # which of several processors
            takes = str(error)
        return "\n".join(
            [
                f"{type(self).__name__}: {self._name}",
                f"  parameters  {tree.count(self.params):,} in {types}, {size:,.1f} MiB",
                f"  takes       {takes}",
                f"  model has   {', '.join(['__call__', *methods])}",
            ]
        )

    def _scale_and_bias(self, rows: str) -> tuple[float, float | None]:
        """Of values of a field, each compared with all of another's."""
        own = "rows" in inspect.signature(self.model.scale_and_bias).parameters
        scale, bias = self._call("scale_and_bias", (rows,) if own else (), {})
        return float(scale), None if bias is None else float(bias)

    def _compared(
        self, one: np.ndarray, other: np.ndarray, scale_and_bias: tuple[float, float | None]
    ) -> np.ndarray:
        scale, bias = scale_and_bias
        return np.float32(scale) * (one @ other.T) + np.float32(bias or 0.0)

    def _own_classes(self, field: str, values: Any) -> classes.Classification:
        """Of a classifier."""
        labels = getattr(self.model.config, "labels", ())
        count = getattr(self.model.config, "classes", len(labels))
        if not count:
            raise ConfigError(
                f"{self._name} has no classes of its own: name some, "
                'classify(pictures, ["cat", "dog"])'
            )
        logits = np.asarray(self(**{field: values}).output.logits, np.float32)
        names = labels or tuple(str(number) for number in range(count))
        return classes.classification(names, logits)
