"""Where a run starts: its parameters as they are drawn, or those of another run or checkpoint.

* A source is a work directory, a checkpoint's folder, a model of the package ("emoji_clip"), one of
  the prepared weights ("minilm") or an id of the hub; "source#text" is a part of it, by path.
* What fits goes in, and what does not is named. A vocabulary may have a few tokens more than that
  of its source (the picture's, the roles): these stay as they were drawn. A frozen parameter that a
  source ought to have given is an error: it would stay as it was drawn.
* Checkpoints that leave out what is not trained (`checkpoint.trained_only`) take it from here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmjax import tree
from mmjax.conversion.formats.files import CheckpointFileError
from mmjax.conversion.formats.hub import CONFIG, OPEN_CLIP
from mmjax.conversion.load import load
from mmjax.conversion.mapping.table import CheckpointMismatch
from mmjax.layers import adapters
from mmjax.run import workdir
from mmjax.run.assembly import Run
from mmjax.run.names import NAMES, located
from mmjax.terminal import printable
from mmjax.training.checkpoint import CheckpointError, Checkpoints, Frozen, warm_start
from mmjax.training.state import State

ADDED = 256  # tokens that a vocabulary may have more than its source's; one of far more is another


class Given(NamedTuple):
    """What one of the sources gave."""

    where: str  # of the option
    under: str  # beginning of the model's paths, "" or with "/" behind it
    source: str
    found: tree.Comparison
    lines: list[str]  # what else is to be said

    def report(self, all_of_them: Sequence[Given]) -> str:
        """In words, without what another source gives, or takes of the same checkpoint."""
        filled = {one.under + path for one in all_of_them for path in one.found.matched}
        used = {one.there + path for one in all_of_them for path in one.found.matched}
        found = dataclasses.replace(
            self.found,
            missing=tuple(path for path in self.found.missing if self.under + path not in filled),
            extra=tuple(path for path in self.found.extra if self.there + path not in used),
        )
        inside = (path for path in filled if path.startswith(self.under))
        said = found.summary(also=[path.removeprefix(self.under) for path in inside])
        return "\n".join([f"{self.where} from {self.source}: {said}", *self.lines])

    @property
    def there(self) -> str:
        """Beginning of the paths of what was offered, with the checkpoint's name."""
        name, _, part = self.source.partition("#")
        return f"{name}#{part}/" if part else f"{name}#"


def begin(run: Run, *, report: bool = True) -> State:
    """The state before the first step.

    Args:
      report: print what each source gave.

    Raises:
      CheckpointError: no such source, nothing in it that fits, or a frozen parameter without one.
    """
    spec = run.spec
    state = spec.init()
    wanted = sources(run.options.warm_start)
    if not wanted:
        return state
    flat = tree.flatten(state.params)
    given = set()
    reports: list[Given] = []
    for prefix, source in wanted.items():
        where = f"warm_start{f'[{prefix!r}]' if prefix else ''}"
        under = f"{prefix}/" if prefix else ""
        part = _part(tree.unflatten(flat), prefix, f"{where}: this model")
        tensors, lines = longer(part, offered(source, where), spec.axes, under)
        part, found = warm_start(part, tensors)
        if not found.matched:
            raise CheckpointError(f"{where}: nothing in {source} fits this model\n{found.report()}")
        reports.append(Given(where, under, source, _without_fresh(found), lines))
        flat |= {under + path: leaf for path, leaf in tree.flatten(part).items()}
        given |= {under + path for path in found.matched}
    if report and jax.process_index() == 0:
        for one in reports:
            print(printable(one.report(reports), keep="\n"))
    covered = tuple(f"{prefix}/" if prefix else "" for prefix in wanted)
    lost = [path for path in flat if path.startswith(covered) and path not in given]
    lost = [path for path in lost if not spec.optimizer.trained(path)]
    if lost:
        raise CheckpointError(
            f"warm_start: the optimizer freezes what no source gives, and it would stay as it was "
            f"drawn: {', '.join(lost)}"
        )
    teachers = {
        name: tree.map_with_path(lambda path, _: flat[path] + 0, copy)
        for name, copy in state.teachers.items()
    }
    return state.replace(params=tree.unflatten(flat), teachers=teachers)


def longer(
    part: Mapping[str, Any],
    given: Mapping[str, Any],
    axes: Mapping[str, tuple[str | None, ...]],
    under: str = "",
) -> tuple[Mapping[str, Any], list[str]]:
    """What a source gives, its vocabulary continued with the tokens that the model has more; and a
    line about each parameter where it is.

    Args:
      part: parameters of the model, as they were drawn.
      axes: by path with `under` before it, the logical names of a parameter's axes.
    """
    flat = tree.flatten(given)
    lines = []
    for path, drawn in tree.flatten(part).items():
        names = axes.get(under + path, ())
        if path not in flat or "vocab" not in names:
            continue
        axis = names.index("vocab")
        count = flat[path].shape[axis]
        shape = [*drawn.shape]
        more = shape[axis] - count
        shape[axis] = count
        if 0 < more <= ADDED and flat[path].shape == tuple(shape):
            place = (slice(None),) * axis + (slice(count),)
            flat[path] = jnp.asarray(drawn).at[place].set(flat[path].astype(drawn.dtype))
            lines.append(f"{under}{path}: {count:,} tokens, and {more} more as they were drawn")
    return tree.unflatten(flat), lines


def sources(option: str | Mapping[str, str]) -> Mapping[str, str]:
    """Prefix of the model's paths ("": all of it) -> source; "" is none."""
    option = {"": option} if isinstance(option, str) else option
    return {prefix: source for prefix, source in option.items() if source}


def offered(source: str, where: str = "warm_start") -> Mapping[str, Any]:
    """The parameters of a source, or of the part of it behind a "#".

    Raises:
      CheckpointError: it is not there, cannot be read, or has no such part.
    """
    name, _, part = source.partition("#")
    folder = Path(name).expanduser()
    if workdir.holds_run(folder):
        params = _trained(folder)
    elif name in NAMES or _holds_weights(folder) or re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        try:
            params = load(located(folder)).params
        except (FileNotFoundError, CheckpointFileError, CheckpointMismatch) as error:
            raise CheckpointError(f"{where}: {error}") from error
    else:
        raise CheckpointError(
            f"{where}: {name} is no work directory with checkpoints, no folder with a checkpoint, "
            f"none of {', '.join(NAMES)}, and no owner/name on the hub"
        )
    return _part(params, part, f"{where}: {name}")


def checkpoints(run: Run, folder: Path, *, read_only: bool = False) -> Checkpoints:
    """The checkpoints of the run in a work directory."""
    options, frozen = run.options.checkpoint, None
    if options.trained_only:
        trained = run.spec.optimizer.trained
        frozen = Frozen(trained, lambda: begin(run, report=False).params)
    return Checkpoints(folder / "checkpoints", options, frozen, read_only=read_only)


def _without_fresh(found: tree.Comparison) -> tree.Comparison:
    """The mismatches without those of adapters, which start anew in every model."""
    missing = (path for path in found.missing if not tree.matches(adapters.PARAMETERS, path))
    return dataclasses.replace(found, missing=tuple(missing))


def _trained(folder: Path) -> Mapping[str, Any]:
    """The newest parameters of a work directory, all of them."""
    found = Checkpoints(folder / "checkpoints", read_only=True)
    step = found.latest()
    if step is None or "frozen" not in found.about(step):
        return found.load("params")
    # what was frozen there is in no checkpoint of it: that run makes it as it did
    run = Run(workdir.options_of(folder), folder)
    with jax.set_mesh(run.mesh):
        whole = checkpoints(run, folder, read_only=True)
        return whole.restore(run.spec.shapes, run.spec.shardings, step, training=False).params


def _holds_weights(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CONFIG, OPEN_CLIP)) or folder.is_file()


def _part(params: Mapping[str, Any], path: str, what: str) -> Mapping[str, Any]:
    """The sub-tree under a path.

    Raises:
      CheckpointError: there is none; names those that there are.
    """
    here, seen = params, ""
    for key in path.split("/") if path else ():
        if not isinstance(here, Mapping) or not isinstance(here.get(key), Mapping):
            known = [k for k, v in here.items() if isinstance(v, Mapping)]
            raise CheckpointError(
                f"{what} has no part {path!r}; {f'{seen} has' if seen else 'it has'} "
                f"{', '.join(sorted(known)) or 'no parts'}"
            )
        here, seen = here[key], f"{seen}/{key}".strip("/")
    return here
