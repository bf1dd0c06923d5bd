"""Clips out of files, and a train step of a ViViT: mmjax beside torch, in turn.

Each side has a process of its own.

    python -m experiments.speed.video --folder=runs/speed

* Clips: 20 MP4 files of 10 s (640 x 360, 30 frames a second, H.264 with a key frame every 2 s, made
  here), 8 frames of each by random segment, one random resized crop to 224 and flip a clip, mean
  and deviation; float32 batches of 4.
* The other side is a torch DataLoader with 2 workers over PyAV and Pillow: "reading on" decodes
  from the beginning, as the reference's examples do; "seeking" starts at the key frame before each
  time.
* Step: ViViT-B/16x2 on 8 frames of 224 x 224, forward, backward and AdamW, float32, against
  `VivitForVideoClassification` of `transformers`.
* It needs torch and transformers beside mmjax.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from mmjax.data.storage import Progress

ROOT = Path(__file__).resolve().parents[2]
COUNT, SECONDS, RATE, SIZE = 20, 10, 30, 224
FRAMES, ROWS, WORKERS = 8, 4, 2
SIDES = ("mmjax", "reading_on", "seeking")


def clips(folder: Path) -> list[Path]:
    """The files, made where they are not there: coloured waves that drift."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.mp4" for number in range(COUNT)]
    with Progress("making clips", COUNT) as progress:
        for number, path in enumerate(paths):
            if not path.exists():
                _make(path, number)
            progress.advance(1)
    return paths


def _make(path: Path, number: int) -> None:
    """One of them, whole or not at all."""
    import av

    y, x = np.mgrid[:360, :640].astype(np.float32)
    rng = np.random.default_rng(number)
    waves = rng.uniform(0.01, 0.08, (3, 2))
    drift = rng.uniform(-3, 3, 3)
    grain = rng.integers(0, 40, (360, 640, 3))
    draft = path.with_suffix(".part")
    with av.open(str(draft), "w", format="mp4") as file:
        track = file.add_stream("libx264", rate=RATE)
        track.width, track.height, track.pix_fmt = 640, 360, "yuv420p"
        track.codec_context.gop_size = 2 * RATE
        track.codec_context.time_base = Fraction(1, RATE)
        for moment in range(SECONDS * RATE):
            phase = waves[:, 0] * x[..., None] + waves[:, 1] * y[..., None]
            pixels = 110 + 100 * np.sin(phase + drift * moment / RATE) + grain
            frame = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), "rgb24")
            file.mux(track.encode(frame))
        file.mux(track.encode())
    draft.rename(path)


def mmjax_clips(paths: list[Path], batches: int) -> float:
    """Clips a second, all cores."""
    from mmjax.data.pipeline import Pipeline
    from mmjax.data.plan import Mixture
    from mmjax.data.source import InMemory
    from mmjax.processors import image_text, video
    from mmjax.run.runtime import keep_memory

    keep_memory()
    source = InMemory([{"video": path.read_bytes()} for path in paths], "clips")
    augmentation = image_text.Augmentation(crop=(0.5, 1.0), flip=0.5)
    config = video.Config(SIZE, video.Frames(FRAMES), augmentation)
    steps = video.Processor(config).train
    plan = Mixture((len(source),), ROWS)
    pipeline = Pipeline([source], plan, steps, threads=os.cpu_count(), cache_bytes=0)
    with pipeline.batches() as stream:
        next(stream)
        started = time.perf_counter()
        for _ in range(batches):
            next(stream)
        return batches * ROWS / (time.perf_counter() - started)


def torch_clips(paths: list[Path], batches: int, seeking: bool) -> float:
    """The same by a DataLoader."""
    import torch

    loader = torch.utils.data.DataLoader(
        Clips(paths, (batches + 1) * ROWS, seeking), batch_size=ROWS, num_workers=WORKERS
    )
    stream = iter(loader)
    next(stream)
    started = time.perf_counter()
    done = sum(len(batch) for batch in stream)
    return done / (time.perf_counter() - started)


class Clips:
    """What a DataLoader reads."""

    def __init__(self, paths: list[Path], rows: int, seeking: bool):
        self.paths = paths
        self.rows = rows
        self.seeking = seeking

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int):
        import av
        import torch

        from mmjax.transforms.images import RandomResizedCrop

        if row >= self.rows:
            raise IndexError(row)
        rng = np.random.default_rng(row)
        with av.open(str(self.paths[row % len(self.paths)])) as file:
            track = file.streams.video[0]
            total = float(track.duration * track.time_base)
            times = (np.arange(FRAMES) + rng.random(FRAMES)) * total / FRAMES
            frames = sought(file, track, times) if self.seeking else read_on(file, track, times)
        pictures = [frame.to_image() for frame in frames]
        crop = RandomResizedCrop(SIZE, scale=(0.5, 1.0))
        left, top, width, height = crop.box(*pictures[0].size, rng)
        box = (left, top, left + width, top + height)
        cut = [one.resize((SIZE, SIZE), 3, box, reducing_gap=1.0) for one in pictures]
        pixels = torch.from_numpy(np.stack([np.asarray(one) for one in cut]))
        if rng.random() < 0.5:
            pixels = pixels.flip(2)
        return (pixels.float() / 255 - 0.5) / 0.5


def read_on(file, track, times) -> list:
    """From the beginning to the last of the times."""
    wanted = list(times)
    chosen = []
    last = None
    for frame in file.decode(track):
        while wanted and frame.time > wanted[0]:
            chosen.append(last or frame)
            wanted.pop(0)
        if not wanted:
            return chosen
        last = frame
    return chosen + [last] * len(wanted)


def sought(file, track, times) -> list:
    """Each from the key frame before it."""
    chosen = []
    for time_wanted in times:
        file.seek(int(time_wanted / track.time_base), stream=track)
        last = None
        for frame in file.decode(track):
            if frame.time > time_wanted:
                break
            last = frame
        chosen.append(last or frame)
    return chosen


def mmjax_step(rows: int, steps: int) -> list[float]:
    """Seconds of each step."""
    import dataclasses
    import functools

    import flax.linen as nn
    import jax
    import optax

    from mmjax.models import video_classifier, video_vit
    from mmjax.run.runtime import keep_memory

    keep_memory()
    tower = dataclasses.replace(video_vit.VARIANTS["ViViT-B/16x2"], frames=FRAMES)
    model = video_classifier.Model(video_classifier.Config(tower, classes=400))
    video, label = batch(rows)
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), video)["params"])
    optimizer = optax.adamw(1e-4)

    def loss_of(params, video, label):
        logits = model.apply({"params": params}, video).logits
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, video, label):
        loss, grads = jax.value_and_grad(loss_of)(params, video, label)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    state = optimizer.init(params)
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        params, state, loss = step(params, state, video, label)
        loss.block_until_ready()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def torch_step(rows: int, steps: int) -> list[float]:
    """The same of transformers."""
    import torch
    import transformers

    config = transformers.VivitConfig(num_frames=FRAMES, num_labels=400)
    model = transformers.VivitForVideoClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    video, label = batch(rows)
    pixels = torch.from_numpy(np.ascontiguousarray(video.transpose(0, 1, 4, 2, 3)))
    label = torch.from_numpy(label)
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        model(pixels, labels=label).loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def batch(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and classes."""
    rng = np.random.default_rng(0)
    video = rng.normal(size=(rows, FRAMES, SIZE, SIZE, 3)).astype(np.float32)
    return video, rng.integers(0, 400, rows)


def measured(kind: str, side: str, flags: argparse.Namespace) -> list[float]:
    """In a process of its own."""
    command = [sys.executable, "-m", "experiments.speed.video", f"--kind={kind}", f"--side={side}",
               f"--folder={flags.folder}", f"--batches={flags.batches}", f"--rows={flags.rows}",
               f"--steps={flags.steps}"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """The table; with --side, one side's figures as a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default="runs/speed")
    parser.add_argument("--kind", default="", choices=("", "clips", "step"))
    parser.add_argument("--side", default="")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--turns", type=int, default=2)
    flags = parser.parse_args()
    paths = clips(Path(flags.folder).absolute() / "clips")
    if flags.side:
        if flags.kind == "step":
            found = (mmjax_step if flags.side == "mmjax" else torch_step)(flags.rows, flags.steps)
        elif flags.side == "mmjax":
            found = [mmjax_clips(paths, flags.batches)]
        else:
            found = [torch_clips(paths, flags.batches, flags.side == "seeking")]
        print(json.dumps(found))
        return
    from mmjax.report.table import aligned

    kinds = {"clips": SIDES, "step": ("mmjax", "transformers")}
    kinds = {kind: sides for kind, sides in kinds.items() if flags.kind in ("", kind)}
    found: dict[tuple[str, str], list[float]] = {}
    for turn in range(flags.turns):
        for kind, sides in kinds.items():
            for side in sides:
                found.setdefault((kind, side), []).extend(measured(kind, side, flags))
                print(f"turn {turn + 1}: {kind}, {side}: {found[kind, side][-1]:.2f}", flush=True)
    rows = []
    for (kind, side), values in found.items():
        ours = statistics.median(found[kind, "mmjax"])
        value = statistics.median(values)
        ratio = ours / value if kind == "clips" else value / ours
        unit = "clips/s" if kind == "clips" else "s a step"
        rows.append((kind, side, f"{value:.2f} {unit}", "" if side == "mmjax" else f"{ratio:.2f}"))
    print(aligned(("", "", "median", "mmjax is faster by"), rows, right=(2, 3)))


if __name__ == "__main__":
    main()
