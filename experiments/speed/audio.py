"""CLAP: a train step beside `transformers`, and its front end beside two in torch, in turn.

    python -m experiments.speed.audio --torch-python=/path/to/python/with/torch/and/transformers

* The model has the sizes of laion/clap-htsat-unfused (HTSAT-tiny, RoBERTa base) and random weights:
  forward, contrastive loss, backward, gradient clipping, AdamW; float32, captions of 16 tokens and
  frames of 10 seconds ready in memory. No dropout on either side, and batch norms have kept
  statistics on both, as here: the same mathematics.
* Front end: recordings of 10 seconds at 48 kHz to log-mel frames. mmjax: transforms/mel_clap.py in
  as many threads as there are cores, float64 inside. Others: the extractor of transformers (float64
  too), and torch.stft with the same filters in torch's own threads (float32), which is what
  torchaudio's MelSpectrogram and AmplitudeToDB do.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKENS = 16
SECONDS = 10


def batch_of(rows: int):
    """Frames in dB [rows, 1, 1001, 64] and ids [rows, TOKENS]."""
    import numpy as np

    rng = np.random.default_rng(0)
    frames = rng.normal(-30, 15, size=(rows, 1, 1001, 64)).astype(np.float32)
    return frames, rng.integers(3, 50_000, (rows, TOKENS)).astype(np.int32)


def clips_of(count: int):
    """Noise of 10 seconds at 48 kHz."""
    import numpy as np

    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, SECONDS * 48_000).astype(np.float32) for _ in range(count)]


def threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def timed(turn, steps: int) -> list[float]:
    """Seconds of each turn, after two that are not counted."""
    seconds = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        turn()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds[2:])


def mmjax_step(flags: argparse.Namespace) -> dict:
    """Of a train step: seconds, and where they go."""
    import jax
    import numpy as np

    from experiments.speed import where
    from mmjax.models import clap
    from mmjax.run.options import Execution
    from mmjax.run.runtime import prepare
    from mmjax.tasks import contrastive
    from mmjax.training import flops, optimizer, sharding, state, step

    prepare(Execution())
    config = clap.VARIANTS["HTSAT-T"]
    frames, ids = batch_of(flags.rows)
    batch = {"audio": frames, "text": ids, "text_mask": np.ones(ids.shape, bool),
             "weight": np.ones(flags.rows, np.float32)}  # fmt: skip
    task = contrastive.build(contrastive.Config(), clap.Model(config))
    groups = (optimizer.Group(learning_rate=1e-4, weight_decay=0.01),)
    mesh = sharding.make_mesh(sharding.Config())
    with jax.set_mesh(mesh):
        plan = state.specify(
            task, batch, optimizer.Config(groups), mesh, sharding.Config(), steps=1000, seed=0
        )
        one = step.make_step(plan)
        work = flops.count(one, plan.shapes, batch)
        now, batch = plan.init(), jax.device_put(batch)
        compiled = jax.jit(one, donate_argnums=0).lower(now, batch).compile()

        def turn() -> None:
            nonlocal now
            now, _ = jax.block_until_ready(compiled(now, batch))

        seconds = timed(turn, flags.steps)
        spent = where.seconds(compiled, turn) if flags.where else {}
    return dict(seconds=seconds, flops=work, matmul=flops.measured("float32", 2048), where=spent)


def transformers_step(flags: argparse.Namespace) -> dict:
    """The same of transformers."""
    import torch
    import transformers

    torch.set_num_threads(threads())
    none = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = transformers.ClapModel(
        transformers.ClapConfig(audio_config=none, text_config=none)
    ).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    frames, ids = batch_of(flags.rows)
    inputs = dict(
        input_features=torch.from_numpy(frames), input_ids=torch.from_numpy(ids).long(),
        attention_mask=torch.ones(ids.shape, dtype=torch.long), return_loss=True,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)

    def turn() -> None:
        optimizer.zero_grad()
        model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return dict(seconds=timed(turn, flags.steps))


def mmjax_front(flags: argparse.Namespace) -> dict:
    """Log-mel frames in as many threads as cores."""
    from concurrent.futures import ThreadPoolExecutor

    from mmjax.transforms.mel_clap import ClapMel

    clips = clips_of(flags.clips)
    mel = ClapMel("rand_trunc")
    with ThreadPoolExecutor(threads()) as pool:
        return dict(seconds=timed(lambda: list(pool.map(mel.of, clips)), flags.steps))


def extractor_front(flags: argparse.Namespace) -> dict:
    """Those of transformers."""
    import transformers

    clips = clips_of(flags.clips)
    extractor = transformers.ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50)

    def turn() -> None:
        extractor(clips, sampling_rate=48_000, return_tensors="np")

    return dict(seconds=timed(turn, flags.steps))


def stft_front(flags: argparse.Namespace) -> dict:
    """torch.stft, power, filters, decibels, of each clip; float32."""
    import torch
    import transformers

    torch.set_num_threads(threads())
    filters = transformers.ClapFeatureExtractor(frequency_min=50).mel_filters_slaney
    filters = torch.tensor(filters.T, dtype=torch.float32)  # [M, F]
    window = torch.hann_window(1024)
    clips = [torch.from_numpy(clip) for clip in clips_of(flags.clips)]

    def turn() -> None:
        for clip in clips:
            spectrum = torch.stft(clip, 1024, 480, window=window, return_complex=True)
            mel = filters @ spectrum.abs().square()
            10.0 * torch.log10(mel.clamp(min=1e-10)).T.contiguous()

    with torch.inference_mode():
        return dict(seconds=timed(turn, flags.steps))


SIDES = {
    "mmjax_step": mmjax_step,
    "transformers_step": transformers_step,
    "mmjax_front": mmjax_front,
    "extractor_front": extractor_front,
    "stft_front": stft_front,
}


def measured(python: str, side: str, flags: argparse.Namespace) -> dict:
    """One side, in a process of its own."""
    command = [python, "-m", "experiments.speed.audio", f"--side={side}", f"--rows={flags.rows}",
               f"--steps={flags.steps}", f"--clips={flags.clips}"]  # fmt: skip
    command += ["--where"] * flags.where
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """The table; with --side, one side's figures as a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--where", action="store_true", help="where mmjax's step spends its time")
    parser.add_argument("--side", default="", choices=("", *SIDES))
    flags = parser.parse_args()
    if flags.side:
        print(json.dumps(SIDES[flags.side](flags)))
        return
    import statistics

    found: dict[str, list] = {side: [] for side in SIDES}
    for _ in range(flags.turns):
        for side, ones in found.items():
            python = sys.executable if side.startswith("mmjax") else flags.torch_python
            ones.append(measured(python, side, flags))
    print(f"{threads()} threads, {flags.turns} turns of {flags.steps}")
    print(f"{'':18} {'seconds':>8} {'lowest':>8} {'highest':>8} {'a second':>9} {'mmjax / it':>11}")
    medians = {}
    for side, ones in found.items():
        seconds = [one for each in ones for one in each["seconds"]]
        medians[side] = statistics.median(seconds)
        kind = side.rpartition("_")[2]
        count = flags.rows if kind == "step" else flags.clips
        ratio = medians[side] / medians[f"mmjax_{kind}"]
        print(
            f"{side:18} {medians[side]:8.2f} {min(seconds):8.2f} {max(seconds):8.2f} "
            f"{count / medians[side]:9.2f} {ratio:11.2f}"
        )
    ones = found["mmjax_step"]
    share = ones[0]["flops"] / medians["mmjax_step"] / max(one["matmul"] for one in ones)
    print(f"mmjax's step: {ones[0]['flops'] / 1e9:.0f} GFLOP, {share:.0%} of a large matmul's rate")
    if flags.where:
        print("\n".join(f"{name:24} {value:.3f}" for name, value in ones[-1]["where"].items()))


if __name__ == "__main__":
    main()
