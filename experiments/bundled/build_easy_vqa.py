"""Builds the bundled part of easy-VQA: 300 training and 100 test images with their questions.

    python -m experiments.bundled.build_easy_vqa --cache=FOLDER

* The first images of the package's own two splits, their PNG files unchanged, one after the other
  in `easy_vqa.bin`; `easy_vqa.csv` has a line for each question.
"""

import csv
import io
import json
from pathlib import Path

from experiments.bundled import fetch

PACKAGE = fetch.Package(
    "pypi", "easy-vqa", "1.0",
    "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
    "MIT", "images of coloured shapes, questions, answers")
IMAGES = {"train": 300, "test": 100}


def main(cache: Path) -> None:
    """Fetches, checks, builds and writes the set with its provenance."""
    files = fetch.members(PACKAGE, cache)
    table = io.StringIO()
    images = []
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["split", "image", "bytes", "question", "answer"])
    for split, count in IMAGES.items():
        questions = json.loads(files[f"easy_vqa/data/{split}/questions.json"])
        pictures = [files[f"easy_vqa/data/{split}/images/{i}.png"] for i in range(count)]
        images += pictures
        for question, answer, i in sorted(questions, key=lambda row: row[2]):
            if i < count:
                writer.writerow([split, i, len(pictures[i]), question, answer])
    licence = files["easy_vqa-1.0.dist-info/LICENSE"]
    fetch.write(
        "easy_vqa",
        {"easy_vqa.bin": b"".join(images), "easy_vqa.csv": table.getvalue().encode()}, [PACKAGE],
        {PACKAGE.name: "easy_vqa/data/{train,test}/{questions.json,images/<number>.png}"},
        {"easy-vqa.txt": licence}, {})


if __name__ == "__main__":
    main(fetch.cache_folder(__doc__))
