"""Checkpoints: kept by rule, saved beside the training, restored onto any mesh.

* Orbax writes; a step's folder appears under its final name only when it is complete, and leaves it
  before it is deleted: a kill at any moment leaves whole checkpoints.
* Kept: the latest, the best by a metric, every k-th. What a checkpoint needs to be compared and
  explained (metrics, shapes) is read before any array.
* Parameters, teachers and the rest are separate items: parameters alone can be restored, by any
  model that fits.
* Every array has a checksum, taken before it is written and compared when it is read: checksums.py.
  Checkpoints from before there were any are read without.
* What is not trained may be left out: it is made again where it came from, and its fingerprint is
  compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.training import checksums
from mmjax.training.explained import CheckpointError, explained
from mmjax.training.state import State
from mmjax.typing import Natural, Positive

DELETED = "deleted"  # folder that checkpoints are moved to at once, to be deleted at leisure
# of `about`, beside what `save` was given
CHECKSUMS = "checksums"  # path -> of each array
CRC = "crc32"  # of all the rest of it


@dataclasses.dataclass(frozen=True)
class Config:
    every: Natural = 1000  # steps between saves; every evaluation saves too
    latest: Positive = 2  # how many of the newest are kept
    best: Natural = 1  # how many of the best by `metric` are kept
    keep_every: Natural = 0  # every k-th step is kept for good; 0: none
    metric: str = ""  # metric of the validation; "": no best
    higher_is_better: bool = True  # False: the lowest value is the best
    # leave out what the optimizer freezes: it comes from the warm start (or the seed) each time
    trained_only: bool = False


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Parameters that checkpoints leave out."""

    trained: Callable[[str], bool]  # path -> whether it is written
    make: Callable[[], tree.Tree]  # all parameters, as they are before the first step


class Checkpoints:
    """The checkpoints of one work directory."""

    def __init__(
        self,
        folder: Path | str,
        config: Config = Config(),
        frozen: Frozen | None = None,
        *,
        read_only: bool = False,
    ):
        """
        Args:
          frozen: what is not written; None: everything is.
          read_only: of a run that may be going on: nothing is tidied up.
        """
        self.folder = Path(folder).absolute()
        self.config = config
        self.frozen = frozen
        self.read_only = read_only
        self._mark = ""  # fingerprint of what is not written
        keep: list[Any] = [policies.LatestN(config.latest)]
        best: dict[str, Any] = {}
        if config.metric and config.best:
            best = dict(
                best_fn=lambda metrics: metrics["value"],  # makes Orbax write the metric down
                best_mode="max" if config.higher_is_better else "min",
            )
            keep.append(
                policies.BestN(
                    get_metric_fn=best["best_fn"],
                    reverse=not config.higher_is_better,
                    n=config.best,
                    keep_checkpoints_without_metrics=False,
                )
            )
        if config.keep_every:
            keep.append(policies.EveryNSteps(config.keep_every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(keep),
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=True,
            read_only=read_only,
            todelete_subdir=None if read_only else DELETED,
            **best,
        )
        self._delete()
        if best:
            self._check_metrics()
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def _delete(self) -> None:
        """What was moved aside; a deletion that was cut in the middle is finished, too.

        Never while a save goes on: at its end Orbax moves into this folder."""
        if not self.read_only and jax.process_index() == 0:
            shutil.rmtree(self.folder / DELETED, ignore_errors=True)

    def _check_metrics(self) -> None:
        """Orbax reads at its start the values by which it finds the best, and fails on a broken
        one without saying where.

        Raises:
          CheckpointError: one is broken.
        """
        for path in sorted(self.folder.glob("[0-9]*/metrics/metrics")):
            with explained(f"{path} is damaged: without {path.parent.parent} the run can go on"):
                float(json.loads(path.read_bytes())["value"])

    def save(
        self, state: State, metrics: Mapping[str, float] | None = None, about: Mapping | None = None
    ) -> None:
        """Starts a save and returns once the arrays are copied; waits for the save before it.

        Args:
          metrics: of a validation at this very step; the configured one decides which checkpoints
            are best.
          about: anything that JSON holds, given back by `about(step)`.

        Raises:
          CheckpointError: the save before could not be written (disk full); older checkpoints are
            untouched. ConfigError: the configured metric is not among the metrics.
        """
        step = int(state.step)
        value = None
        if metrics is not None and self.config.metric:
            if self.config.metric not in metrics:
                known = ", ".join(sorted(metrics))
                raise ConfigError(
                    f"checkpoint.metric {self.config.metric!r} is not among the metrics: {known}"
                )
            value = {"value": float(metrics[self.config.metric])}
        params, rest = self._apart(state.params)
        noted = {"metrics": dict(metrics or {}), **(about or {})}
        if self.frozen:
            self._mark = self._mark or checksums.fingerprint(rest)
            noted["frozen"] = self._mark
        arrays = {"params": params, "training": _training(state), **_more(state)}
        noted[CHECKSUMS] = checksums.measure(_named(arrays)).checksums
        noted[CRC] = checksums.crc(noted)
        items = {name: ocp.args.StandardSave(value) for name, value in arrays.items()}
        items["about"] = ocp.args.JsonSave(noted)
        self.wait()
        self._delete()
        with self._saving():
            self.manager.save(step, args=ocp.args.Composite(**items), metrics=value)

    def wait(self) -> None:
        """Returns when every save is complete.

        Raises:
          CheckpointError: one could not be written.
        """
        with self._saving():
            self.manager.wait_until_finished()

    def close(self) -> None:
        self.wait()
        self._delete()
        self.manager.close()

    def _saving(self) -> contextlib.AbstractContextManager[None]:
        whole = self.latest()
        kept = "there is none yet" if whole is None else f"step {whole} is complete and kept"
        return explained(f"a checkpoint could not be written in {self.folder} ({kept})")

    def steps(self) -> tuple[int, ...]:
        """Complete checkpoints, in order; one that is being saved is not among them."""
        known = sorted(self.manager.all_steps())
        return tuple(step for step in known if (self.folder / str(step)).exists())

    def latest(self) -> int | None:
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The step with the best value of the configured metric (the later of equals); None: no
        evaluated one."""
        sign = 1 if self.config.higher_is_better else -1
        scored = []
        for step in self.steps():
            metrics = self.about(step)["metrics"]
            if self.config.metric in metrics:
                scored.append((sign * metrics[self.config.metric], step))
        return max(scored)[1] if scored else None

    def about(self, step: int) -> dict[str, Any]:
        """What was written beside the arrays: metrics, and whatever `save` was given."""
        noted = self._noted(step)
        noted.pop(CHECKSUMS, None)
        return noted

    def _noted(self, step: int) -> dict[str, Any]:
        """The same with the checksums, if it has any."""
        args = ocp.args.Composite(about=ocp.args.JsonRestore())
        with self._reading(step):
            noted = dict(self.manager.restore(step, args=args)["about"])
        crc = noted.pop(CRC, None)
        if crc is not None and crc != checksums.crc(noted):
            raise CheckpointError(
                f"{self._damaged(step)}: what is noted in its about/ is not what was saved"
            )
        return noted

    def restore(
        self, shapes: State, shardings: State, step: int | None = None, *, training: bool = True
    ) -> State:
        """The whole state, placed by `shardings` on whatever mesh they name.

        Args:
          training: False leaves the optimizer out (it is ()): what evaluation and use need.

        Raises:
          CheckpointError: no such checkpoint, a damaged one, one with tensors that are not those of
            this run or are not finite, or other frozen parameters than it was trained beside.
        """
        step = self._existing(step)
        needed = {"params": self._apart(shapes.params)[0], **_more(shapes)}
        places = {"params": self._apart(shardings.params)[0], **_more(shardings)}
        if training:
            needed["training"] = _training(shapes)
            places["training"] = _training(shardings)
        items = {}
        for name, shape in needed.items():
            self._check(step, name, shape)
            items[name] = ocp.args.StandardRestore(_placed(shape, places[name]))
        with self._reading(step):
            found = self.manager.restore(step, args=ocp.args.Composite(**items))
        self._verify(step, {name: found[name] for name in items})
        rest = found["training"] if training else dict(optimizer=(), step=step, skipped=0)
        more = {"state": {}, "teachers": {}, **{name: found[name] for name in _more(shapes)}}
        return State(params=self._whole(found["params"], step), **more, **rest)

    def load(self, item: str = "params", step: int | None = None) -> dict[str, Any]:
        """An item as numpy arrays, whatever its shapes: for warm starts and conversion."""
        step = self._existing(step)
        meta = self._meta(step, item)
        shapes = jax.tree.map(
            lambda leaf: np.zeros((), leaf.dtype) if leaf.shape == () else leaf, meta
        )
        abstract = jax.tree.map(lambda leaf: ocp.utils.to_shape_dtype_struct(leaf), shapes)
        restore = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), abstract)
        args = ocp.args.PyTreeRestore(item=abstract, restore_args=restore)
        with self._reading(step):
            path = self.folder / str(step) / item
            found = _plain(ocp.PyTreeCheckpointer().restore(path, args=args))
        self._verify(step, {item: found})
        return found

    def _verify(self, step: int, items: Mapping[str, Any]) -> None:
        """Compares what was read with the checksums of what was saved.

        Raises:
          CheckpointError: names every array that differs, or that a model cannot use.
        """
        found = checksums.measure(_named(items))
        saved = self._noted(step).get(CHECKSUMS, found.checksums)
        damaged = [path for path, total in found.checksums.items() if saved.get(path) != total]
        if damaged:
            raise CheckpointError(
                f"{self._damaged(step)}: {len(damaged)} of {len(found.checksums)} arrays are not "
                f"what was saved: {', '.join(damaged)}"
            )
        # an optimizer may well keep an infinity, such as the lowest loss so far
        weights = [path for path in found.not_finite if path.startswith(("params/", "teachers/"))]
        if weights:
            raise CheckpointError(
                f"{self._damaged(step)}: not finite (NaN or infinity): {', '.join(weights)}"
            )

    def _apart(self, params: tree.Tree) -> tuple[tree.Tree, tree.Tree]:
        """What is written, and what is not."""
        return tree.partition(params, self.frozen.trained) if self.frozen else (params, {})

    def _whole(self, params: tree.Tree, step: int) -> tree.Tree:
        """Parameters with those that were left out."""
        if not self.frozen:
            return params
        rest = self._apart(self.frozen.make())[1]
        self._mark = checksums.fingerprint(rest)
        if self._mark != self.about(step)["frozen"]:
            raise CheckpointError(
                f"{self.folder}/{step} was trained beside other frozen parameters than those that "
                "the warm start (or the seed) gives now; give it the same source again"
            )
        return tree.merge(params, rest)

    def _existing(self, step: int | None) -> int:
        known = self.steps()
        if not known:
            raise CheckpointError(f"there is no complete checkpoint in {self.folder}")
        step = known[-1] if step is None else step
        if step not in known:
            raise CheckpointError(
                f"there is no checkpoint of step {step} in {self.folder}; there are {known}"
            )
        return step

    def _meta(self, step: int, item: str) -> dict[str, Any]:
        path = self.folder / str(step) / item
        if not path.exists():
            raise CheckpointError(f"{path.parent} holds no {item!r}; {self._way(step)}")
        with self._reading(step):
            found = ocp.StandardCheckpointer().metadata(path).item_metadata
            if found is None:
                raise CheckpointError(
                    f"{self._damaged(step)}: the list of arrays in {item!r} is broken"
                )
            return found.tree

    def _damaged(self, step: int) -> str:
        return f"{self.folder}/{step} is damaged; {self._way(step)}"

    def _way(self, step: int) -> str:
        """What to do about a checkpoint that cannot be used."""
        others = [other for other in self.steps() if other != step]
        if others:
            return f"without that folder the run goes on from step {others[-1]}"
        return "it is the only one: start anew in another work directory"

    def _reading(self, step: int) -> contextlib.AbstractContextManager[None]:
        return explained(self._damaged(step))

    def _check(self, step: int, item: str, shapes: Any) -> None:
        needed = _named(shapes)
        held = _named(self._meta(step, item))
        found = tree.compare(needed, held)
        report = "" if found.complete else found.report()
        for path in found.matched:  # Orbax would make one type of the other
            if needed[path].dtype != held[path].dtype:
                report += f"\n  {path}: needs {needed[path].dtype}, found {held[path].dtype}"
        if report:
            raise CheckpointError(f"{self.folder}/{step}/{item} is of another model:\n{report}")


def _training(state: State) -> dict[str, Any]:
    return dict(optimizer=state.optimizer, step=state.step, skipped=state.skipped)


def _more(state: State) -> dict[str, Any]:
    """What a model needs beside its parameters, if anything: averaged copies, codebooks."""
    return {name: getattr(state, name) for name in ("state", "teachers") if getattr(state, name)}


def _named(value: Any) -> dict[str, Any]:
    """Any pytree as {path: leaf}; named tuples and dicts with equal keys look alike, as they do on
    disk."""

    def name(key: Any) -> str:
        return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))

    leaves = jax.tree_util.tree_flatten_with_path(value)[0]
    return {"/".join(name(k) for k in path): leaf for path, leaf in leaves}


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings
    )


def _plain(value: Any) -> Any:
    return {str(k): _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def warm_start(params: Any, offered: Mapping[str, Any]) -> tuple[Any, tree.Comparison]:
    """Parameters in which every tensor that `offered` has in the right shape is replaced by it.

    Returns:
      The parameters, placed as before, and the report of what matched, what is missing, extra and
        misshapen.
    """
    found = tree.compare(params, offered)
    flat = tree.flatten(params)
    new = tree.flatten(offered)
    for path in found.matched:
        flat[path] = jax.device_put(new[path].astype(flat[path].dtype), flat[path].sharding)
    return tree.unflatten(flat), found
