"""A user's own data: a folder of images with side-car texts, or one folder per class.

    data.train = dict(own=dict(name="folder", path="photos", split="train"))

    photos/a.jpg photos/a.txt     # layout "captions": one caption per line of the text
    photos/cat/1.jpg              # layout "classes": label = folder, captions from `templates`

* Searched through all depths, hidden files left out, in the order of the paths.
* Refused at once: a folder that does not exist or holds no image, images without a text or class.
  Counted as corrupt when they are met: empty texts, texts that are no UTF-8, broken images.
* In layout "classes" a class is a group: images of one class are not each other's negatives.
"""

import dataclasses
import difflib
import hashlib
import os
from pathlib import Path
from typing import Literal

from mmjax.data.files import Files, Row, captions_from, check_split, in_split, some
from mmjax.data.source import CorruptExample, DataError
from mmjax.data.text import decode_utf8

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


@dataclasses.dataclass(frozen=True)
class Config:
    path: str  # the folder
    layout: Literal["auto", "captions", "classes"] = "auto"  # auto: captions if there are texts
    split: str = "all"  # "train", "validation", "test", "all"; by hash of the path in the folder
    validation: float = 0.1  # share of the images that are for validation
    test: float = 0.1  # share that is for testing
    templates: tuple[str, ...] = ("a photo of a {}.",)  # captions of a class
    class_names: tuple[str, ...] = ()  # in the order of their numbers; (): all folders, sorted


def open(config: Config) -> Files:
    """The images of a split. Raises DataError for what is wrong with the folder as a whole."""
    check_split(config.split, config.validation, config.test)
    root = Path(config.path)
    if not root.is_dir():
        raise DataError(_missing(root))
    names = _images(root)
    texts = {name: root / (os.path.splitext(name)[0] + ".txt") for name in names}
    without = [name for name in names if not texts[name].is_file()]
    layout = config.layout
    if layout == "auto":
        layout = "captions" if len(without) < len(names) else "classes"
    if layout == "captions" and without:
        raise DataError(
            f"{len(without)} of {len(names)} images in {root} have no text beside them: "
            f"{some(without)}. {Path(without[0]).name} needs {texts[without[0]].name} with its "
            'captions, one a line; layout="classes" takes the folders as classes instead'
        )
    if layout == "classes":
        loose = [name for name in names if "/" not in name]
        if loose:
            raise DataError(
                f"{len(loose)} of {len(names)} images in {root} are in no class folder: "
                f"{some(loose)}. Put each into a folder named like its class, or a text with its "
                f"captions beside each ({loose[0]}: {texts[loose[0]].name})"
            )
        rows = [_class_row(root, name, config.templates) for name in names]
    else:
        rows = [_caption_row(root, name, texts[name]) for name in names]
    kept = [in_split(name, config.split, config.validation, config.test) for name in names]
    if not any(kept):
        raise DataError(
            f"none of the {len(names)} images in {root} is in split {config.split!r} "
            f"(validation={config.validation}, test={config.test})"
        )
    identity = repr((dataclasses.replace(config, path=""), [row[1:2] + row[3:] for row in rows]))
    digest = hashlib.sha256(identity.encode(errors="surrogateescape"))
    return Files(
        root.name, rows, kept, class_names=config.class_names, fingerprint=digest.hexdigest()
    )


def _images(root: Path) -> list[str]:
    """Paths below the folder, with "/", sorted. Raises DataError when there is none."""
    found, others = [], []
    for folder, inside, files in os.walk(root):
        inside[:] = [name for name in inside if not name.startswith((".", "__"))]
        for name in files:
            path = (Path(folder) / name).relative_to(root).as_posix()
            if not name.startswith("."):
                (found if name.lower().endswith(SUFFIXES) else others).append(path)
    if not found:
        have = f"; it has {some(sorted(others))}" if others else "; it is empty"
        raise DataError(f"no image in {root} ({' '.join(SUFFIXES)}){have}")
    return sorted(found)


def _class_row(root: Path, name: str, templates: tuple[str, ...]) -> Row:
    label = name.split("/")[0]
    text = captions_from(label, templates)
    return Row(name, name, str(root / name), text, label, group=label)


def _caption_row(root: Path, name: str, path: Path) -> Row:
    row = Row(name, name, str(root / name))
    try:
        lines = decode_utf8(path.read_bytes().removeprefix(b"\xef\xbb\xbf")).splitlines()
    except CorruptExample as error:
        return row._replace(problem=f"{path.name}: {error}")
    texts = tuple(line.strip() for line in lines if line.strip())
    if not texts:
        return row._replace(problem=f"empty caption: nothing in {path.name}")
    return row._replace(text=texts[0] if len(texts) == 1 else texts)


def _missing(root: Path) -> str:
    if root.is_file():
        return f'{root} is a file, not a folder of images; for a list of images use name="manifest"'
    folder = next(one for one in root.parents if one.is_dir())
    inside = sorted(one.name for one in folder.iterdir() if one.is_dir())
    near = difflib.get_close_matches(root.relative_to(folder).parts[0], inside, n=3, cutoff=0.5)
    return f"no folder {root}; in {folder.resolve()} there is: {some(near or inside) or 'none'}"
