"""What the devices of a compiled program send each other, read from its HLO text.

* A loop's body counts as often as the loop goes round.
* Bytes are those that one device sends, by the ring algorithms: (n - 1) / n of the result for a
  gather, twice that for a sum over n devices, everything for a permutation.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4,
          "u32": 4, "f64": 8, "s64": 8, "u64": 8}  # fmt: skip
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_OPERATION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_CALLED = re.compile(r"(?:body|to_apply|calls|condition|called_computations)=\{?%?([\w.\-]+)")
_BRANCHES = re.compile(r"(?:branch_computations=\{|(?:true|false)_computation=)([^},]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


class Traffic(NamedTuple):
    """Of one kind of collective, in one run of the program."""

    count: int
    sent: float  # bytes that one device sends


def traffic(hlo: str) -> dict[str, Traffic]:
    """Kind -> how often, how much. hlo: `compiled.as_text()`."""
    everyone = re.search(r"num_partitions=(\d+)", hlo)
    devices = int(everyone.group(1)) if everyone else 1
    own: dict[str, list[tuple[str, float]]] = {}
    calls: dict[str, list[tuple[str, int]]] = {}
    entry = name = ""
    for line in hlo.splitlines():
        opened = _COMPUTATION.match(line)
        if opened:
            name = opened.group(1)
            own[name], calls[name] = [], []
            entry = name if line.startswith("ENTRY") else entry
        elif " = " in line and name:
            found = _OPERATION.search(line)
            if found:
                shapes, kind = found.groups()
                own[name].append((kind, _sent(kind, shapes, line, devices)))
            trips = _TRIPS.search(line)
            often = int(trips.group(1)) if trips else 1
            inner = _CALLED.findall(line)
            for group in _BRANCHES.findall(line):
                inner += [one.strip().lstrip("%") for one in group.split(",")]
            calls[name] += [(one, often) for one in inner]
    times: Counter[str] = Counter({entry: 1})
    for one in _callers_first(entry, calls):
        for called, often in calls[one]:
            times[called] += times[one] * often
    out: dict[str, Traffic] = {}
    for one, found in own.items():
        for kind, sent in found:
            before = out.get(kind, Traffic(0, 0.0))
            out[kind] = Traffic(before.count + times[one], before.sent + times[one] * sent)
    return {kind: out[kind] for kind in KINDS if kind in out and out[kind].count}


def _callers_first(entry: str, calls: dict[str, list[tuple[str, int]]]) -> list[str]:
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        for called, _ in calls.get(name, ()):
            visit(called)
        done[name] = None

    visit(entry)
    return [name for name in reversed(done) if name in calls]


def _sent(kind: str, shapes: str, line: str, everyone: int) -> float:
    size = 0.0
    for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
        size += _BYTES.get(dtype, 4) * math.prod(int(one) for one in dims.split(",") if one)
    devices = _group(line, everyone)
    if kind == "collective-permute":
        return size
    if kind == "reduce-scatter":  # its result is one device's share
        return size * (devices - 1)
    return size * (devices - 1) / devices * (2 if kind == "all-reduce" else 1)


def _group(line: str, everyone: int) -> int:
    """How many devices take part: {{0,1},{2,3}}, [4,2]<=[8], names of mesh axes, or {}: all."""
    plain = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    if plain:
        return plain.group(1).count(",") + 1
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]", line)
    if iota:
        return int(iota.group(2))
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", line)
    if mesh:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh.group(1)))
        return math.prod(int(sizes.get(axis, 1)) for axis in re.findall(r"'(\w+)'", mesh.group(2)))
    return everyone
