"""Every notebook is clean and runs from top to bottom, in a folder of its own, without Jupyter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import haste
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[str]:
    """The sources of the code cells."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in code), "saved with outputs: clear them"
    return ["".join(cell["source"]) for cell in code]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_plain_python(path):
    for source in cells(path):
        compile(source, path.name, "exec")  # no %magic and no !shell, which run in Jupyter alone


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs(path, tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(cells(path)), encoding="utf-8")
    environment = {**os.environ, "XLA_FLAGS": haste.FLAGS}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, timeout=600)
    assert done.returncode == 0
