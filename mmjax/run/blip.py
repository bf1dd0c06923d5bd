"""A BLIP that was loaded or restored, from raw pictures and texts to captions and matches.

    blip = Blip(mmjax.load("Salesforce/blip-itm-base-coco"))
    tokens = blip.image_tokens(["cat.png", "dog.png"])
    blip.match(tokens, [0, 1, 1], ["a cat", "a dog", "a cat"], size=4)  # probabilities

* Checkpoints of the hub (a model for each use) and whole models that are trained here alike.
* Rows are filled up to a size, and texts to a few lengths, so that little is compiled.

Letters: B pictures, P image tokens, D their width, T texts, L tokens of a text.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.config import ConfigError
from mmjax.generation.generate import Generated, Generator, bucket
from mmjax.generation.options import Options
from mmjax.models import blip
from mmjax.processors.inference import Inference
from mmjax.typing import Array, Float, Int


class Blip:
    """What a BLIP says of pictures and texts.

    Args:
      model: whose processor takes pictures and texts, and which can `prompt` if it writes.

    Raises:
      ConfigError: a model of another kind, or one without a processor.
    """

    def __init__(self, model: Inference) -> None:
        kind = type(model.model.config).__module__.rsplit(".", 1)[-1]
        if not isinstance(model.model.config, blip.Config):
            raise ConfigError(f"a {kind} neither describes pictures nor matches texts: give a BLIP")
        if model.processor is None:
            raise ConfigError("the model's folder does not say how its inputs are prepared")
        self.loaded = model
        self.model = model.model
        self.config: blip.Config = model.model.config
        self.processor = model.processor
        self.variables = {"params": model.variables["params"]}

    def pixels(self, pictures: Sequence[Any]) -> Float[np.ndarray, "B H W C"]:
        """Normalised pixels. Raises CorruptExample."""
        return self._prepared("image", pictures)[0]

    def ids(
        self, texts: Sequence[str], *, beside_image: bool = True
    ) -> tuple[Int[np.ndarray, "T L"], np.ndarray]:
        """Ids and mask, filled up to one of few lengths.

        Args:
          beside_image: they open with [ENC]; else as the processor opens them.
        """
        ids, mask = self._prepared("text", texts)
        if beside_image and self.config.match_id is not None:
            first = mask.argmax(1)
            ids = ids.copy()
            ids[np.arange(len(ids)), first] = self.config.match_id
        limit = self.config.context_length
        room = max(0, min(bucket(ids.shape[1]), limit) - ids.shape[1])
        fill = self.config.padding_id or 0
        edges = ((0, 0), (0, room))
        ids = np.pad(ids, edges, constant_values=fill)[:, :limit]
        return ids, np.pad(mask, edges)[:, :limit]

    def image_tokens(self, pixels: Any) -> Float[Array, "B P D"]:
        """What texts attend to."""
        return self._compiled("image_tokens")(self.variables, pixels)

    def fuse(self, ids: Any, mask: Any, context: Float[Array, "B P D"]) -> Float[Array, "B L D"]:
        """Texts as they are read beside their pictures."""
        return self._compiled("fuse")(self.variables, ids, mask, context=context)

    def write(
        self,
        context: Float[Array, "B P D"],
        options: Options,
        seeds: int | Int[np.ndarray, " B"] = 0,
        begin: str = "",
    ) -> list[str]:
        """Captions, at most as long as the model's context.

        Args:
          seeds: of the random numbers, one of each picture, where the options ask for any.
          begin: how all of them begin, "a picture of"; it is left out of what is returned.

        Raises:
          ConfigError: a model that writes no texts.
        """
        prompt = self.prompt([begin] * len(context))
        room = self.config.context_length - prompt["inputs"].shape[1]
        if 0 < room < options.max_new_tokens:
            options = dataclasses.replace(options, max_new_tokens=room)
        said = self.generate({**prompt, "context": context}, options, seeds)
        texts = []
        for ids, length in zip(said.tokens[:, 0], said.lengths[:, 0], strict=True):
            real = [one for one in ids[:length].tolist() if one not in options.end_ids]
            texts.append(self.processor.decode(real).strip())
        return texts

    def prompt(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """How texts begin that are written: `inputs` and `mask`."""
        if not self.config.writes:
            raise ConfigError("this BLIP writes no texts: it has texts='encoder'")
        return self.processor.prompt(texts)

    def generate(self, prompt: Any, options: Options, seeds: Any = 0) -> Generated:
        """Texts behind prompts with a context."""
        return self._generator(prompt, options, seeds)

    def match(
        self,
        image_tokens: Float[Array, "B P D"],
        rows: Sequence[int],
        texts: Sequence[str],
        size: int,
    ) -> Float[np.ndarray, " T"]:
        """The probability that each text belongs to its picture.

        Args:
          rows: number of each text's picture.
          size: texts that are read at a time, the last ones filled up.

        Raises:
          ConfigError: a model that matches nothing.
        """
        if not self.config.matching:
            raise ConfigError("this BLIP has no head that matches: it has matching=False")
        found = []
        for start in range(0, len(texts), size):
            few = list(texts[start : start + size])
            full = few + few[-1:] * (size - len(few))
            places = np.zeros(size, np.int32)
            places[: len(few)] = rows[start : start + size]
            ids, mask = self.ids(full)
            probabilities = self._matching(self.variables, image_tokens, places, ids, mask)
            found.append(np.asarray(probabilities)[: len(few)])
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    @functools.cached_property
    def _matching(self) -> Callable[..., Array]:
        @jax.jit
        def matching(variables, image_tokens, places, ids, mask):
            context = image_tokens[places]
            fused = self.model.apply(variables, ids, mask, context=context, method="fuse")
            logits = self.model.apply(variables, fused, mask, method="matching")
            return jax.nn.softmax(logits)[:, 1]

        return matching

    @functools.cached_property
    def _generator(self) -> Generator:
        return Generator(self.model, self.variables)

    def _prepared(self, field: str, values: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """A field as the processor makes it, and its mask; of pictures all True."""
        batch = self.processor.inputs({field: list(values)})
        names = self.processor.arguments
        made = np.asarray(batch[names.get(field, field)])
        mask = batch.get(names.get(f"{field}_mask", f"{field}_mask"))
        return made, np.ones(made.shape[:2], bool) if mask is None else np.asarray(mask, bool)

    def _compiled(self, method: str) -> Callable[..., Array]:
        if method not in self._functions:
            apply = functools.partial(self.model.apply, method=method)
            self._functions[method] = jax.jit(apply)
        return self._functions[method]

    @functools.cached_property
    def _functions(self) -> dict[str, Callable[..., Array]]:
        return {}
