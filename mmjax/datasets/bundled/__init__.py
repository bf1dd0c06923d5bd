"""Data sets and a trained model that ship inside the package: all runs offline on real data.

* Each set is `<name>.*` data files and `<name>.json`: packages, versions, hashes, notes; the
  licence texts are in `licenses/<name>/`. `experiments/bundled/build_<name>.py` makes
  them again from the packages.
* A model is a folder of that name, with `<name>.json` beside it: the run that made it, its numbers.
* Files are read whole (the largest has 5 MB) and their sha256 is checked once per process.
"""

import csv
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from mmjax.errors import UserError


class DamagedPackage(UserError, RuntimeError):
    """A file of the package is missing or is not what was packed."""


FOLDER = Path(__file__).parent
MODELS = ("emoji_clip",)


@functools.cache
def provenance(name: str) -> dict[str, Any]:
    """The record of a set: files, packages, licences, made_with, notes."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@functools.cache
def read(name: str, file: str) -> bytes:
    """Contents of one file of a set, checked against the recorded sha256.

    Raises DamagedPackage when the file is missing or differs.
    """
    path = FOLDER / file
    expected = provenance(name)["files"][file]["sha256"]
    data = path.read_bytes() if path.exists() else None
    found = "no such file" if data is None else hashlib.sha256(data).hexdigest()
    if found != expected:
        raise DamagedPackage(
            f"bundled data {path}: expected sha256 {expected}, found {found}. Install mmjax "
            f"again, or make the file anew: see experiments/bundled/build_{name}.py"
        )
    return data


def pieces(name: str) -> list[bytes]:
    """The parts of `<name>.bin`, one for each row of `<name>.csv`, which has their sizes."""
    table = read(name, f"{name}.csv").decode().splitlines()
    data = read(name, f"{name}.bin")
    parts = []
    stop = 0
    for row in csv.DictReader(table):
        start = stop
        stop += int(row["bytes"])
        parts.append(data[start:stop])
    return parts


def model(name: str) -> Path:
    """The folder of one of MODELS, every file of it checked.

    Raises DamagedPackage as `read`.
    """
    for file in provenance(name)["files"]:
        read(name, file)
    return FOLDER / name
