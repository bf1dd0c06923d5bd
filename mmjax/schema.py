"""The door where a config tree becomes frozen dataclasses, and what a refusal there says.

* `build(cls, tree)` checks every key and value against the dataclass, whose annotations are the
  schema and whose defaults are the defaults; below the door there are no dicts.
* The help in a message is the comment beside the field (or right above it), read from the
  source, so that it is written once.
* A `Spec` is a sub-tree whose `name` picks the class that reads the rest, from anywhere.
* A union of dataclasses (`image: vit.Config | resnet.Config`) is a closed choice: the `name` in
  the sub-tree picks the member, by the last part of the module that defines it ("resnet").
  Without a name it is the class of the field's default, or the only one that has all the keys.
  `variant` picks a row of VARIANTS of that module, to which the other keys are changes.

Used through `mmjax.config`, which holds the public names.
"""

import dataclasses
import difflib
import functools
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import RequiredValueError

from mmjax.comments import field_comments
from mmjax.errors import UserError
from mmjax.typing import Range

_SCALARS = (bool, int, float, str)


class ConfigError(UserError, ValueError):
    """A config that cannot be used: says what is wrong, where, and what would be right."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A sub-tree whose `name` picks the class that reads the rest, found by the registry."""

    name: str  # a module of the room ("clip"), or a full import path
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # all other keys


def build(cls: type, tree: Any, *, where: str = "config") -> Any:
    """The dataclass `cls` from a tree, with every key and value checked on the way.

    Fields may be bool, int, float, str, Any, Literal, unions (None among them), dataclasses, `Spec`
    (a name alone will do), tuple[X, ...], tuple[X, Y], Mapping[str, X] and a type with its range
    (`mmjax.typing.Positive`), in any nesting.
    An int passes for a float; a float never for an int, a bool for neither.

    Args:
        cls: a dataclass. ValueErrors of its __post_init__ are raised again with their place.
        tree: a ConfigDict or mapping (JSON's lists stand for tuples), or an instance of `cls`.
        where: the dotted path of `tree`, for messages; "" for none.

    Raises:
        ConfigError: names the path, the value, what was expected, and the field's help.
    """
    if isinstance(tree, cls):
        return tree
    tree = plain(tree)
    if cls is Spec:
        return _spec(tree, where)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{where} = {tree!r} is not a sub-tree; {_called(cls)} has the fields "
            f"{', '.join(fields)}."
        )
    annotations = _annotations(cls)
    comments = field_comments(cls)
    notes = {
        name: _note(field, annotations[name], comments.get(name, ""))
        for name, field in fields.items()
    }
    prefix = f"{where}." if where else ""
    for key, value in tree.items():
        if key not in fields:
            raise ConfigError(f"{prefix}{key} = {value!r}: {_unknown(cls, key, notes, prefix)}")
    values = {}
    for name, field in fields.items():
        if name in tree:
            place = _Place(f"{prefix}{name}", notes[name], field.default)
            values[name] = _convert(annotations[name], tree[name], place)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{prefix}{name} is missing and has no default.\n  {notes[name]}")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def to_dict(value: Any) -> Any:
    """Nested plain dicts for a dataclass, ConfigDict or mapping; `build` reads them back.

    Tuples stay tuples, and a member of a union of dataclasses gets its `name`. The result is
    ready for JSON if the fields hold nothing stranger than what a config file can hold.
    """
    return _written(value, {})


def merged(tree: Any, change: Any) -> Any:
    """`tree` with `change` laid over it, key by key; other values replace.

    A sub-tree that has another `name` than the one below it replaces it as a whole.
    """
    if not isinstance(tree, Mapping) or not isinstance(change, Mapping):
        return change
    if "name" in tree and change.get("name", tree["name"]) != tree["name"]:
        return change
    changed = {key: merged(tree.get(key), value) for key, value in change.items()}
    return {**tree, **changed}


def plain(value: Any) -> Any:
    """Dicts for ConfigDicts and mappings, tuples for lists, values for references."""
    if isinstance(value, ConfigDict | Mapping):
        return {key: plain(_given(value, key)) for key in value}
    if type(value) in (list, tuple):
        return tuple(plain(item) for item in value)
    return value


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` was probably meant to be, if any is close."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), None)


def elsewhere(key: str, paths: Iterable[str]) -> str | None:
    """The first dotted path that ends in `key`: the right key at the wrong level."""
    return next((path for path in paths if path.rpartition(".")[2] == key), None)


# Checking and converting one value.


def _given(tree: Mapping | ConfigDict, key: str) -> Any:
    try:
        return tree[key]
    except RequiredValueError:  # a required placeholder: nothing yet, and the door asks for it
        return None


def _spec(tree: Any, where: str) -> Spec:
    tree = {"name": tree} if isinstance(tree, str) else tree
    if not isinstance(tree, dict) or not isinstance(tree.get("name"), str):
        raise ConfigError(
            f"{where} = {tree!r} has no name: write the name of what reads it and its options, "
            f"dict(name='...', ...)."
        )
    return Spec(tree["name"], {key: value for key, value in tree.items() if key != "name"})


class _Place(typing.NamedTuple):
    """Where a value stands, for messages and for what the field says without it."""

    path: str  # dotted
    note: str  # the field's line of help
    default: Any = dataclasses.MISSING  # of the field; a value inside a tuple has none

    def inside(self, key: Any) -> "_Place":
        return _Place(f"{self.path}.{key}", self.note)


def _convert(annotation: Any, value: Any, place: _Place) -> Any:
    origin = typing.get_origin(annotation)
    args = typing.get_args(annotation)
    if (
        annotation in (Any, object)
        or type(value) is annotation
        or (annotation is type(None) and value is None)
    ):
        return value
    if dataclasses.is_dataclass(annotation):
        return build(annotation, value, where=place.path)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(annotation, value, place)
    if origin is typing.Annotated:
        value = _convert(args[0], value, place)
        if all(value in allowed for allowed in _ranges(annotation)):
            return value
    if origin is typing.Literal and any(value == a and type(value) is type(a) for a in args):
        return value
    if annotation is float and type(value) is int:
        return float(value)
    if origin in (tuple, Sequence) and isinstance(value, tuple):
        each = args[:1] * len(value) if origin is Sequence or args[1:] == (...,) else args
        if len(each) == len(value):
            items = enumerate(zip(each, value, strict=True))
            return tuple(_convert(arg, item, place.inside(i)) for i, (arg, item) in items)
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _convert(args[1], item, place.inside(key)) for key, item in value.items()}
    raise _refusal(annotation, value, place)


def _convert_union(annotation: Any, value: Any, place: _Place) -> Any:
    kinds = typing.get_args(annotation)
    choices = members(annotation)
    if type(value) in kinds or isinstance(value, tuple(choices)):
        return value
    if isinstance(value, dict) and choices and (len(choices) > 1 or _names_member(value, choices)):
        return _chosen(choices, value, place)
    complaints = []
    for member in kinds:
        try:
            return _convert(member, value, place)
        except ConfigError as complaint:
            if isinstance(value, dict | tuple) and member not in (*_SCALARS, type(None)):
                complaints.append(complaint)
    # Where one member alone could have taken the value, its complaint is the precise one.
    raise complaints[0] if len(complaints) == 1 else _refusal(annotation, value, place)


def members(annotation: Any) -> dict[type, tuple[str, ...]]:
    """Of each dataclass in a union, the names that select it; the first one is written."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return {}
    classes = [
        member
        for member in typing.get_args(annotation)
        if dataclasses.is_dataclass(member) and member is not Spec
    ]
    spellings = {}
    for cls in classes:
        module = cls.__module__
        spellings[cls] = (module.rpartition(".")[2], module, _called(cls))
    given = [name for names in spellings.values() for name in dict.fromkeys(names)]
    # Two classes of one module have no short name: what would mean both selects neither.
    return {
        cls: tuple(name for name in dict.fromkeys(names) if given.count(name) == 1)
        for cls, names in spellings.items()
    }


def _names_member(tree: Mapping[str, Any], choices: Iterable[type]) -> bool:
    """Whether `name` is the choice of a class, and no field of the only one."""
    fields = {field.name for cls in choices for field in dataclasses.fields(cls)}
    return "name" in tree and "name" not in fields


def _chosen(choices: Mapping[type, tuple[str, ...]], tree: dict, place: _Place) -> Any:
    """The member that a sub-tree asks for, with the sub-tree's fields."""
    written = ", ".join(names[0] for names in choices.values())
    fitting = [one for one in choices if set(tree) <= set(_annotations(one))]
    if "name" in tree:
        name = tree["name"]
        cls = next((cls for cls, names in choices.items() if name in names), None)
        if cls is None:
            near = nearest(str(name), [one for names in choices.values() for one in names])
            hint = f" Did you mean {near!r}?" if near else ""
            raise ConfigError(
                f"{place.path}.name = {name!r} is none of {written}.{hint}\n  {place.note}"
            )
    elif type(place.default) in choices:
        cls = type(place.default)
    elif len(fitting) == 1:
        cls = fitting[0]
    else:
        raise ConfigError(
            f"{place.path} = {tree!r} does not say which it is: give it a name, one of {written}."
            f"\n  {place.note}"
        )
    options = {key: value for key, value in tree.items() if key != "name"}
    fields = {field.name for field in dataclasses.fields(cls)}
    if "variant" in options and "variant" not in fields:
        options = merged(_variant(cls, options.pop("variant"), place), options)
    unknown = set(options) - fields
    if unknown and "name" not in tree:
        for other, names in choices.items():
            if unknown <= {field.name for field in dataclasses.fields(other)}:
                raise ConfigError(
                    f"{place.path} is {choices[cls][0]!r}, which has no {', '.join(unknown)}; "
                    f"{names[0]!r} has. Write name={names[0]!r} beside it."
                )
    return build(cls, options, where=place.path)


def _variant(cls: type, name: Any, place: _Place) -> dict[str, Any]:
    rows = getattr(sys.modules[cls.__module__], "VARIANTS", {})
    if name not in rows:
        near = nearest(str(name), rows)
        hint = f" Did you mean {near!r}?" if near else ""
        raise ConfigError(
            f"{place.path}.variant: {cls.__module__} has no {name!r}; it has "
            f"{', '.join(rows) or 'none'}.{hint}"
        )
    return to_dict(rows[name])


def _written(value: Any, names: Mapping[type, str]) -> Any:
    """`to_dict`; names: of the classes that a field's annotation chooses from."""
    if isinstance(value, Spec):
        return {"name": value.name, **_written(value.options, {})}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        tree = {"name": names[cls]} if cls in names else {}
        for field in dataclasses.fields(value):
            if field.init:
                choices = _written_names(_annotations(cls)[field.name])
                tree[field.name] = _written(getattr(value, field.name), choices)
        return tree
    if isinstance(value, ConfigDict | Mapping):
        return {key: _written(item, names) for key, item in plain(value).items()}
    if type(value) in (list, tuple):
        return tuple(_written(item, names) for item in value)
    return value


def _written_names(annotation: Any) -> dict[type, str]:
    """The name that each class gets which an annotation chooses from, at any depth of it."""
    choices = members(annotation)
    names = {cls: spellings[0] for cls, spellings in choices.items()} if len(choices) > 1 else {}
    for inner in typing.get_args(annotation):
        names |= _written_names(inner)
    return names


def _ranges(annotation: Any) -> list[Range]:
    return [note for note in typing.get_args(annotation)[1:] if isinstance(note, Range)]


@functools.cache
def _annotations(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


# What a message says.


def _refusal(annotation: Any, value: Any, place: _Place) -> ConfigError:
    wanted = typing.get_args(annotation) or (annotation,)
    choices = [choice for choice in wanted if isinstance(choice, str)]
    hint = ""
    if isinstance(value, str) and nearest(value, choices):
        hint = f" Did you mean {nearest(value, choices)!r}?"
    elif int in wanted and isinstance(value, float) and value.is_integer():
        hint = f" Write {int(value)}."
    elif bool in wanted and str(value).lower() in ("true", "false"):
        hint = f" Write {str(value).capitalize()}."
    elif typing.get_origin(annotation) is tuple and not isinstance(value, tuple):
        hint = f" Write a tuple: ({value!r},)."
    elif str in wanted and type(value) in _SCALARS:
        hint = f" Write it in quotes: '{value}'."
    what = "a sub-tree" if isinstance(value, dict) else type(value).__name__
    what = "" if value is None else f" ({what})"
    wrong = f"{place.path} = {value!r}{what}"
    return ConfigError(f"{wrong} is not {spelled(annotation)}.{hint}\n  {place.note}")


def _unknown(cls: type, key: str, notes: Mapping[str, str], prefix: str) -> str:
    near = nearest(str(key), notes)
    deeper = elsewhere(str(key), _field_paths(cls))
    hint = ""
    if deeper:
        hint = f"\n  Did you mean {prefix}{deeper}?"
    elif near:
        hint = f"\n  Did you mean {notes[near]}"
    return f"{_called(cls)} has no such field; it has {', '.join(notes) or 'none'}.{hint}"


def _called(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _note(field: dataclasses.Field, annotation: Any, comment: str) -> str:
    default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
    default = default if len(default) < 60 else ""  # a whole dataclass tells nothing here
    return f"{field.name}: {spelled(annotation)}{default}" + (f"  # {comment}" if comment else "")


def spelled(annotation: Any) -> str:
    """An annotation as messages write it."""
    origin = typing.get_origin(annotation)
    args = typing.get_args(annotation)
    if annotation is Ellipsis or annotation is type(None):
        return "..." if annotation is Ellipsis else "None"
    if origin is typing.Annotated:
        return " ".join([spelled(args[0]), *map(str, _ranges(annotation))])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(spelled(arg) for arg in args)
    if origin is typing.Literal:
        return " or ".join(repr(arg) for arg in args)
    name = getattr(origin or annotation, "__name__", str(annotation))
    if dataclasses.is_dataclass(annotation):
        name = f"a sub-tree for {_called(annotation)}"
    return f"{name}[{', '.join(spelled(arg) for arg in args)}]" if args else name


def _field_paths(cls: type, prefix: str = "", depth: int = 4) -> Iterator[str]:
    for name, annotation in _annotations(cls).items():
        yield f"{prefix}{name}"
        for member in (annotation, *typing.get_args(annotation)):
            if dataclasses.is_dataclass(member) and member is not Spec and depth:
                yield from _field_paths(member, f"{prefix}{name}.", depth - 1)
