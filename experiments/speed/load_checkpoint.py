"""Opening a CLIP of a gigabyte: memory above what stays, and time to the end of the first forward.

    pip install torch transformers
    python -m experiments.speed.load_checkpoint

* transformers writes a random CLIP of 255 million float32 parameters, in a temporary folder.
* mmjax opens it onto 8 devices (of the CPU, fsdp=8, each reads its slices) and on one; transformers
  opens it on one. The same 4 pictures and captions; each in a process of its own, in turn.
* Memory is anonymous (RssAnon, Linux), asked for every 2 ms. What stays is the memory before and
  the parameters: what an allocator keeps, or small ones on each device, are above it.
* Seconds are from the call that opens, and from the start of the process, imports included. Files
  are in the page cache on both sides, and XLA's programs in the compile cache: one turn beforehand
  is not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from mmjax.report.table import aligned

ROOT = Path(__file__).resolve().parents[2]
SIZES = dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12)
SIDES = {"transformers": 1, "mmjax": 1, "mmjax, fsdp=8": 8}  # devices
BATCH, PIXELS, TOKENS = 4, 224, 77


def anonymous() -> int:
    """Bytes of memory of this process that no file is behind."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Peak:
    """The most anonymous memory between entry and exit."""

    def __enter__(self) -> "Peak":
        self.most, self._open = 0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._open:
            self.most = max(self.most, anonymous())
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._thread.join()


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """Pixels [B, H, W, C] and ids [B, L] that both sides get."""
    rng = np.random.default_rng(0)
    pixels = rng.standard_normal((BATCH, PIXELS, PIXELS, 3)).astype(np.float32)
    ids = rng.integers(1, 49_000, (BATCH, TOKENS))
    ids[:, -1] = 49_407  # the end
    return pixels, ids


def write(folder: str) -> None:
    """The checkpoint."""
    import transformers

    config = transformers.CLIPConfig(
        vision_config=dict(num_hidden_layers=18, patch_size=32, **SIZES),
        text_config=dict(num_hidden_layers=12, **SIZES),
        projection_dim=512,
    )
    transformers.CLIPModel(config).save_pretrained(folder)


def theirs(folder: str) -> dict:
    """transformers."""
    import torch
    import transformers

    pixels, ids = inputs()
    started = time.perf_counter()
    with Peak() as peak, torch.no_grad():
        model = transformers.CLIPModel.from_pretrained(folder)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        out = model(input_ids=torch.from_numpy(ids), pixel_values=image)
        values = out.image_embeds.numpy(), out.text_embeds.numpy()
    return told(started, peak, values)


def ours(folder: str) -> dict:
    """mmjax."""
    import jax

    import mmjax
    from mmjax.run.options import Execution
    from mmjax.run.runtime import prepare
    from mmjax.training import sharding

    prepare(Execution())
    pixels, ids = inputs()
    count = jax.device_count()
    mesh = sharding.make_mesh(sharding.Config(data=1, fsdp=count)) if count > 1 else None
    before, started = anonymous(), time.perf_counter()
    with Peak() as peak:
        loaded = mmjax.load(folder, mesh=mesh)
    stays = sum(leaf.nbytes for leaf in jax.tree.leaves(loaded.params))
    values = jax.jit(loaded.model.apply)(loaded.variables, pixels, ids)
    values = [np.asarray(one) for one in values]
    return {**told(started, peak, values), "above": peak.most - before - stays}


def told(started: float, peak: Peak, values) -> dict:
    """What a side says of itself."""
    return {
        "seconds": time.perf_counter() - started,
        "peak": peak.most,
        "first": [one[:, :4].tolist() for one in values],
    }


def one(name: str, folder: str, cache: str) -> dict:
    """A side in a process of its own."""
    devices = f"--xla_force_host_platform_device_count={SIDES[name]}"
    command = [sys.executable, "-m", "experiments.speed.load_checkpoint"]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, f"--side={name.split(',')[0]}", f"--folder={folder}"],
        cwd=ROOT,
        env={**os.environ, "MMJAX_CACHE": cache, "XLA_FLAGS": devices, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "whole": time.perf_counter() - started}


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", default="", choices=("", "write", "transformers", "mmjax"))
    parser.add_argument("--folder", default="")
    parser.add_argument("--turns", type=int, default=3)
    flags = parser.parse_args()
    if flags.side == "write":
        write(flags.folder)
        return
    if flags.side:
        print(json.dumps({"transformers": theirs, "mmjax": ours}[flags.side](flags.folder)))
        return
    found: dict[str, list[dict]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "experiments.speed.load_checkpoint", "--side=write"]
        subprocess.run([*command, f"--folder={folder}/clip"], cwd=ROOT, check=True)
        size = sum(path.stat().st_size for path in Path(folder, "clip").glob("*.safetensors"))
        for turn in range(flags.turns + 1):
            for name in SIDES:
                result = one(name, f"{folder}/clip", f"{folder}/cache")
                if turn:
                    found[name].append(result)
    apart = max(
        float(np.abs(np.subtract(a, b)).max())
        for name in SIDES
        for a, b in zip(found[name][0]["first"], found["transformers"][0]["first"], strict=True)
    )
    print(f"{size / 2**20:,.0f} MiB; embeddings differ by {apart:.1e} at most")
    rows = []
    for name, several in found.items():
        seconds, whole = (np.median([one[key] for one in several]) for key in ("seconds", "whole"))
        above = [one["above"] / size for one in several if "above" in one]
        share = f"{max(above):.3f}" if above else "-"
        peak = max(one["peak"] for one in several) / size
        rows.append((name, f"{seconds:.1f}", f"{whole:.1f}", f"{peak:.2f}", share))
    names = ("", "s, load and forward", "s, process", "peak / file", "above what stays / file")
    print(aligned(names, rows, right=(1, 2, 3, 4)))


if __name__ == "__main__":
    main()
