"""Makes the bundled emoji CLIP from the work directory of a finished run.

    python -m mmjax.main --config=configs/contrastive/clip_emoji.py --workdir=runs/clip_emoji
    python -c 'import mmjax; mmjax.export("runs/clip_emoji", "exported", dtype="float16")'
    python -m experiments.bundled.build_emoji_clip --model=exported --run=runs/clip_emoji

* Stored in halves; computed in float32, whatever the run computed in: the same on every machine.
* Beside it lie its hashes, the run's config and its test numbers.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from mmjax.datasets.bundled import FOLDER

NAME = "emoji_clip"
FILES = ("config.json", "model.safetensors", "tokenizer.json")


def main(model: Path, run: Path) -> None:
    """Copies the model's files, and writes the record of them.

    Args:
      model: what `mmjax.export` wrote.
      run: the work directory; its result.json and config.json are read.
    """
    folder = FOLDER / NAME
    folder.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(model / name, folder / name)
    config = computed_in_float32(json.loads((folder / "config.json").read_text()))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    files = {}
    for name in FILES:
        data = (folder / name).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        files[f"{NAME}/{name}"] = {"bytes": len(data), "sha256": digest}
    record = {
        "files": files,
        "packages": [],
        "licences": [],
        "made_with": json.loads((run / "config.json").read_text()),
        "result": json.loads((run / "result.json").read_text()),
        "notes": [
            "Trained from nothing by configs/contrastive/clip_emoji.py on the bundled emoji, whose "
            "packages and licences emoji.json names; averaged weights of the best step.",
            "Numbers are of the run, whose towers computed in its own dtype.",
        ],
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (FOLDER / f"{NAME}.json").write_text(text, encoding="utf-8")


def computed_in_float32(config: Any) -> Any:
    """The same with every dtype inside the model's config changed."""

    def changed(value: Any) -> Any:
        if not isinstance(value, dict):
            return [changed(one) for one in value] if isinstance(value, list) else value
        return {k: "float32" if k == "dtype" else changed(v) for k, v in value.items()}

    return {**config, "config": changed(config["config"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="what mmjax.export wrote")
    parser.add_argument("--run", type=Path, required=True, help="the work directory")
    options = parser.parse_args()
    main(options.model, options.run)
