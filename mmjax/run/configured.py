"""From a named sub-tree of a config to a module and its Config, with what the data needs put in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmjax import registry
from mmjax.config import ConfigError, Spec, build, merged, to_dict
from mmjax.processors.base import AtLeast


def configured(
    room: str | tuple[str, ...], spec: Spec, where: str, sizes: Mapping[str, Any] | None = None
) -> tuple[Any, Any]:
    """The module that a sub-tree names, and its Config: the variant's row, then `sizes` as far as
    the Config has such fields, then the sub-tree's own fields.

    Args:
      sizes: by dotted path, what the data needs; of an `AtLeast` the sub-tree may state more.

    Raises:
      ConfigError: an unknown name, variant or field; a field that contradicts `sizes`.
    """
    module = registry.find(room, spec.name, where=f"{where}.name")
    if not hasattr(module, "Config"):
        raise ConfigError(f"{where}.name: {module.__name__} is a part of mmjax that has no config")
    stated = to_dict(spec.options)
    variant = stated.pop("variant", None)
    base: dict[str, Any] = {}
    if variant is not None:
        base = to_dict(_row(module, spec.name, variant, where))
    fields = merged(base, stated)
    needed = {path: value for path, value in (sizes or {}).items() if _begins(module, path)}
    for path, value in needed.items():
        own = _get(stated, path)
        if own is not None:
            _check(own, value, f"{where}.{path}")
    open_paths = {path: value for path, value in needed.items() if _get(stated, path) is None}
    try:
        config = build(module.Config, fields, where=where)
    except ConfigError:  # perhaps a field without a default, which the data gives
        for path, value in open_paths.items():
            _put(fields, path, value)
        return module, build(module.Config, fields, where=where)
    try:
        there = {path: value for path, value in open_paths.items() if _has(config, path)}
        return module, _with(config, there)
    except ValueError as error:  # of a __post_init__, as at the config's door
        raise ConfigError(f"{where}: {error}") from error


def _row(module: Any, name: str, variant: str, where: str) -> Any:
    rows = getattr(module, "VARIANTS", {})
    if variant not in rows:
        raise ConfigError(
            f"{where}.variant: {name} has no {variant!r}; it has {', '.join(rows) or 'none'}"
        )
    return rows[variant]


def _begins(module: Any, path: str) -> bool:
    return path.partition(".")[0] in module.Config.__dataclass_fields__


def _has(config: Any, path: str) -> bool:
    """Whether there is such a field, in the towers that the config has."""
    here = config
    for key in path.split("."):
        if not hasattr(here, key):
            return False
        here = getattr(here, key)
    return True


def _with(config: Any, values: Mapping[str, Any]) -> Any:
    """The config with other values at some paths, put in together: a check of several fields sees
    them all."""
    fields: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        first, _, rest = path.partition(".")
        if rest:
            inside.setdefault(first, {})[rest] = value
        else:
            fields[first] = int(value) if isinstance(value, AtLeast) else value
    for first, below in inside.items():
        fields[first] = _with(getattr(config, first), below)
    return dataclasses.replace(config, **fields)


def _check(stated: Any, needed: Any, where: str) -> None:
    if stated == needed:
        return
    if isinstance(needed, AtLeast) and stated >= needed:
        return
    least = "at least " if isinstance(needed, AtLeast) else ""
    raise ConfigError(f"{where} is {stated}, but the data needs {least}{needed}; leave it out")


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
    nested[last] = int(value) if isinstance(value, AtLeast) else value
