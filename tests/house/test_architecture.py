"""The rules of the house, read from the source: stairs, names, sizes, docstrings, dependencies.

* A file imports only its own room or a lower stair; rooms on one stair do not know each other.
  Imports inside functions and under TYPE_CHECKING count: an import that has to hide is one too
  many. `mmjax/__init__.py` is the public face and may reach anything, lazily.
* Importing mmjax must never need torch, TensorFlow or transformers.
"""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmjax import config
from mmjax.comments import comment_of, comments_by_line

ROOT = Path(__file__).resolve().parents[2]

STAIRS = (
    ("typing", "comments", "schema", "config", "registry", "tree", "errors", "flags", "terminal"),
    ("layers", "objectives", "tokenizers"),
    ("models", "data"),
    ("readers", "transforms"),
    ("datasets",),
    ("processors",),
    ("generation", "conversion", "streaming"),
    ("tasks",),
    ("training", "evaluation"),
    ("report",),
    ("run",),
    ("commands",),
    ("main",),
)
STAIR = {room: stair for stair, rooms in enumerate(STAIRS) for room in rooms}

FOREIGN = {"torch", "torchvision", "tensorflow", "transformers", "open_clip", "diffusers"}
FORBIDDEN_NAMES = {"utils", "util", "common", "misc", "lib", "helpers", "helper"}
# Where the name to import differs from the name to install.
INSTALLED_AS = {
    "PIL": "pillow", "absl": "absl-py", "orbax": "orbax-checkpoint",
    "tensorflow_datasets": "tensorflow-datasets",
}  # fmt: skip

SOURCES = sorted((ROOT / "mmjax").rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
PYTHON = sorted(
    [ROOT / "setup.py", *SOURCES, *CONFIGS]
    + [p for folder in ("tests", "experiments") for p in (ROOT / folder).rglob("*.py")]
)


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda p: str(p.relative_to(ROOT)))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of every import, wherever it stands in the file."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield node.lineno, node.args[0].value


def tracked() -> list[Path]:
    """Files that git knows or would add; without git, all but what no checkout holds."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = [p for p in ROOT.rglob("*") if not {".git", ".venv"} & set(p.parts)]
    return sorted(path for path in found if path.is_file())


ROOMS = sorted({path.parent for path in SOURCES} - {ROOT / "mmjax"})


def test_every_room_has_a_stair():
    rooms = {path.relative_to(ROOT / "mmjax").parts[0].removesuffix(".py") for path in SOURCES}
    assert rooms - {"__init__"} <= set(STAIR)


@each([path for path in SOURCES if path != ROOT / "mmjax" / "__init__.py"])
def test_imports_go_down_the_stairs(path):
    room = path.relative_to(ROOT / "mmjax").parts[0].removesuffix(".py")
    wrong = []
    for line, name in imported(path):
        parts = name.split(".")
        if parts[0] != "mmjax":
            continue
        target = parts[1] if len(parts) > 1 else "__init__"
        lower = STAIR.get(target, len(STAIRS)) < STAIR[room]
        ground = STAIR.get(target) == STAIR[room] == 0  # the files of stair 0 are one room
        if not (lower or ground or target == room):
            wrong.append(f"line {line}: {name}")
    assert not wrong, f"{room} stands on stair {STAIR[room]} and imports {wrong}"


def inside(room: str) -> dict[str, set[str]]:
    """Of each file of a room, the other files of it that it imports."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    mine = {name for name in files if f"{name}.".startswith(f"mmjax.{room}.")}
    graph = {}
    for name in mine:
        # "mmjax.layers.cache.Cache" is the file "mmjax.layers.cache": the longest that is one
        targets = [target for _, target in imported(files[name])]
        parents = [target.rpartition(".")[0] for target in targets]
        found = {t if t in mine else p for t, p in zip(targets, parents, strict=True)}
        graph[name] = (found & mine) - {name}
    return graph


@each([room for room in ROOMS if room.parent == ROOT / "mmjax"])
def test_no_circles_inside_a_room(path):
    graph = inside(path.name)
    while graph:
        ends = {name for name, targets in graph.items() if not targets & graph.keys()}
        assert ends, f"these import each other: {', '.join(sorted(graph))}"
        graph = {name: targets for name, targets in graph.items() if name not in ends}


@each(ROOMS)
def test_no_room_is_crowded(path):
    files = [one for one in path.glob("*.py") if one.name != "__init__.py"]
    assert len(files) <= 30, f"{path.name} has {len(files)} files: split it by what they are"


@each(SOURCES)
def test_no_foreign_framework_and_no_experiments(path):
    tops = {name.split(".")[0] for _, name in imported(path)}
    assert not tops & (FOREIGN | {"experiments", "tests", "configs"})


@each(PYTHON)
def test_names_and_size(path):
    assert not {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} & FORBIDDEN_NAMES
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400
    too_long = [number for number, line in enumerate(lines, 1) if len(line) > 100]
    assert not too_long, f"lines of more than 100 columns: {too_long}"


@each(SOURCES)
def test_public_things_have_docstrings(path):
    module = parsed(path)
    if path.name == "__init__.py" and not module.body:
        return
    public = [
        node
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    missing = [] if ast.get_docstring(module) else ["the module"]
    missing += [
        f"{node.name} (line {node.lineno})"
        for node in public
        # A dataclass may be explained field by field instead, and a few lines say what they do.
        if not ast.get_docstring(node) and uncommented(path, node) != [] and not is_short(node)
    ]
    assert not missing, f"without a docstring: {missing}"


def is_short(node: ast.AST) -> bool:
    """Whether it is a function of at most three lines behind its signature."""
    if not isinstance(node, ast.FunctionDef):
        return False
    return node.end_lineno - node.body[0].lineno < 3


@each(SOURCES)
def test_config_fields_have_comments(path):
    bare = {
        node.name: uncommented(path, node)
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and node.name in ("Config", "Options")
    }
    assert not any(bare.values()), f"the comment is the help beside a wrong value: {bare}"


def uncommented(path: Path, node: ast.AST) -> list[str] | None:
    """The fields of a class that have no comment; None for a function or a class of no fields."""
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    if not isinstance(node, ast.ClassDef) or not fields:
        return None
    comments = comments_by_line(path.read_text(encoding="utf-8"))
    return [ast.unparse(item.target) for item in fields if not comment_of(item, comments)]


@each(CONFIGS)
def test_configs_explain_themselves(path):
    docstring = ast.get_docstring(parsed(path)) or ""
    assert docstring, "a config says what it runs"
    if path.name == "base.py" or path.parent.name == "recipes":
        return
    name = path.relative_to(ROOT).as_posix()
    assert f"python -m mmjax.main --config={name}" in docstring, "its docstring gives its command"
    config.load(path)
    config.load(f"{path}:smoke")


def test_dependencies_are_declared_and_used():
    declared = installed_names((ROOT / "requirements.txt").read_text().splitlines())
    used = third_party(SOURCES)
    idle = declared - used - {"importlib_resources"}  # tensorflow-datasets needs it undeclared
    assert not idle, "in requirements.txt, but imported nowhere"

    keywords = {
        keyword.arg: keyword.value
        for node in ast.walk(parsed(ROOT / "setup.py"))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }
    extras = ast.literal_eval(keywords["extras_require"])
    optional = {one for name in extras if name != "test" for one in installed_names(extras[name])}
    assert not used - declared - optional, "imported, but neither in requirements.txt nor an extra"
    rooms = [path for path in (ROOT / "tests").rglob("*.py") if "golden" not in path.parts]
    # what the live comparison needs, .ci/run installs for that stage alone
    live = FOREIGN | {"peft", "sentencepiece", "faster_whisper"}
    assert not third_party(rooms) - declared - installed_names(extras["test"]) - live


TEST_ROOMS = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"tokenizers"}


def installed_names(lines: list[str]) -> set[str]:
    lines = [line for line in lines if line and not line.startswith("#")]
    return {re.match(r"[A-Za-z0-9_.-]+", line)[0].lower() for line in lines}


def third_party(paths) -> set[str]:
    tops = {name.split(".")[0] for path in paths for _, name in imported(path)}
    tops -= set(sys.stdlib_module_names) | {"mmjax", "experiments", "tests", ""}
    local = {path.stem for path in (ROOT / "tests").glob("*.py")} | TEST_ROOMS
    return {INSTALLED_AS.get(top, top).lower() for top in tops - local}


@each(tracked())
def test_nothing_points_outside(path):
    text = path.read_bytes().decode("utf-8", errors="replace")
    if path == Path(__file__) or "\0" in text:
        return
    places = re.findall(r"(?<![\w.])(?:/root|/home|/Users|/work)/[\w.]+|(?<![\w/])shared/\w+", text)
    assert not places, f"names places that another machine does not have: {places}"
