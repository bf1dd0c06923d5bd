"""Config files, their variants and overrides, and the comparison of configs.

* A config file is Python with `get_config()` and, if it likes, `VARIANTS`, differences by name:

      VARIANTS = {"smoke": dict(steps=10, data=dict(batch_size=8))}

      def get_config():
          config = relative(__file__, "../base.py")
          config.optimizer.learning_rate = 1e-3
          return config

  `load("configs/x.py:smoke,steps=20", ["optimizer.groups.0.decay=0.1"])` runs it, then applies
  the variants, then each key=value. Values are Python literals; what is none is a string.
* `relative(__file__, path)` is how a config file builds on another: it works from any working
  directory, and no package called `configs` has to be importable.
* Values are read here and judged at the door: `build(cls, tree)` turns each sub-tree into a frozen
  dataclass, where the defaults and the help (the comment beside a field) live.
* A sub-tree with a `name` is read by whatever the name finds, so any key is let into it: a `Spec`
  from anywhere, or a member of a union of dataclasses (schema.py).
* A variant is merged into the config key by key. It replaces a sub-tree if it gives it another
  name, and a tuple always; "optimizer.groups.0.warmup" as a key reaches into one.

References inside a ConfigDict are resolved before variants and overrides are applied; a number
that follows from another one is better derived in the dataclass that reads both.
"""

import ast
import difflib
import hashlib
import importlib.util
import json
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmjax.comments import comment_of, comments_by_line
from mmjax.schema import ConfigError, Spec, build, elsewhere, merged, nearest, plain, to_dict

__all__ = [
    "ConfigError", "Spec", "build", "difference", "fingerprint", "load", "merged", "relative",
    "to_dict",
]  # fmt: skip

_PACKAGE = Path(__file__).resolve().parent
_HOMES = (_PACKAGE.parent, _PACKAGE)  # of `configs`: beside mmjax in a checkout, inside installed


def load(
    path_and_arguments: str | Path, overrides: Sequence[str] = (), *, schema: type | None = None
) -> ConfigDict:
    """Runs a config file and applies its arguments and `overrides`.

    Args:
        path_and_arguments: "configs/x.py" or "configs/x.py:smoke,steps=20": variants and
            key=value pairs. A relative path is looked for from the working directory, then from
            the folder that holds mmjax, then in the installed package.
        overrides: more "a.b.c=value", applied last. An element of a tuple goes by its index.
        schema: the dataclass that will read the config. With it, an override may set any field
            the dataclass has, and the whole config is checked at once; without it, a key must
            exist in the config, or lie below a `name` or in an empty sub-tree.

    Returns:
        the config as an unlocked ConfigDict that leaves types to the door, tuples for lists.

    Raises:
        ConfigError: no such file, no get_config, unknown variant or key, unreadable value.
    """
    name, colon, arguments = str(path_and_arguments).partition(".py:")
    path = _existing(name + ".py" if colon else name)
    module = _run(path)
    tree = plain(module.get_config())
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: get_config() returned {tree!r}; it returns a ConfigDict.")
    known = getattr(module, "VARIANTS", {})
    variants, settings = _arguments(arguments)
    for variant in variants:
        if variant not in known:
            raise ConfigError(_no_variant(variant, known, path))
        tree = _merge(tree, known[variant])
    for setting in [*settings, *overrides]:
        tree = _set(tree, setting, None if schema else path)
    if schema is not None:
        build(schema, tree)
    return ConfigDict(tree, type_safe=False)


def relative(file: str, path_and_arguments: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Loads the config at a path relative to the config file `file` (write `__file__`)."""
    return load(Path(file).resolve().parent / path_and_arguments, overrides)


def variants(file: str, path: str) -> dict[str, Any]:
    """The VARIANTS of the config at a path relative to the config file `file`, to take over."""
    return dict(getattr(_run(_existing(str(Path(file).resolve().parent / path))), "VARIANTS", {}))


def fingerprint(config: Any) -> str:
    """A sha256 (64 hex digits) of the values alone: the order of keys does not matter.

    Raises:
        ConfigError: a value that JSON cannot hold.
    """
    text = json.dumps(to_dict(config), sort_keys=True, separators=(",", ":"), default=_unsavable)
    return hashlib.sha256(text.encode()).hexdigest()


def difference(a: Any, b: Any) -> list[str]:
    """One line for each dotted path whose values differ: "steps: 100 -> 200"."""
    left = dict(_leaves(to_dict(a)))
    right = dict(_leaves(to_dict(b)))
    lines = []
    for path in dict.fromkeys([*left, *right]):
        old = repr(left[path]) if path in left else "(absent)"
        new = repr(right[path]) if path in right else "(absent)"
        if old != new:
            lines.append(f"{path}: {old} -> {new}")
    return lines


# Files.


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    for candidate in (path, *(home / path for home in _HOMES)):
        if candidate.is_file():
            return candidate.resolve()
    if ":" in path.name:
        raise ConfigError(f"{name}: write the file with its .py before the colon, x.py:smoke")
    folders = [path.parent, Path("configs"), *(home / "configs" for home in _HOMES)]
    nearby = {p.stem: p for folder in folders if folder.is_dir() for p in folder.rglob("*.py")}
    near = [str(nearby[n]) for n in difflib.get_close_matches(path.stem, nearby, n=3, cutoff=0.5)]
    hint = f" Near it: {', '.join(near)}." if near else ""
    what = "is a folder, not a config file" if path.is_dir() else "does not exist"
    raise ConfigError(f"{name} {what} (working directory {Path.cwd()}).{hint}")


def _run(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None:
        raise ConfigError(f"{path}: a config file is Python and ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # an error inside the file is shown as itself
    if not callable(getattr(module, "get_config", None)):
        raise ConfigError(f"{path}: a config file defines get_config(), and this one does not.")
    return module


def _arguments(text: str) -> tuple[list[str], list[str]]:
    """Splits "smoke,sizes=(1, 2),x=a" at its outer commas into variants and key=value pairs."""
    pieces = [""]
    depth = 0
    quote = ""
    for letter in text:
        if letter == "," and not depth and not quote:
            pieces.append("")
            continue
        pieces[-1] += letter
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([{") - (letter in ")]}")
    if depth or quote:
        raise ConfigError(f"A bracket or a quote is left open in {text!r}.")
    pieces = [piece.strip() for piece in pieces if piece.strip()]
    return [p for p in pieces if "=" not in p], [p for p in pieces if "=" in p]


def _no_variant(variant: str, known: dict, path: Path) -> str:
    have = f"has the variants {', '.join(known)}" if known else "has no VARIANTS"
    near = nearest(variant, known)
    hint = f" Did you mean {near!r}?" if near else ""
    return f"There is no variant {variant!r}: {path} {have}.{hint}"


# Changes to the tree.


def _merge(tree: Any, change: Any) -> Any:
    change = plain(change)
    if not isinstance(change, dict):
        return change
    if not isinstance(tree, dict) or change.get("name", tree.get("name")) != tree.get("name"):
        tree = {}
    for key, value in change.items():
        tree = _put(tree, key.split("."), lambda old, value=value: _merge(old, value))
    return tree


def _set(tree: dict, setting: str, file: Path | None) -> dict:
    key, equals, text = setting.partition("=")
    key = key.strip()
    text = text.strip()
    if not equals or not key:
        raise ConfigError(f"{setting!r} is not key=value, as in optimizer.clip_norm=2.0")

    def refuse(where: str, siblings: dict) -> ConfigError:
        return ConfigError(_no_key(where, siblings, tree, file))

    strict = refuse if file is not None else None
    return _put(tree, key.split("."), lambda old: _value(text, old, key), strict)


def _put(
    tree: Any, keys: list[str], change: Callable, refuse: Callable | None = None, where: str = ""
) -> Any:
    """A copy of `tree` with the value at `keys` replaced by change(old value)."""
    if not keys:
        return change(tree)
    key, *rest = keys
    here = f"{where}.{key}" if where else key
    if isinstance(tree, tuple):
        if not key.isdecimal() or int(key) >= len(tree):
            raise ConfigError(f"{here}: {where} has {len(tree)} elements, numbered from 0.")
        index = int(key)
        return (*tree[:index], _put(tree[index], rest, change, refuse, here), *tree[index + 1 :])
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{here}: {where} is {tree!r}, which has no parts.")
    tree = tree or {}
    if not tree or (where and "name" in tree):
        refuse = None  # what may stand here is known only to whoever reads it
    if refuse is not None and key not in tree:
        raise refuse(here, tree)
    return {**tree, key: _put(tree.get(key), rest, change, refuse, here)}


def _value(text: str, old: Any, key: str) -> Any:
    try:
        value = plain(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        if text[:1] in tuple("([{'\""):
            raise ConfigError(f"{key}: {text} is not a Python literal.") from None
        return text
    if type(old) is float and type(value) is int:
        return float(value)
    if isinstance(old, str) and isinstance(value, bool | int | float):
        return text  # a folder may be called 2024
    return value


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        of_dicts = isinstance(value, tuple) and any(isinstance(item, dict) for item in value)
        if value and (isinstance(value, dict) or of_dicts):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _unsavable(value: Any) -> Any:
    raise ConfigError(f"{value!r} ({type(value).__name__}) cannot be saved as part of a config.")


# Help, from the comments of the config files themselves.


def _no_key(where: str, siblings: dict, tree: dict, file: Path) -> str:
    parent, _, key = where.rpartition(".")
    path = elsewhere(key, dict(_leaves(tree)))
    near = nearest(key, siblings)
    if path is None and near:
        path = f"{parent}.{near}".lstrip(".")
    comment = _tree_comments(file).get(path) if path else None
    words = f"  # {comment}" if comment else ""
    hint = f"\n  Did you mean {path}?{words}" if path else ""
    have = f"{parent or 'the config'} has {', '.join(siblings)}"
    return f"{where}: there is no such key; {have}.{hint}"


def _tree_comments(file: Path) -> dict[str, str]:
    """{dotted key: comment} from dict(...) calls, dict displays and attribute assignments."""
    source = file.read_text(encoding="utf-8")
    comments = comments_by_line(source)
    out: dict[str, str] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inside = prefix
            if isinstance(child, ast.keyword) and child.arg:
                inside = note(child, prefix + child.arg)
            elif isinstance(child, ast.Assign) and isinstance(child.targets[0], ast.Attribute):
                inside = note(child, prefix + ast.unparse(child.targets[0]).partition(".")[2])
            elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("relative"):
                base = child.args[1] if len(child.args) > 1 else None
                if isinstance(base, ast.Constant):
                    out.update(_tree_comments(file.parent / base.value.partition(":")[0]))
            elif isinstance(child, ast.Dict):
                for key, value in zip(child.keys, child.values, strict=True):
                    if isinstance(key, ast.Constant):
                        visit(ast.Expr(value), note(value, f"{prefix}{key.value}"))
                continue
            visit(child, inside)

    def note(node: ast.AST, path: str) -> str:
        comment = comment_of(node, comments)
        if comment:
            out[path] = comment
        return path + "."

    visit(ast.parse(source), "")
    return out
