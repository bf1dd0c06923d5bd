"""Parts of a file that is being made, so that it can be stopped and gone on with.

They lie in `<file>.part/`, and are used again only where the same makes them of the same;
otherwise they are thrown away.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Chunks:
    """The parts of `out`, by their numbers."""

    def __init__(self, out: str | Path, about: Mapping[str, Any], count: int) -> None:
        """
        Args:
          about: what makes them, for JSON; those that were made by something else are deleted.
          count: of the parts of the whole file.
        """
        self.count = count
        self.folder = Path(out).with_name(Path(out).name + ".part")
        note = self.folder / "about.json"
        if self.folder.exists() and (not note.exists() or _parsed(note) != dict(about)):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(dict(about)), encoding="utf-8")

    def missing(self) -> list[int]:
        """The numbers of those that are not made yet."""
        return [number for number in range(self.count) if not self.path(number).exists()]

    def put(self, number: int, content: bytes) -> None:
        """Keeps one, in full or not at all."""
        draft = self.path(number).with_suffix(".draft")
        draft.write_bytes(content)
        draft.replace(self.path(number))

    def path(self, number: int) -> Path:
        """Of the file of a part."""
        return self.folder / f"{number:08d}.chunk"

    def remove(self) -> None:
        """The file is made: they are not needed any more."""
        shutil.rmtree(self.folder)


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
