"""The door where a config tree becomes frozen dataclasses, and what a refusal there says.

* `build(cls, tree)` checks every key and value against the dataclass, whose annotations are the
  schema and whose defaults are the defaults; below the door there are no dicts.
* The help in a message is the comment beside the field (or right above it), read from the
  source, so that it is written once.
* A `Spec` is a sub-tree whose `name` picks the class that reads the rest.

Used through `mmjax.config`, which holds the public names.
"""

import ast
import dataclasses
import difflib
import inspect
import io
import textwrap
import tokenize
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import RequiredValueError

from mmjax.errors import UserError

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

    Fields may be bool, int, float, str, Any, Literal, unions (None among them), dataclasses,
    `Spec` (a name alone will do), tuple[X, ...], tuple[X, Y] and Mapping[str, X], in any nesting.
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
    kinds, comments = typing.get_type_hints(cls), field_comments(cls)
    notes = {name: _note(f, kinds[name], comments.get(name, "")) for name, f in fields.items()}
    prefix = f"{where}." if where else ""
    for key, value in tree.items():
        if key not in fields:
            raise ConfigError(f"{prefix}{key} = {value!r}: {_unknown(cls, key, notes, prefix)}")
    values = {}
    for name, field in fields.items():
        if name in tree:
            values[name] = _convert(kinds[name], tree[name], f"{prefix}{name}", notes[name])
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

    Tuples stay tuples; the result is ready for JSON if the fields hold nothing stranger than
    what a config file can hold.
    """
    if isinstance(value, Spec):
        return {"name": value.name, **to_dict(value.options)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return {name: to_dict(getattr(value, name)) for name in names}
    if isinstance(value, ConfigDict | Mapping):
        return {key: to_dict(item) for key, item in plain(value).items()}
    if type(value) in (list, tuple):
        return tuple(to_dict(item) for item in value)
    return value


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


def _convert(kind: Any, value: Any, where: str, note: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind in (Any, object) or type(value) is kind or (kind is type(None) and value is None):
        return value
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where=where)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(kind, value, where, note)
    if origin is typing.Annotated:
        return _convert(args[0], value, where, note)
    if origin is typing.Literal and any(value == a and type(value) is type(a) for a in args):
        return value
    if kind is float and type(value) is int:
        return float(value)
    if origin in (tuple, Sequence) and isinstance(value, tuple):
        each = args[:1] * len(value) if origin is Sequence or args[1:] == (...,) else args
        if len(each) == len(value):
            items = enumerate(zip(each, value, strict=True))
            return tuple(_convert(arg, v, f"{where}.{i}", note) for i, (arg, v) in items)
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _convert(args[1], v, f"{where}.{key}", note) for key, v in value.items()}
    raise _refusal(kind, value, where, note)


def _convert_union(kind: Any, value: Any, where: str, note: str) -> Any:
    members = typing.get_args(kind)
    if type(value) in members:
        return value
    complaints = []
    for member in members:
        try:
            return _convert(member, value, where, note)
        except ConfigError as complaint:
            if isinstance(value, dict | tuple) and member not in (*_SCALARS, type(None)):
                complaints.append(complaint)
    # Where one member alone could have taken the value, its complaint is the precise one.
    raise complaints[0] if len(complaints) == 1 else _refusal(kind, value, where, note)


# What a message says.


def _refusal(kind: Any, value: Any, where: str, note: str) -> ConfigError:
    wanted = typing.get_args(kind) or (kind,)
    choices = [choice for choice in wanted if isinstance(choice, str)]
    hint = ""
    if isinstance(value, str) and nearest(value, choices):
        hint = f" Did you mean {nearest(value, choices)!r}?"
    elif int in wanted and isinstance(value, float) and value.is_integer():
        hint = f" Write {int(value)}."
    elif bool in wanted and str(value).lower() in ("true", "false"):
        hint = f" Write {str(value).capitalize()}."
    elif typing.get_origin(kind) is tuple and not isinstance(value, tuple):
        hint = f" Write a tuple: ({value!r},)."
    elif str in wanted and type(value) in _SCALARS:
        hint = f" Write it in quotes: '{value}'."
    what = "a sub-tree" if isinstance(value, dict) else type(value).__name__
    what = "" if value is None else f" ({what})"
    return ConfigError(f"{where} = {value!r}{what} is not {_spelled(kind)}.{hint}\n  {note}")


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


def _note(field: dataclasses.Field, kind: Any, comment: str) -> str:
    default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
    default = default if len(default) < 60 else ""  # a whole dataclass tells nothing here
    return f"{field.name}: {_spelled(kind)}{default}" + (f"  # {comment}" if comment else "")


def _spelled(kind: Any) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Ellipsis or kind is type(None):
        return "..." if kind is Ellipsis else "None"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spelled(arg) for arg in args)
    if origin is typing.Literal:
        return " or ".join(repr(arg) for arg in args)
    name = getattr(origin or kind, "__name__", str(kind))
    if dataclasses.is_dataclass(kind):
        name = f"a sub-tree for {_called(kind)}"
    return f"{name}[{', '.join(_spelled(arg) for arg in args)}]" if args else name


def _field_paths(cls: type, prefix: str = "", depth: int = 4) -> Iterator[str]:
    for name, kind in typing.get_type_hints(cls).items():
        yield f"{prefix}{name}"
        for member in (kind, *typing.get_args(kind)):
            if dataclasses.is_dataclass(member) and member is not Spec and depth:
                yield from _field_paths(member, f"{prefix}{name}.", depth - 1)


# Comments in the source.


def field_comments(cls: type) -> dict[str, str]:
    """{field: its comment} for a dataclass and its bases; empty where there is no source."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # typed at a prompt
            continue
        comments = comments_by_line(source)
        for node in ast.parse(source).body[0].body:
            if isinstance(node, ast.AnnAssign):
                found[node.target.id] = comment_of(node, comments)
    return found


def comments_by_line(source: str) -> dict[int, tuple[int, bool, str]]:
    """{line: (column, whether the line holds nothing else, text)} of Python source."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        t.start[0]: (t.start[1], not t.line[: t.start[1]].strip(), t.string.lstrip("#: ").rstrip())
        for t in tokens
        if t.type == tokenize.COMMENT
    }


def comment_of(node: Any, comments: Mapping[int, tuple[int, bool, str]]) -> str:
    """The comment beside a syntax node with its continuation below, or else the lines above."""
    words: list[str] = []
    for line in (node.lineno, node.end_lineno):
        if line in comments and not comments[line][1]:
            words = [comments[line][2]]
            break
    else:
        line = node.lineno - 1
        while line in comments and comments[line][:2] == (node.col_offset, True):
            words, line = [comments[line][2], *words], line - 1
        return " ".join(words)
    line += 1
    while line in comments and comments[line][1] and comments[line][0] > node.col_offset:
        words, line = [*words, comments[line][2]], line + 1
    return " ".join(words)
