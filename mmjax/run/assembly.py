"""From the options of a run to its parts: data, tokenizer, model, task, mesh, state plan,
evaluators.

* The one place where names become parts; whatever a command needs, it takes from a `Run`.
* Building is lazy: showing a parameter table opens no image, evaluating builds no optimizer state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax import registry, tree
from mmjax.config import ConfigError, Spec, build, merged, to_dict
from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Bucketed, Mixture, Packed, Sequential, buckets
from mmjax.data.source import CorruptExample, DataError, Source
from mmjax.layers.adapters import Adapted
from mmjax.processors import vocabularies
from mmjax.run.options import Options
from mmjax.tokenizers import bpe, words
from mmjax.tokenizers.bpe import TokenizerError
from mmjax.training import sharding, state
from mmjax.transforms.text import all_captions, text_lengths, text_shape


def configured(
    room: str | tuple[str, ...], spec: Spec, where: str, given: Mapping[str, Any] | None = None
) -> tuple[Any, Any]:
    """The module that a sub-tree names, and its Config: the variant's row, then `given`, then the
    sub-tree's fields.

    Raises:
      ConfigError: an unknown name, variant or field; a field that contradicts `given`.
    """
    module = registry.find(room, spec.name, where=f"{where}.name")
    if not hasattr(module, "Config"):
        raise ConfigError(f"{where}.name: {module.__name__} is a part of mmjax that has no config")
    options = to_dict(spec.options)
    variant = options.pop("variant", None)
    base: dict[str, Any] = {}
    if variant is not None:
        rows = getattr(module, "VARIANTS", {})
        if variant not in rows:
            raise ConfigError(
                f"{where}.variant: {spec.name} has no {variant!r}; "
                f"it has {', '.join(rows) or 'none'}"
            )
        base = to_dict(rows[variant])
    tree = merged(base, options)
    for path, value in (given or {}).items():
        stated = _get(options, path)
        if stated is None:
            _put(tree, path, value)
        # a table may have more rows than the data needs
        elif stated != value and not (path.endswith(LOWER_BOUNDS) and stated > value):
            raise ConfigError(
                f"{where}.{path} is {stated}, but the data needs {value}; leave it out"
            )
    return module, build(module.Config, tree, where=where)


LOWER_BOUNDS = ("vocab_size", "context_length")


def _get(nested: Mapping[str, Any], path: str) -> Any:
    for key in path.split("."):
        if not isinstance(nested, Mapping) or key not in nested:
            return None
        nested = nested[key]
    return nested


def _put(nested: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for key in parents:
        nested = nested.setdefault(key, {})
    nested[last] = value


# By the processor's `tokenizer`: what is trained on the captions of a run.
TRAINED = {"": bpe, "words": words}


@contextlib.contextmanager
def checked(where: str = "") -> Iterator[None]:
    """What the parts of a run object to is the config's fault: said without a traceback.

    Args:
      where: put before the message.
    """
    try:
        yield
    except (ConfigError, DataError, CorruptExample, TokenizerError):
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def open_source(spec: Spec, where: str) -> Source:
    """The data set that a sub-tree names."""
    module, config = configured(registry.SOURCES, spec, where)
    with checked():
        return module.open(config)


@dataclasses.dataclass(frozen=True)
class Run:
    """The parts of a run; each is made when it is first asked for."""

    options: Options
    workdir: Path | None = None  # where the tokenizer is kept; None: nowhere

    @functools.cached_property
    def sources(self) -> dict[str, Source]:
        """Training data by name."""
        return {
            name: open_source(spec, f"data.train.{name}")
            for name, (spec, _) in self._mixture.items()
        }

    @functools.cached_property
    def _mixture(self) -> dict[str, tuple[Spec, float | None]]:
        out = {}
        for name, spec in self.options.data.train.items():
            options = dict(spec.options)
            weight = options.pop("weight", None)
            if weight != 0:
                out[name] = (Spec(spec.name, options), weight)
        if not out:
            raise ConfigError("data.train is empty: name at least one data set")
        return out

    def variation(self, name: str, options: Mapping[str, Any], where: str) -> Spec:
        """The training set `name` with other options: its validation split, say."""
        if name not in self._mixture:
            raise ConfigError(
                f"{where}: '@{name}' is none of data.train: {', '.join(self._mixture)}"
            )
        spec, _ = self._mixture[name]
        return Spec(spec.name, {**spec.options, **options})

    def of_the_same_set(self, name: str) -> list[Source]:
        """Training data of the set that an evaluation's source names; groups of two different sets
        have nothing to do with each other."""
        return [
            self.sources[key]
            for key, (spec, _) in self._mixture.items()
            if name in (f"@{key}", spec.name)
        ]

    @functools.cached_property
    @checked()
    def processor(self) -> Any:
        module, config = configured(
            "mmjax.processors", self.options.data.processor, "data.processor"
        )
        saved = self.workdir / "tokenizer.json" if self.workdir else None
        trained = TRAINED.get(config.tokenizer)
        if trained is None:
            tokenizer = vocabularies.load(config.tokenizer)
        elif saved and saved.exists():
            tokenizer = bpe.load(saved)
        else:
            captions = all_captions(list(self.sources.values()))
            tokenizer = trained.train(captions, config.vocab_size, lowercase=config.lowercase)
        if saved and not saved.exists() and jax.process_index() == 0:
            part = saved.with_suffix(".part")  # another process never finds half of it
            tokenizer.save(part)
            part.replace(saved)
        return module.Processor(config, tokenizer)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Fields of the model's config that follow from the data, by dotted path."""
        return self.processor.sizes

    @functools.cached_property
    @checked()
    def model(self) -> Any:
        module, config = configured("mmjax.models", self.options.model, "model", self.sizes)
        model = module.Model(config)
        return Adapted(model, self.options.adapters) if self.options.adapters else model

    @functools.cached_property
    @checked()
    def task(self) -> Any:
        module, config = configured("mmjax.tasks", self.options.task, "task")
        return module.build(config, self.model)

    @functools.cached_property
    @checked()
    def mesh(self) -> jax.sharding.Mesh:
        mesh = sharding.make_mesh(self.options.execution.mesh)
        rows, cut = self.options.data.batch_size, mesh.shape["data"] * mesh.shape["fsdp"]
        accumulate = self.options.optimizer.accumulate
        if rows % (cut * accumulate):
            raise ConfigError(
                f"data.batch_size={rows} is not a multiple of {cut} devices along the batch x "
                f"{accumulate} micro-batches (optimizer.accumulate)"
            )
        return mesh

    @functools.cached_property
    @checked()
    def pipeline(self) -> Pipeline:
        """The training batches."""
        sources = list(self.sources.values())
        weights = [weight for _, weight in self._mixture.values()]
        if all(weight is None for weight in weights):
            weights = []
        plan: Any = Mixture(
            tuple(len(source) for source in sources),
            self.options.data.batch_size,
            weights=tuple(1.0 if weight is None else float(weight) for weight in weights),
            seed=self.options.seed,
            steps=self.options.train.steps,
        )
        plan = self.padded(plan, sources)
        return self._pipeline(sources, plan, self.processor.train)

    def padded(self, plan: Any, sources: list[Source]) -> Any:
        """The plan with the length that captions are padded to."""
        config = self.processor.config
        if 0 < config.pad_to < config.max_length:
            raise ConfigError(
                f"data.processor.pad_to={config.pad_to} is shorter than max_length="
                f"{config.max_length}: captions would not fit; make them equal, or pad_to=0"
            )
        if config.pad_to and not config.pack:
            return dataclasses.replace(plan, shape={"text": (config.pad_to,)})
        lengths = [text_lengths(source, self.processor.tokenize) for source in sources]
        if config.pack:
            return Packed(plan, lengths, config.pack_length or config.max_length, config.pack)
        edges = config.buckets or buckets(config.max_length)
        edges = sorted({min(edge, config.max_length) for edge in edges})
        return Bucketed(plan, lengths, tuple(edges))

    def _pipeline(self, sources: list[Source], plan: Any, transforms: tuple[Any, ...]) -> Pipeline:
        data, execution = self.options.data, self.options.execution
        return Pipeline(
            sources,
            plan,
            transforms,
            seed=self.options.seed,
            max_corrupt_share=data.max_corrupt_share,
            cache_bytes=data.cache_bytes,
            threads=execution.threads,
            workers=execution.workers,
        )

    def evaluation_pipeline(self, source: Source, batch_size: int) -> Pipeline:
        """Each row once, all captions of a row, in order."""
        shape = {"text": text_shape(source, self.processor.tokenize)}
        return self._pipeline(
            [source], Sequential(len(source), batch_size, shape=shape), self.processor.evaluate
        )

    @functools.cached_property
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """One global batch of the train step, as it is on the devices."""
        spec = on_device(self.pipeline.spec)
        return {
            name: jax.ShapeDtypeStruct(field.shape, field.dtype) for name, field in spec.items()
        }

    @functools.cached_property
    @checked()
    def spec(self) -> state.StateSpec:
        """Shapes, axes and shardings of the state."""
        o = self.options
        return state.specify(
            self.task,
            self.shapes,
            o.optimizer,
            self.mesh,
            o.execution.mesh,
            steps=o.train.steps,
            seed=o.seed,
            ema=o.ema,
        )

    def batches(self, pipeline: Pipeline, start: int, stop: int, corrupt: int = 0) -> Any:
        """This process's rows of the batches of a pipeline, read ahead.

        corrupt: how many of its rows before `start` were.
        """
        with checked("execution.mesh"):
            part, parts = sharding.part_of_batch(self.mesh)
        return pipeline.batches(start, stop, part, parts, corrupt)

    def put(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """A process's own rows -> global arrays, rows over the devices."""
        where = sharding.batch_sharding(self.mesh)
        return {
            name: jax.make_array_from_process_local_data(where, value)
            for name, value in on_device(batch).items()
        }

    def weights(self, params: Any, teachers: Mapping[str, Any], kind: str) -> Any:
        """The parameters that an evaluation uses: "raw", or a teacher's copy over them."""
        if kind == "raw" or (kind == "ema" and kind not in teachers):
            return params
        if kind not in teachers:
            raise ConfigError(f"weights {kind!r}: the run keeps {', '.join(['raw', *teachers])}")
        return tree.unflatten({**tree.flatten(params), **tree.flatten(teachers[kind])})


def on_device(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a step gets; what only the host counts stays behind."""
    return {name: value for name, value in arrays.items() if not name.endswith("_truncated")}
