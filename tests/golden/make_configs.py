"""Writes tests/golden/configs: what every config file, and each of its variants, resolves to.

    python -m tests.golden.make_configs

* One JSON file for each config and variant: configs/contrastive/clip_lora.py:before is
  contrastive/clip_lora-before.json. Combined variants have one where the docstring of the config
  names them, as lit_minilm.py does with ":clipart,scratch".
* A file holds the options with their defaults, so that a changed default shows as well; of a `Spec`
  (a model, a task, a data set) it holds what the config says.
* Run it after a change that is meant, and read the difference in git: it is what the runs will do.
"""

import ast
import itertools
import json
import re
import shutil
from pathlib import Path

from mmjax import config
from mmjax.run.options import Options

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
RECIPES = CONFIGS / "recipes"
FOLDER = Path(__file__).with_name("configs")


def runs() -> list[Path]:
    """The config files that are runs: all but the base and the recipes."""
    no_run = {CONFIGS / "base.py", *RECIPES.glob("*.py")}
    return sorted(path for path in CONFIGS.rglob("*.py") if path not in no_run)


def forms(path: Path) -> list[str]:
    """What may stand behind the colon of a config: "" for nothing, "smoke", "clipart,scratch"."""
    variants = config.variants(str(path), path.name)
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    combined = []
    for words in re.findall(r":(\w+(?:,\w+)+)", docstring):
        # ":clipart,seed=$s" names a variant and a field
        names = list(itertools.takewhile(variants.__contains__, words.split(",")))
        if len(names) > 1:
            combined.append(",".join(names))
    return list(dict.fromkeys(["", *variants, *combined]))


def golden_file(path: Path, form: str) -> Path:
    """Where the options of one form of a config are kept."""
    folder = FOLDER / path.parent.relative_to(CONFIGS)
    name = "-".join([path.stem, *form.split(",")]) if form else path.stem
    return folder / f"{name}.json"


def resolved(path: Path, form: str) -> dict:
    """The options of one form of a config, their defaults filled in, as JSON holds them."""
    argument = f"{path}:{form}" if form else path
    options = config.build(Options, config.load(argument, schema=Options))
    text = json.dumps(config.to_dict(options))
    return json.loads(text.replace(f"{ROOT.as_posix()}/", ""))  # no path of this machine


def main() -> None:
    """Writes the folder anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for path in runs():
        for form in forms(path):
            file = golden_file(path, form)
            file.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(resolved(path, form), indent=1, sort_keys=True)
            file.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
