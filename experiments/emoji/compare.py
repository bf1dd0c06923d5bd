"""mmjax against open_clip on the bundled emoji: equal size, data, augmentation, schedule, seconds.

    python experiments/emoji/compare.py --folder=runs/compare

* Makes an environment for open_clip and torch (5.5 GB) in the folder, unless --open-clip-python
  names one that has open_clip_torch, torchvision and mmjax's requirements.
* Times both sides in turn, so that "equal seconds" are steps and no neighbour's load decides; torch
  runs in the faster of fp32 and amp_bf16.
* open_clip: best of 3 learning rates on validation. Both: 3 seeds, test numbers once.
* results.json: means, and paired bootstrap 95% intervals over queries and seeds. Finished parts
  are kept, so the command can be interrupted and repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "contrastive" / "clip_emoji.py"
RATES = (5e-4, 1e-3, 2e-3)
SEEDS = (0, 1, 2)
HEADLINE = (
    "unseen_style/image_to_text/r1",
    "unseen_style/image_to_text/r5",
    "unseen_concept/image_to_text/r5",
)


def environment(folder: Path) -> Path:
    """A Python with open_clip and mmjax."""
    home = folder / "open_clip"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        pip = [python, "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "torch==2.14.1", "torchvision==0.29.1"], check=True)
        subprocess.run(
            [*pip, "open_clip_torch==3.3.0", "-r", ROOT / "requirements.txt"], check=True
        )
    return python


def other_side(python: Path, *arguments: str) -> dict:
    """Runs open_clip_side.py and reads its last line."""
    command = [python, Path(__file__).with_name("open_clip_side.py"), f"--config={CONFIG}"]
    done = subprocess.run(
        [*map(str, command), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def our_step_seconds(count: int) -> float:
    """Median seconds of a train step alone, batches ready."""
    program = f"""
import time, numpy, jax
from mmjax.run.runtime import prepare
from mmjax.run.options import Options
from mmjax.config import build, load
options = build(Options, load({str(CONFIG)!r}, schema=Options))
prepare(options.execution)
from mmjax.run.assembly import Run
from mmjax.training.step import make_step
run = Run(options)
with jax.set_mesh(run.mesh):
    state = run.spec.init()
    step = jax.jit(make_step(run.spec), donate_argnums=0)
    seconds = []
    for i in range({count}):
        batch = run.put(run.pipeline.batch(i).arrays)
        started = time.perf_counter()
        state, metrics = step(state, batch)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - started)
print(numpy.median(seconds[3:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def kept(path: Path, make) -> dict:
    """What `make` returns, from a file if it was made before."""
    if not path.exists():
        value = make()
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def timing(python: Path) -> dict:
    """Seconds per step of both sides, in turn, three times."""
    turns: dict[str, list[float]] = {"mmjax": [], "fp32": [], "amp_bf16": []}
    for _ in range(3):
        turns["mmjax"].append(our_step_seconds(20))
        for precision in ("fp32", "amp_bf16"):
            found = other_side(python, f"--precision={precision}", "--time=15")
            turns[precision].append(found["step_seconds"])
    return turns


def ours(folder: Path, seed: int, config: Path = CONFIG) -> Path:
    """Trains one seed; per-query hits of the test splits."""
    workdir = folder / f"{config.stem}-{seed}"
    out = workdir / "hits.npz"
    if not out.exists():
        command = ["-m", "mmjax.main", f"--config={config}", f"--config.seed={seed}"]
        subprocess.run([sys.executable, *command, f"--workdir={workdir}"], cwd=ROOT, check=True)
        from mmjax.run.evaluations import build_evaluations
        from mmjax.run.restore import restore

        restored = restore(workdir)
        hits = {}
        which = build_evaluations(restored.run, restored.run.options.test)
        for name, evaluation in which.items():
            result = evaluation(restored.variables)
            hits |= {f"{name}/{key}": value for key, value in result.queries.items()}
        np.savez(out, **hits)
    return out


def main() -> None:
    """Everything, in order; results.json at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default="runs/compare")
    parser.add_argument("--open-clip-python", default="")
    flags = parser.parse_args()
    folder = Path(flags.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    python = Path(flags.open_clip_python) if flags.open_clip_python else environment(folder)

    a = [np.load(ours(folder, seed)) for seed in SEEDS]
    turns = kept(folder / "timing.json", lambda: timing(python))
    seconds = {name: float(np.median(values)) for name, values in turns.items()}
    precision = min(("fp32", "amp_bf16"), key=seconds.get)
    from mmjax.config import load
    from mmjax.run.options import Options

    steps = load(CONFIG, schema=Options).train.steps
    theirs = round(steps * seconds["mmjax"] / seconds[precision])
    print(f"seconds per step {seconds}: {steps} steps of mmjax = {theirs} of open_clip", flush=True)

    def train(rate: float, seed: int) -> Path:
        out = folder / f"open_clip-{rate:g}-{seed}.npz"
        if not out.exists():
            print(other_side(
                python, f"--precision={precision}", f"--steps={theirs}", f"--seed={seed}",
                f"--learning-rate={rate}", f"--out={out}",
            ), flush=True)  # fmt: skip
        return out

    def score(path: Path) -> float:
        return json.loads(str(np.load(path)["validation"]))["unseen_style/image_to_text/r1"]

    validation = {rate: score(train(rate, SEEDS[0])) for rate in RATES}
    best = max(validation, key=validation.get)
    print(f"open_clip, validation R@1 by learning rate: {validation}", flush=True)
    b = [np.load(train(best, seed)) for seed in SEEDS]

    from mmjax.evaluation.measures import bootstrap

    results = {
        "seconds_per_step": seconds,
        "steps": {"mmjax": steps, "open_clip": theirs},
        "train_seconds_of_each": steps * seconds["mmjax"],
        "open_clip_precision": precision,
        "open_clip_validation_by_learning_rate": validation,
        "seeds": len(SEEDS),
    }
    for name in HEADLINE:
        group = name.rsplit("/", 1)[0] + "/group"
        mine, other = np.stack([x[name] for x in a]), np.stack([x[name] for x in b])
        results[name] = {
            "mmjax": bootstrap.mean(mine, cluster=a[0][group])._asdict(),
            "open_clip": bootstrap.mean(other, cluster=a[0][group])._asdict(),
            "difference": bootstrap.paired(mine, other, cluster=a[0][group])._asdict(),
            "mmjax_seeds": mine.mean(1).tolist(),
            "open_clip_seeds": other.mean(1).tolist(),
        }
    out = folder / "results.json"
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
