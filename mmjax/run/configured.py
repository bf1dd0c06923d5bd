"""From a named sub-tree of a config to a module and its Config, with what the data needs put in."""

from __future__ import annotations

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
    for path, value in (sizes or {}).items():
        if not _has(module, fields, path):
            continue
        own = _get(stated, path)
        if own is None:
            _put(fields, path, value)
        else:
            _check(own, value, f"{where}.{path}")
    return module, build(module.Config, fields, where=where)


def _row(module: Any, name: str, variant: str, where: str) -> Any:
    rows = getattr(module, "VARIANTS", {})
    if variant not in rows:
        raise ConfigError(
            f"{where}.variant: {name} has no {variant!r}; it has {', '.join(rows) or 'none'}"
        )
    return rows[variant]


def _has(module: Any, fields: Mapping[str, Any], path: str) -> bool:
    """Whether the Config has a field at a dotted path, in the tower that the fields choose."""
    first = path.partition(".")[0]
    if first not in module.Config.__dataclass_fields__:
        return False
    try:
        here = build(module.Config, fields)
    except ConfigError:  # what is wrong, or missing without the sizes, is said at the end
        return True
    for key in path.split("."):
        if not hasattr(here, key):
            return False
        here = getattr(here, key)
    return True


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
