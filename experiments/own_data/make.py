"""Writes the example of a user's own data: drawings of the bundled emoji as a manifest and files.

    python experiments/own_data/make.py            # rewrites pictures.jsonl and pictures/ here

48 drawings, as an image folder whose captions are both in pictures.jsonl and in side-car texts, so
that the same data can be read as a manifest and as a folder.
"""

import json
from pathlib import Path

from mmjax.datasets import emoji

HERE = Path(__file__).resolve().parent
COUNT = 48


def main() -> None:
    """Writes the files."""
    source = emoji.open(emoji.Config(split="train", styles=("noto",)))
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    lines = []
    for number in range(COUNT):
        index = number * len(source) // COUNT  # evenly spread
        example = source[index]
        name = example["id"].split("/")[1]
        (folder / f"{name}.webp").write_bytes(example["image"])
        (folder / f"{name}.txt").write_text(example["text"] + "\n", encoding="utf-8")
        row = {"image": f"pictures/{name}.webp", "text": example["text"]}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    (HERE / "pictures.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
