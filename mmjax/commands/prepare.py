"""Prepare: fetches public data sets and converts them once, for every run on this machine.

    python -m mmjax.main --mode=prepare                           # what there is, and its state
    python -m mmjax.main --mode=prepare --set=openmoji,tuxpaint
    python -m mmjax.main --mode=prepare --config=configs/...      # what that config needs

* A set that fails is named, and alone: the others go on, the exit status is 1.
* It can be stopped at any moment and started again: packages that are there and whole are not
  fetched again, sets that are ready are left as they are, a half-made one is made anew.
* Everything lies under $MMJAX_DATA. `archives/` holds the packages as fetched; it may be deleted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmjax.config import ConfigError, Spec, build
from mmjax.data.source import DataError
from mmjax.data.storage import Progress
from mmjax.datasets import prepared
from mmjax.datasets.prepared import archives, drawing, packages
from mmjax.report.table import aligned
from mmjax.run import options as run_options
from mmjax.terminal import printable

ROOM = 300_000_000  # bytes that stay free on the disk


@dataclasses.dataclass(frozen=True)
class Options:
    set: tuple[str, ...] = ()  # names of data sets, or "all"; by default lists them
    side: int = 256  # pixels of the longer edge of the stored pictures
    mirror: str = ""  # address of a Debian archive, the one above pool/; "": apt's own
    again: bool = False  # make them anew even if they are ready
    config: str = ""  # prepare what this config reads
    changes: tuple[str, ...] = ()  # of the config: --config.data.train...=...


def run(options: Options) -> int:
    """Prepares what is named, or what a config needs; the exit status."""
    if not options.config:
        return prepare(options)
    sets = options.set + needed(run_options.read(options.config, options.changes))
    if not sets:
        print(f"{options.config} reads no set that has to be prepared")
        return 0
    return prepare(dataclasses.replace(options, set=sets))


def prepare(options: Options) -> int:
    """Prepares the sets, or lists them where none is named; the exit status.

    Raises ConfigError for an unknown name.
    """
    root = prepared.folder()
    if not options.set:
        print(listing(root))
        return 0
    sets = prepared.sets()
    names = tuple(sets) if "all" in options.set else tuple(dict.fromkeys(options.set))
    for name in names:
        if name not in sets:
            raise ConfigError(f"--set: there is no {name!r}; there are {', '.join(sets)}, or all")
    if not 16 <= options.side <= 2048:
        raise ConfigError(f"--side={options.side} is not between 16 and 2048 pixels")
    failed = []
    with _alone(root):
        packages.remove_leftovers(root / "archives")
        for name in names:
            try:
                print(_one(sets[name], root, options), flush=True)
            except (DataError, OSError) as error:
                failed.append(name)
                said = printable(str(error), keep="\n")
                print(f"{name}: FAILED\n  {said}", file=sys.stderr, flush=True)
    if failed:
        print(f"\nnot prepared: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def needed(config: Any) -> tuple[str, ...]:
    """The sets that a run's config reads and that have to be prepared."""
    options = build(run_options.Options, config)
    parts = [options.data] if options.data is not None else options.parts.values()
    specs = [spec for data in parts for spec in data.train.values()]
    for questions in (options.validation, options.test):
        specs += [question.source for question in questions.values()]
    return tuple(
        name for name, one in prepared.sets().items() if any(_reads(spec, one) for spec in specs)
    )


def _reads(spec: Spec, one: prepared.Set) -> bool:
    if spec.options.get("weight") == 0:  # left out of the mixture
        return False
    return spec.name == one.name and one.read_by(spec.options)


def listing(root: Path) -> str:
    """A table of all sets with their state here."""
    rows = []
    for name, one in prepared.sets().items():
        found, problem = prepared.record(one, root)
        size = sum(file["bytes"] for file in found.get("files", {}).values())
        state = problem or f"ready, {found['rows']:,} rows, {size / 1e6:,.0f} MB"
        places = ", ".join(dict.fromkeys(package.registry for package in one.packages))
        fetched = f"{one.download / 1e6:,.1f} MB ({places})"
        rows.append((name, state, fetched, one.licence, one.about))
    table = aligned(("set", "state", "to fetch", "licence", "contents"), rows)
    return f"{table}\n\nin {root} ($MMJAX_DATA)\nprepare one with  {prepared.COMMAND}{rows[0][0]}"


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """No two processes prepare in one folder. Raises DataError."""
    root.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on this system
        yield
        return
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another process prepares in {root}: wait for it") from error
        yield


def _one(one: prepared.Set, root: Path, options: Options) -> str:
    """Fetches and converts one set, unless it is ready; what to say of it."""
    found, problem = prepared.record(one, root)
    if not problem and not options.again and found["side"] == options.side:
        return f"{one.name}: ready, {found['rows']:,} rows in {root / one.name} ({one.licence})"
    if one.draws:
        drawing.renderer()  # before anything is fetched that could not be drawn
    one.needs()
    started = time.monotonic()
    free = shutil.disk_usage(root).free - ROOM
    if free < one.disk + one.download:
        need = (one.disk + one.download) / 1e6
        raise DataError(f"needs {need:,.0f} MB in {root}, where {max(0, free) / 1e6:,.0f} are free")
    fetched = {}
    for package in one.packages:
        with Progress(f"fetching {package.name}", package.size, megabytes=True) as bar:
            fetched[package] = packages.archive(
                package, root / "archives", mirror=options.mirror, progress=bar.update
            )
    members = functools.partial(_members, fetched)
    making = Progress(f"making {one.name}")
    with prepared.building(one, root, options.side) as writer, making as bar:
        for done, total in one.build(members, writer):
            bar.update(done, total)
    found, _ = prepared.record(one, root)
    size = sum(file["bytes"] for file in found["files"].values())
    texts = ", ".join(f"licences/{name}" for name in found["licences"])
    return (
        f"{one.name}: {found['rows']:,} rows, {size / 1e6:,.1f} MB in {root / one.name}, "
        f"{time.monotonic() - started:.0f} s\n  licence: {one.licence} ({texts})"
    )


def _members(
    fetched: dict[packages.Package, Path], package: packages.Package, wanted: archives.Wanted
) -> Iterator[tuple[str, bytes]]:
    return archives.members(fetched[package], wanted)
