"""Plan: what a run will need, before anything is allocated, on devices that need not be here.

    python -m mmjax.main --mode=plan --config=configs/contrastive/clip_vit_b32.py \\
        --devices=128 --hardware=A100

* The very step that training runs is compiled for so many devices and asked: memory by kind, FLOPs,
  what the devices send each other. Nothing is allocated; a compilation takes seconds to minutes.
* The compiler is that of CPUs, which keeps in float32 much that accelerators keep in bfloat16: for
  a bfloat16 run the temporary memory is an upper bound.
* What does not fit is refused, with the first change that would fit: rematerialisation, micro-
  batches, parameters cut over more devices.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjax import tree
from mmjax.commands import show
from mmjax.config import ConfigError, Spec, build, to_dict
from mmjax.data.plan import lengths_of
from mmjax.errors import UserError
from mmjax.report.table import aligned
from mmjax.run import options as run_options
from mmjax.run import runtime, workdir
from mmjax.run.assembly import Run
from mmjax.run.part import Part
from mmjax.training import flops, hardware
from mmjax.training.collectives import Traffic, traffic
from mmjax.training.program import Program
from mmjax.training.step import make_step

MOST_SHARE = 0.95  # of a device's memory; the rest is the runtime's
SAMPLED = 16  # steps whose padding is looked at
# The program is asked and never run. How memory is laid out is settled before LLVM, whose work on
# loops that are written but not run is most of a large program's compilation.
UNRUN = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclasses.dataclass(frozen=True)
class Options:
    config: str = ""  # config file, with :variant,key=value after it
    workdir: str = ""  # or the folder of a run
    devices: int = 0  # plan for so many; 0: those that are here
    hardware: str = ""  # such as "TPU v5e" or "H100"; by default what is here
    changes: tuple[str, ...] = ()  # of the config, "train.steps=20": --config.train.steps=20


def run(options: Options) -> None:
    """Plans the run of a config file."""
    if options.devices:
        runtime.imagine(options.devices)
    config = workdir.asked(options.config, options.workdir, options.changes)
    plan(config, chip_name=options.hardware)


class Needs(NamedTuple):
    """What one step needs. Bytes are those of one device."""

    parameters: int
    kinds: Mapping[str, int]  # "parameters", "optimizer", "averages", "task state", "batch"
    temporary: int  # activations, gradients, work space
    flops: float  # of all devices
    traffic: Mapping[str, Traffic]

    @property
    def memory(self) -> int:
        """The peak of a step, in bytes of one device."""
        return sum(self.kinds.values()) + self.temporary


def here_or_on_paper(options: run_options.Options) -> tuple[Run, str]:
    """The run, and what is not here: "" if all its data is."""
    run = Run(options)
    try:
        run.shapes  # noqa: B018  opens the data, trains the tokenizer
        return run, ""
    except (UserError, FileNotFoundError) as error:
        missing = str(error).splitlines()[0]
    paper = Run(options, paper=True)
    paper.shapes  # noqa: B018  what else is wrong stands here too
    return paper, missing


def needs(run: Run) -> Needs:
    """Compiles the step of a run for the devices that there are; allocates nothing."""
    with jax.set_mesh(run.mesh):
        spec = run.spec
        step = make_step(spec, run.options.optimizer.accumulate, run.sources, run.pack)
        program = Program(step, spec, run.shapes, run.mesh, UNRUN)
        state, batch, compiled = program.state, program.batch, program.compiled
    memory = compiled.memory_analysis()
    kinds = {
        "parameters": _held(state.params),
        "optimizer": _held(state.optimizer),
        "averages": _held(state.teachers),
        "task state": _held(state.state),
        "batch": _held(batch) * (1 + run.options.execution.ahead),
    }
    return Needs(
        tree.count(spec.shapes.params),
        {name: size for name, size in kinds.items() if size},
        memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes,
        program.flops,
        traffic(compiled.as_text()),
    )


def _held(placed: Any) -> int:
    """Bytes that arrays take on one device, placed as they are."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
        for x in jax.tree.leaves(placed)
    )


def padding(part: Part, steps: int) -> dict[str, float]:
    """By ragged field, the share of padding in some batches."""
    lengths: dict[str, list[np.ndarray]] = {}
    for source in part.sources.values():
        for field, column in part.processor.lengths(source).items():
            lengths.setdefault(field, []).append(column)
    plan = part.pipeline.plan
    real = dict.fromkeys(lengths, 0)
    places = dict.fromkeys(lengths, 0)
    for step in range(min(SAMPLED, steps)):
        rows = plan(step)
        for field, columns in lengths.items():
            real[field] += int(lengths_of(rows, columns).sum())
            count = len(rows.index) // max(1, plan.pack)
            places[field] += math.prod(rows.shape[field]) * count
    return {field: 1 - real[field] / places[field] for field in lengths}


def plan(config: Any, *, chip_name: str = "") -> Needs:
    """Prints what the run of a config needs, on all devices of this process.

    Args:
      config: Options, or the ConfigDict of a config file.
      chip_name: a row of hardware.CHIPS; "": the devices that are here.

    Raises:
      ConfigError: an unknown chip; a run that does not fit it, with what would.
    """
    options = build(run_options.Options, config)
    chip = hardware.named(chip_name) if chip_name else hardware.here()
    if chip_name and chip is None:
        raise ConfigError(f"--hardware={chip_name!r} is none of {', '.join(hardware.CHIPS)}")
    run, missing = here_or_on_paper(options)
    found = needs(run)
    with jax.set_mesh(run.mesh):
        table = show.parameters(run)
    lines = [table, "", _memory(found, chip), "", _links(found, chip), "", _time(run, found, chip)]
    if missing:
        lines.append(f"on paper, for the data is not here ({missing})")
    else:
        for name, part in run.parts.items():
            for field, share in padding(part, options.train.steps).items():
                lines.append(f"padding: {share:.0%} of {field}{f' in {name}' if name else ''}")
    if jax.process_index() == 0:
        print("\n".join(lines))
    if chip and found.memory > MOST_SHARE * chip.memory:
        raise ConfigError(_refusal(options, found, chip))
    return found


def _size(count: int | float) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def _memory(found: Needs, chip: hardware.Chip | None) -> str:
    rows = [(name, _size(size)) for name, size in found.kinds.items()]
    rows += [("activations, gradients, work space", _size(found.temporary))]
    rows += [("at the peak", _size(found.memory))]
    if chip:
        rows += [("a device has", _size(chip.memory))]
    return aligned(("memory of one device", ""), rows, right=(1,))


def _links(found: Needs, chip: hardware.Chip | None) -> str:
    if not found.traffic:
        return "devices send each other nothing"
    rows = []
    for kind, one in found.traffic.items():
        seconds = f"{one.sent / chip.link:.3f}" if chip else ""
        rows.append((kind, f"{one.count:,}", _size(one.sent), seconds))
    head = ("sent by one device in a step", "times", "bytes", "seconds" if chip else "")
    return aligned(head, rows, right=(1, 2, 3))


def _time(run: Run, found: Needs, chip: hardware.Chip | None) -> str:
    """The arithmetic at the full rate and the links without overlap, and what is usual."""
    rate = chip.flops * run.mesh.size if chip else flops.peak()
    work = found.flops / rate
    links = sum(one.sent for one in found.traffic.values()) / chip.link if chip else 0.0
    rows = sum(part.data.batch_size for part in run.parts.values())
    return (
        f"{found.flops:.3g} FLOP a step, {found.flops / rows:.3g} an example; "
        f"{rate:.3g} FLOP/s at the full rate of {run.mesh.size} device(s)"
        + ("" if chip else ", measured here")
        + f"\na step takes {max(work, links):.3g} s or more; at the usual 40% of the full rate and "
        f"without overlap {work / 0.4 + links:.3g} s, "
        f"{rows / (work / 0.4 + links):,.0f} examples/s"
    )


def _refusal(options: run_options.Options, found: Needs, chip: hardware.Chip) -> str:
    text = f"a step needs {_size(found.memory)} on a device that has {_size(chip.memory)}."
    for label, changed in _changes(options):
        try:
            run, _ = here_or_on_paper(changed)
            better = needs(run)
        except ConfigError:  # such as a batch that does not divide so
            continue
        if better.memory <= MOST_SHARE * chip.memory:
            return f"{text} It fits ({_size(better.memory)}) with {label}"
    return f"{text} Neither rematerialisation, nor micro-batches, nor a wider fsdp axis make it fit"


def _changes(options: run_options.Options) -> Iterator[tuple[str, run_options.Options]]:
    """What saves memory, the cheapest first; each with those before it."""
    labels: list[str] = []

    def named(label: str, **fields: Any) -> tuple[str, run_options.Options]:
        nonlocal options
        options = dataclasses.replace(options, **fields)
        labels[:] = [one for one in labels if one.split("=")[0] != label.split("=")[0]] + [label]
        return ", ".join(labels), options

    run, _ = here_or_on_paper(options)
    rules = [path for path in tree.flatten(to_dict(run.model.config)) if path.endswith("/remat")]
    for policy in ("dots", "full"):
        fields = to_dict(options.model.options)
        for path in rules:
            place = fields
            *parents, last = path.split("/")
            for key in parents:
                place = place.setdefault(key, {})
            place[last] = policy
        yield named(f"remat={policy!r} in every transformer",
                    model=Spec(options.model.name, fields))  # fmt: skip
    for fsdp in (8, jax.device_count()):
        if fsdp > options.execution.mesh.fsdp and jax.device_count() % fsdp == 0:
            mesh = dataclasses.replace(options.execution.mesh, data=-1, fsdp=fsdp)
            yield named(f"execution.mesh.fsdp={fsdp}",
                        execution=dataclasses.replace(options.execution, mesh=mesh))  # fmt: skip
    for count in (2, 4, 8, 16):
        if count > options.optimizer.accumulate:
            optimizer = dataclasses.replace(options.optimizer, accumulate=count)
            yield named(f"optimizer.accumulate={count}", optimizer=optimizer)
