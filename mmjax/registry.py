"""Finding a part of the project by the name that a config gives it.

* The import path is the registry: "clip" in the room "mmjax.models" is the module
  mmjax.models.clip. There is no table to keep in step and nothing to decorate.
* A dotted name is a full path, to a module or to something inside one, so an experiment plugs
  in its own part without touching mmjax: "experiments.mine.model" or "my_package.data.Config".
* A wrong name lists what exists. An error raised while the module is imported is shown as
  itself: a missing dependency is not a wrong name.
"""

import difflib
import importlib
import importlib.util
import pkgutil
import sys
from typing import Any

from mmjax.config import ConfigError

SOURCES = ("mmjax.datasets", "mmjax.readers")  # rooms where a data set's name is looked for


def names(*rooms: str) -> tuple[str, ...]:
    """The names that `find(rooms, name)` knows, in alphabetical order; a room inside is no part."""
    packages = [importlib.import_module(room) for room in rooms]
    places = [place for package in packages for place in package.__path__]
    found = {module.name for module in pkgutil.iter_modules(places) if not module.ispkg}
    return tuple(sorted(name for name in found if not name.startswith("_")))


def find(room: str | tuple[str, ...], name: str, *, where: str = "name") -> Any:
    """The module called `name` in `room`, or whatever a dotted `name` leads to.

    Args:
        room: an importable package, "mmjax.models", or several: the first that has it.
        name: a module of the room, "clip"; or a full import path, "experiments.mine.Model".
        where: the config key that holds the name ("model.name"), for the message.

    Raises:
        ConfigError: nothing is called that; the message lists what is.
    """
    rooms = (room,) if isinstance(room, str) else room
    if not name:
        raise ConfigError(f"{where}: '' is not a name. {_choices(rooms)}")
    if "." in name:
        return _follow(name, where)
    known = names(*rooms)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(
            f"{where}: there is no {name!r} in {' and '.join(rooms)}.{hint}\n  {_choices(rooms)}"
        )
    owner = next(room for room in rooms if name in names(room))
    return importlib.import_module(f"{owner}.{name}")


def imported(room: str, name: str, needs: tuple[str, ...], where: str) -> Any:
    """As `find`, for names that come from a file: opening a file imports no code from elsewhere.

    Args:
        needs: what the module has to have.

    Raises:
        ConfigError: nothing of the room is called that; a full path to a module that the program
            has not imported by itself, or that is no such part.
    """
    if "." not in name:
        return find(room, name, where=where)
    module = sys.modules.get(name)
    if module is None:
        raise ConfigError(
            f"{where}: {name!r} is no part of {room}, and a file does not decide what is imported: "
            f"if you trust it, `import {name}` first"
        )
    lacking = [part for part in needs if not hasattr(module, part)]
    if lacking:
        raise ConfigError(f"{where}: {name} is no part of {room}: it has no {', '.join(lacking)}")
    return module


def called(room: str, module: str) -> str:
    """The name by which `find` finds a module: short inside the room, else its full path."""
    short = module.removeprefix(f"{room}.")
    return module if "." in short else short


def _follow(path: str, where: str) -> Any:
    """Imports as many leading parts of `path` as are modules; the rest are attributes."""
    parts = path.split(".")
    found = None
    done = ""
    for part in parts:
        longer = f"{done}.{part}" if done else part
        if found is not None and hasattr(found, part):
            found = getattr(found, part)
            done = longer
            continue
        # find_spec looks without importing, so that an ImportError below comes from inside.
        inside_package = found is None or hasattr(found, "__path__")
        if part and inside_package and importlib.util.find_spec(longer) is not None:
            found = importlib.import_module(longer)
            done = longer
            continue
        raise ConfigError(f"{where}: {path!r} leads nowhere. {_dead_end(found, done, part)}")
    return found


def _dead_end(found: Any, done: str, part: str) -> str:
    if found is None:
        return (
            f"There is no module {part!r} to import. A dotted name is a full import path; is its "
            f"folder the current one or on PYTHONPATH?"
        )
    inside = [name for name in dir(found) if not name.startswith("_")]
    if hasattr(found, "__path__"):
        inside += [module.name for module in pkgutil.iter_modules(found.__path__)]
    nearest = difflib.get_close_matches(part, inside, n=1)
    hint = f" Did you mean {done}.{nearest[0]}?" if nearest else ""
    return f"{done} has no {part!r}.{hint}"


def _choices(rooms: tuple[str, ...]) -> str:
    known = ', '.join(names(*rooms)) or '(nothing)'
    return f"{' and '.join(rooms)} has: {known}. A dotted name is a full path."
