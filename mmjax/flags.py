"""A command's flags, from the fields of its Options.

* A field is a flag of its name, its comment the help, its default the default: `workdir: str = ""`
  is `--workdir=...`. Tuples are written with commas between, bools are switches.
* `--config.optimizer.clip_norm=0.5` changes a field of the run's config; for commands that have a
  `config`, such settings are in `changes`.
"""

from __future__ import annotations

import argparse
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

from mmjax.schema import ConfigError, field_comments

CHANGE = re.compile(r"--config\.([^=]+=.*)", re.DOTALL)


def parse(options: type, arguments: Sequence[str], *, name: str, about: str = "") -> Any:
    """The dataclass `options` from the words of a command line.

    Args:
      name: of the command, for its usage.
      about: what is said of it at `--help`.

    Raises:
      ConfigError: settings of a config, for a command that has none.
      SystemExit: a word that cannot be used, or `--help`; the usage is printed.
    """
    changes = [found[1] for word in arguments if (found := CHANGE.fullmatch(word))]
    words = [word for word in arguments if not CHANGE.fullmatch(word)]
    hints = typing.get_type_hints(options)
    comments = field_comments(options)
    parser = argparse.ArgumentParser(
        name, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [field for field in fields(options) if field.name != "changes"]
    for field in known:
        _add(parser, field, hints[field.name], comments.get(field.name, ""))
    values = vars(parser.parse_args(words))
    if any(field.name == "changes" for field in fields(options)):
        values["changes"] = tuple(changes)
    elif changes:
        raise ConfigError(f"{name} reads no config, so --config.{changes[0]} changes nothing")
    return options(**values)


def _add(parser: argparse.ArgumentParser, field: Field, kind: Any, help: str) -> None:
    flag = "--" + field.name
    # a command says itself what it cannot do without
    default = "" if field.default is MISSING else field.default
    help = help.replace("%", "%%")
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=help)
        return
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None
    parser.add_argument(
        flag,
        default=default,
        type=_reader(kind),
        choices=choices,
        help=help,
    )


def _reader(kind: Any) -> Any:
    """From a word to a value of the field's type."""
    if typing.get_origin(kind) is tuple:
        return lambda word: tuple(part for part in word.split(",") if part)
    if isinstance(kind, types.UnionType):  # int | None
        return next(one for one in typing.get_args(kind) if one is not types.NoneType)
    return kind if kind in (int, float) else str
