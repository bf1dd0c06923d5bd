"""Files that a command writes where `--out` says: refused before anything is computed."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from mmjax.config import ConfigError

PAGE = ".html"


def page_or_picture(out: str | Path) -> Path:
    """The path of a page or a picture that will be written; its folder is made.

    Raises:
      ConfigError, OSError: as `picture` and `file`.
    """
    return file(out) if Path(out).suffix == PAGE else picture(out)


def picture(out: str | Path) -> Path:
    """The path of a picture that will be written; its folder is made.

    Raises:
      ConfigError: an ending that is no picture's. OSError: the folder cannot be made.
    """
    path = Path(out).expanduser()
    endings = Image.registered_extensions()
    if endings.get(path.suffix.lower()) not in Image.SAVE:
        raise ConfigError(f"--out={out}: a picture's name ends in .png, .jpg or .webp")
    return file(path)


def file(out: str | Path) -> Path:
    """The path of a file that will be written; its folder is made.

    Raises:
      ConfigError: it is a folder. OSError: its folder cannot be made.
    """
    path = Path(out).expanduser()
    if path.is_dir():
        raise ConfigError(f"--out={out} is a folder: name a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
