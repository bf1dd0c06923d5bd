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
* Each question is compiled once for each shape.

Letters: B rows, N and M rows of two modalities, E embedding size, V classes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.layers.adapters import Adapted
from mmjax.layers.attention import WEIGHTS
from mmjax.processors import prompts
from mmjax.processors.base import Processor
from mmjax.processors.raw import several
from mmjax.typing import Float

STATES = "intermediates"  # the collection of hidden states: layers/stack.py
LENGTHS = 16  # texts to embed are padded to a multiple of so many tokens, to compile for few


class Answer(NamedTuple):
    """What a model's call returns, and its insides where they were asked for."""

    output: Any  # of `model.apply`
    # by the path of the stack, "image/transformer": [layers + 1, B, L, D], embeddings first; of a
    # ResNet by stage, "image/stage_0": [B, H, W, C]
    hidden_states: Mapping[str, Any]
    # by the path of the attention, "image/transformer/blocks/attention": [layers, B, heads, L, S]
    attention_weights: Mapping[str, Any]


class Classification(NamedTuple):
    """How rows fit classes."""

    names: tuple[str, ...]  # of the classes
    logits: Float[np.ndarray, "B V"]
    # over the classes; under a sigmoid loss (SigLIP) of each class for itself
    probabilities: Float[np.ndarray, "B V"]

    @property
    def best(self) -> tuple[str, ...]:
        """The name of the likeliest class of each row."""
        return tuple(self.names[number] for number in self.logits.argmax(1))


class Inference:
    """What `Loaded` and `Restored` have in common."""

    model: Any  # a module, or one with adapters
    params: Mapping[str, Any]
    processor: Processor | None  # None: inputs are prepared by the caller

    def encode_image(self, images: Any, **options: Any) -> np.ndarray:
        """Vectors of pictures; options: see `encode`."""
        return self.encode("image", images, **options)

    def encode_text(self, texts: Any, **options: Any) -> np.ndarray:
        """Vectors of texts; options: see `encode`."""
        return self.encode("text", texts, **options)

    def encode_audio(self, sounds: Any, **options: Any) -> np.ndarray:
        """Vectors of sounds; options: see `encode`."""
        return self.encode("audio", sounds, **options)

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
        states = _by_path(kept.get(STATES, {}), "hidden_states")
        return Answer(out, states, _by_path(kept.get(WEIGHTS, {}), "weights"))

    def logits(self, **fields: Any) -> Float[np.ndarray, "N M"]:
        """How each value of one field fits each of another: `logits(image=pictures, text=texts)`.

        The cosines of their vectors, times the model's scale, with its bias where it has one.

        Raises:
          ConfigError: other than two fields, or a model that does not compare.
        """
        self._check_compares("logits")
        if len(fields) != 2:
            raise ConfigError(
                "logits compares two fields, as in logits(image=pictures, text=texts); given: "
                f"{', '.join(fields) or 'nothing'}"
            )
        one, other = (self.encode(name, values) for name, values in fields.items())
        return self._compared(one, other)

    def classify(
        self,
        values: Any,
        names: Sequence[str] | None = None,
        templates: Sequence[str] = ("{}",),
        *,
        field: str = "image",
    ) -> Classification:
        """Which class fits: of written names (zero-shot), or of a classifier's own classes.

        Args:
          names: of the classes; None: those that the model was trained for.
          templates: texts with one {} for the name, "a photo of a {}."; a class is their mean.
          field: what `values` are.

        Raises:
          ConfigError: one class, a template without {}, a model that cannot be asked like this.
          CorruptExample: a value, or a name, that cannot be used.
        """
        if names is None:
            return self._own_classes(field, values)
        if not hasattr(self.model, "scale_and_bias"):
            raise ConfigError(
                f"{self._name} does not compare {field}s with texts, so it knows no classes by "
                "their names: give a CLIP or a SigLIP, or leave the names out"
            )
        if isinstance(names, str) or isinstance(templates, str):
            raise ConfigError('names and templates are lists: ["cat", "dog"], ["a photo of a {}."]')
        prompts.check(names, templates)
        vectors = self.encode("text", prompts.prompts(names, templates))
        classes = prompts.class_vectors(vectors, len(names))
        logits = self._compared(self.encode(field, values), classes)
        _, bias = self._scale_and_bias
        if bias is None:
            probabilities = _softmax(logits)
        else:
            probabilities = np.asarray(jax.nn.sigmoid(logits))
        return Classification(tuple(names), logits, probabilities)

    @property
    def takes(self) -> tuple[str, ...]:
        """The raw fields that may be given; () where there is no processor."""
        return () if self.processor is None else self.processor.takes

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

    @property
    def _name(self) -> str:
        """What it is, for people."""
        return type(self.model.config).__module__

    @functools.cached_property
    def _compiled(self) -> dict[Any, Callable]:
        """Functions that were asked for, so that a second call compiles nothing."""
        return {}

    def _encoder(self, field: str) -> tuple[str, tuple[str, ...]]:
        """The model's method for a field, and what it is called with before the arrays."""
        if hasattr(type(self._module), f"encode_{field}"):
            return f"encode_{field}", ()
        if hasattr(type(self._module), "encode") and hasattr(self.model.config, field):
            return "encode", (field,)
        raise ConfigError(
            f"{self._name} has no vectors of {field}: what it says of one is its call, "
            f"model({field}=...)"
        )

    @property
    def _module(self) -> Any:
        """The module itself, below adapters."""
        return self.model.model if isinstance(self.model, Adapted) else self.model

    def _rows(self, field: str, values: Any, refuse_unknown: bool = True) -> list[Any]:
        """The values of a field that the processor takes, checked."""
        if self.processor is None:
            raise ConfigError(f"{self._name}: its folder does not say how its inputs are prepared")
        if field not in self.takes:
            raise ConfigError(f"{self._name} takes {', '.join(self.takes)}, and no {field}")
        rows = several(values)
        if not rows:
            raise ConfigError(f"there is no {field} to read: the list is empty")
        if field == "text" and refuse_unknown:
            self.processor.check_known(rows)
        return rows

    def _prepared(self, fields: Mapping[str, list[Any]]) -> dict[str, Any]:
        """The model's arguments; fields of as many rows are prepared as pairs."""
        if not fields:
            return {}
        if len({len(rows) for rows in fields.values()}) == 1:
            return self.processor.inputs(fields)
        inputs: dict[str, Any] = {}
        for name, rows in fields.items():
            inputs |= self.processor.inputs({name: rows})
        return inputs

    def _argument(self, field: str) -> str:
        """The model's name of a field."""
        return self.processor.arguments.get(field, field)

    def _filled_up(self, field: str, prepared: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a field, and their mask where there is one: what a tower takes. Texts are
        filled up with padding, unless it changes what they say."""
        names = [self._argument(field), self._argument(f"{field}_mask")]
        chosen = {name: prepared[name] for name in names if name in prepared}
        tower = getattr(self.model.config, field, self.model.config)
        longest = getattr(tower, "context_length", None)
        if field != "text" or len(chosen) < 2 or longest is None:
            return chosen
        if getattr(tower, "padded_in_full", False):
            return chosen
        ids, mask = chosen.values()
        room = min(-(-ids.shape[1] // LENGTHS) * LENGTHS, longest) - ids.shape[1]
        if room <= 0:
            return chosen
        fill = self.processor.fill.get(field, 0)
        edges = ((0, 0), (0, room))
        filled = [np.pad(ids, edges, constant_values=fill), np.pad(mask, edges)]
        return dict(zip(chosen, filled, strict=True))

    def _call(
        self,
        method: str,
        arrays: tuple[Any, ...],
        arguments: Mapping[str, Any],
        collections: tuple[str, ...] = (),
    ) -> Any:
        """`model.apply`, compiled; texts and switches among the arguments are fixed in it."""
        fixed = {}
        traced = {}
        for name, value in arguments.items():
            if isinstance(value, str | bool | None):
                fixed[name] = value
            else:
                traced[name] = np.asarray(value) if isinstance(value, list) else value
        leading = tuple(one for one in arrays if isinstance(one, str))
        arrays = arrays[len(leading) :]
        key = (method, leading, tuple(sorted(fixed.items())), collections)
        if key not in self._compiled:

            def apply(params: Any, arrays: tuple, traced: Mapping) -> Any:
                return self.model.apply(
                    {"params": params}, *leading, *arrays, **fixed, **traced, method=method,
                    mutable=list(collections) or False,
                )  # fmt: skip

            self._compiled[key] = jax.jit(apply)
        return self._compiled[key](self.params, arrays, traced)

    @functools.cached_property
    def _scale_and_bias(self) -> tuple[float, float | None]:
        scale, bias = self._call("scale_and_bias", (), {})
        return float(scale), None if bias is None else float(bias)

    def _check_compares(self, what: str) -> None:
        if not hasattr(self.model, "scale_and_bias"):
            raise ConfigError(
                f"{self._name} does not compare two modalities, so it has no {what} of them: what "
                "it says of one is its call"
            )

    def _compared(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        scale, bias = self._scale_and_bias
        return np.float32(scale) * (one @ other.T) + np.float32(bias or 0.0)

    def _own_classes(self, field: str, values: Any) -> Classification:
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
        return Classification(tuple(names), logits, _softmax(logits))


def _softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(jax.nn.softmax(logits, axis=-1))


def _by_path(collection: Mapping[str, Any], last: str) -> dict[str, Any]:
    """What was sown, by the path of who sowed it."""
    out = {}
    for path, values in tree.flatten(collection).items():
        out[path.removesuffix(f"/{last}")] = values[0] if len(values) == 1 else values
    return out
