"""A model applied to raw fields: its processor makes the arguments, and each call is compiled.

* A field is called as the data calls it; which argument of the model it becomes is the processor's
  affair (`arguments`).
* Each question is compiled once for each shape.

Letters: B rows, L tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.layers.adapters import Adapted
from mmjax.processors.base import Processor
from mmjax.processors.raw import several

STATES = "intermediates"  # the collection of hidden states: layers/stack.py
LENGTHS = 16  # texts to embed are padded to a multiple of so many tokens, to compile for few


class Applied:
    """A model, its parameters and what prepares its inputs."""

    model: Any  # a module, or one with adapters
    params: Mapping[str, Any]
    processor: Processor | None  # None: inputs are prepared by the caller

    @property
    def takes(self) -> tuple[str, ...]:
        """The raw fields that may be given; () where there is no processor."""
        return () if self.processor is None else self.processor.takes

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
        longest = getattr(tower, "longest", getattr(tower, "context_length", None))
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


def by_path(collection: Mapping[str, Any], last: str) -> dict[str, Any]:
    """What was sown, by the path of who sowed it."""
    out = {}
    for path, values in tree.flatten(collection).items():
        out[path.removesuffix(f"/{last}")] = values[0] if len(values) == 1 else values
    return out
