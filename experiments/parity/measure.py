"""How far mmjax is from the reference implementations: the live comparisons, and their numbers.

    python experiments/parity/measure.py            # all of tests/parity/test_*.py
    python experiments/parity/measure.py bert clip  # some families

* Needs torch and transformers beside mmjax and pytest (peft and open_clip for theirs); what is not
  installed has no rows.
* The comparisons are the tests' own: every `assert_allclose` of theirs is written down with the
  largest difference it saw, under the name that it was called with.
* Writes parity.json (rows of `family`, `config`, `what`, `max_abs_diff`) and table.md beside this
  file, and leaves the rows of families that were not asked for. A comparison that fails is an
  error, and nothing is written.
"""

import ast
import functools
import json
import linecache
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent.parent / "tests"
PASS_ON = ("close",)  # helpers of the tests that only pass on what they are given


class Recorder:
    """A pytest plugin: what each comparison of a running test came to."""

    def __init__(self):
        self.rows: dict[tuple[str, str, str], float] = {}
        self.test = ("", "")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        family = item.path.stem.removeprefix("test_")
        name = item.name.removeprefix("test_").replace("[", ": ").rstrip("]")
        name = name.removeprefix("parity: ")
        self.test = (family, name)
        original = np.testing.assert_allclose

        @functools.wraps(original)
        def recorded(actual, desired, *arguments, **fields):
            original(actual, desired, *arguments, **fields)
            one, other = (np.asarray(x, np.float64) for x in (actual, desired))
            apart = float(np.abs(one - other).max()) if one.size else 0.0
            key = (*self.test, fields.get("err_msg") or called_with(sys._getframe(1)))
            self.rows[key] = max(apart, self.rows.get(key, 0.0))

        np.testing.assert_allclose = recorded
        try:
            return (yield)
        finally:
            np.testing.assert_allclose = original


def called_with(frame: FrameType) -> str:
    """The first argument of the call that a frame is at, as it is written there."""
    while frame.f_code.co_name in PASS_ON and frame.f_back is not None:
        frame = frame.f_back
    source = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    calls = [
        node
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and node.lineno <= frame.f_lineno <= (node.end_lineno or 0)
    ]
    calls = [one for one in calls if ast.unparse(one.func).endswith(("assert_allclose", *PASS_ON))]
    innermost = max(calls, key=lambda one: (one.lineno, one.col_offset), default=None)
    if innermost is None or not innermost.args:
        return frame.f_code.co_name
    first = innermost.args[0]
    if "field" in {node.id for node in ast.walk(first) if isinstance(node, ast.Name)}:
        return f"{frame.f_locals['field']}, saved here and opened there"
    return re.sub(r"\[[^\]]*\]$", "", ast.unparse(first))


def table(rows: list[dict]) -> str:
    """Of each family: its configurations, its comparisons, and the largest difference."""
    lines = ["| family | tests | comparisons | largest difference |", "|---|---|---|---|"]
    for family in sorted({row["family"] for row in rows}):
        own = [row for row in rows if row["family"] == family]
        most = max(own, key=lambda row: row["max_abs_diff"])
        tests = len({row["config"] for row in own})
        worst = f"{most['max_abs_diff']:.1e} ({most['config']}, {most['what']})"
        lines.append(f"| {family} | {tests} | {len(own)} | {worst} |")
    return "\n".join(lines) + "\n"


def main(families: list[str]) -> int:
    """Exit code: 0 where all comparisons held."""
    files = sorted(TESTS.glob("parity/test_*.py"))
    names = {path.stem.removeprefix("test_"): path for path in files}
    unknown = set(families) - set(names)
    if unknown:
        print(f"no comparison of {', '.join(sorted(unknown))}; there are {', '.join(names)}")
        return 2
    chosen = families or list(names)
    recorder = Recorder()
    paths = [str(names[family]) for family in chosen]
    options = ["-q", "-m", "parity", "-p", "no:cacheprovider"]
    code = pytest.main([*options, *paths], [recorder])
    if code != 0:
        return int(code)
    out = HERE / "parity.json"
    before = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    rows = [row for row in before if row["family"] not in chosen]
    rows += [
        dict(family=family, config=config, what=what, max_abs_diff=apart)
        for (family, config, what), apart in recorder.rows.items()
    ]
    rows.sort(key=lambda row: (row["family"], row["config"], row["what"]))
    text = ",\n".join(json.dumps(row) for row in rows)
    out.write_text(f"[\n{text}\n]\n", encoding="utf-8")
    (HERE / "table.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
