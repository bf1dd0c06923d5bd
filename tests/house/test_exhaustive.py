"""What CI leaves out is named by tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES = [
    line.removeprefix("!")
    for line in (ROOT / "tests/exhaustive.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_names_a_test(line):
    path, _, name = line.partition("::")
    function = re.escape(name.partition("[")[0].removesuffix("]")).replace(r"\*", r"\w*")
    assert re.search(rf"^def {function}\(", (ROOT / path).read_text(), re.MULTILINE), line
