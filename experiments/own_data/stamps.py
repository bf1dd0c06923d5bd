"""Tux Paint's stamps in the forms that a user has: a folder with side-car texts, and a manifest.

    python -m mmjax.main --mode=prepare --set=tuxpaint
    python -m experiments.own_data.stamps --folder=runs/stamps
    C=configs/contrastive/clip_own_data.py
    python -m mmjax.main --config=$C:data.train.own.name=folder,data.train.own.path=runs/stamps \\
        --workdir=runs/own_folder
    python -m mmjax.main --config=$C:data.train.own.path=runs/stamps/list.jsonl \\
        --workdir=runs/own_manifest

Both runs must write the same numbers into result.json: the rows, their splits and their groups are
the same, whichever way they are read.
"""

import argparse
import json
from pathlib import Path

from mmjax.datasets import tuxpaint


def main() -> None:
    """Writes `<category>/<name>.webp` and `.txt`, and list.jsonl over them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default="runs/stamps")
    folder = Path(parser.parse_args().folder)
    source = tuxpaint.open(tuxpaint.Config(split="all"))
    rows = []
    for index in range(len(source)):
        example = source[index]
        path = folder / f"{example['id']}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(example["image"])
        path.with_suffix(".txt").write_text(example["text"] + "\n", encoding="utf-8")
        rows.append({"image": path.relative_to(folder).as_posix(), "text": example["text"]})
    rows.sort(key=lambda row: row["image"])
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(rows)} stamps in {folder}")


if __name__ == "__main__":
    main()
