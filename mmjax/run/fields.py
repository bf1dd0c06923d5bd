"""Every field of a config in a line: its value, type, default and help.

* The help is the comment beside a field, the default the field's: both are read where they live.
* Without a value, a field has its default; sizes of a model and a task may follow from the data.
* A sub-tree with a `name` shows the fields of what the name finds; a mapping and a tuple show those
  of their members.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from mmjax import registry, schema
from mmjax.config import Spec, merged, to_dict
from mmjax.schema import field_comments, spelled

# rooms where a `name` is looked for, by the field of the options that holds it
ROOMS: Mapping[str, str | tuple[str, ...]] = {
    "model": "mmjax.models",
    "task": "mmjax.tasks",
    "tasks": "mmjax.tasks",
    "processor": "mmjax.processors",
    "train": registry.SOURCES,
    "source": registry.SOURCES,
    "evaluator": "mmjax.evaluation",
    "baseline": "mmjax.evaluation",
}
LONGEST = 80  # letters of a value that are shown


@dataclasses.dataclass(frozen=True)
class Line:
    """A field of a config."""

    path: str  # dotted
    type: str  # as messages spell it; "" for a sub-tree, whose fields follow
    value: str  # as Python writes it; "" where the config says nothing
    default: str  # likewise; "" where there is none
    help: str  # "" where the source says nothing

    def __str__(self) -> str:
        words = f"{self.path}: {self.type}".rstrip()
        if self.value:
            words += f" = {self.value}"
        if self.default and self.default != self.value:
            words += f" (default {self.default})"
        return words + (f"  # {self.help}" if self.help else "")


def lines(options: Any) -> Iterator[Line]:
    """Of built options, in the order of their fields.

    Args:
      options: a dataclass; or its class, whose fields then have the values of their defaults.

    Raises:
      ConfigError: a name that leads nowhere.
    """
    if isinstance(options, type):
        yield from _of(options, {}, "")
    else:
        yield from _of(type(options), to_dict(options), "")


def _of(cls: type, stated: Mapping[str, Any], prefix: str) -> Iterator[Line]:
    """The fields of a dataclass, of which a tree states some."""
    hints = typing.get_type_hints(cls)
    comments = field_comments(cls)
    known = [field for field in dataclasses.fields(cls) if field.init]
    for field in known:
        path = prefix + field.name
        default = _default(field)
        value = stated.get(field.name, default)
        usual = type(field.default)  # of a choice that does not say its name
        sub_trees = list(_sub_trees(hints[field.name], value, usual))
        line = Line(path, "", "", "", comments.get(field.name, ""))
        if not sub_trees:
            said = _short(value) if field.name in stated else ""
            kind = spelled(hints[field.name])
            line = dataclasses.replace(line, type=kind, value=said, default=_short(default))
        yield line
        for suffix, member, tree in sub_trees:
            yield from _member(member, tree, path + suffix, field.name)
    names = {field.name for field in known}
    for key in stated:
        if key not in names | {"name", "variant"}:
            yield Line(prefix + key, "", _short(stated[key]), "", "NO SUCH FIELD: it is refused")


def _member(member: type, tree: Mapping[str, Any], path: str, field: str) -> Iterator[Line]:
    """The fields of a sub-tree: those of its dataclass, or of what a `Spec` names."""
    if member is not Spec:
        yield from _of(member, _with_variant(sys.modules[member.__module__], tree), f"{path}.")
        return
    name = str(tree["name"])
    rest = {key: value for key, value in tree.items() if key != "name"}
    yield Line(f"{path}.name", "str", repr(name), "", "")
    if field == "train" and "weight" in rest:
        yield Line(f"{path}.weight", "float", _short(rest.pop("weight")), "", "in the mixture")
    module = None if name.startswith("@") else registry.find(ROOMS[field], name, where=path)
    if hasattr(module, "Config"):
        yield from _of(module.Config, _with_variant(module, rest), f"{path}.")
    else:  # what another part of the config is, with changes
        yield from (Line(f"{path}.{key}", "", _short(value), "", "") for key, value in rest.items())


def _with_variant(module: Any, tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tree with the row of VARIANTS that it names below its own fields."""
    row = getattr(module, "VARIANTS", {}).get(tree.get("variant"))
    return tree if row is None else merged(to_dict(row), tree)


def _sub_trees(hint: Any, value: Any, usual: type) -> Iterator[tuple[str, type, Mapping]]:
    """(what its path ends with, dataclass or `Spec`, tree) of each sub-tree in a field's value."""
    inner = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if hint is Spec and isinstance(value, str):
        yield "", Spec, {"name": value}
    elif isinstance(value, Mapping) and dataclasses.is_dataclass(hint):
        yield "", hint, value
    elif isinstance(value, Mapping) and origin in (dict, collections.abc.Mapping):
        for key, one in value.items():
            for suffix, member, tree in _sub_trees(inner[1], one, usual):
                yield f".{key}{suffix}", member, tree
    elif isinstance(value, tuple) and origin is tuple:
        for number, one in enumerate(value):
            for suffix, member, tree in _sub_trees(inner[0], one, usual):
                yield f".{number}{suffix}", member, tree
    elif isinstance(value, str | Mapping) and Spec in inner:
        yield from _sub_trees(Spec, value, usual)
    elif isinstance(value, Mapping):
        choices = schema.members(hint)
        named = [cls for cls, names in choices.items() if value.get("name") in names]
        for cls in (named or [cls for cls in choices if cls is usual] or list(choices))[:1]:
            yield "", cls, value


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return to_dict(field.default_factory())
    return to_dict(field.default)


def _short(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "none"
    words = repr(value)
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}..."
