"""A train step of CLIP ViT-B/32: mmjax beside open_clip, on the same batches, in turn.

    python -m experiments.speed.clip_train --folder=runs/speed

* Both do the whole step: towers forward and backward, contrastive loss, gradient clipping, AdamW;
  random pixels, captions of the bundled emoji, ids ready in memory. float32 on both sides, and each
  side's bfloat16 (mmjax: operands of matmuls; open_clip: amp_bf16).
* "full": captions padded to 77 tokens on both sides. "real": mmjax pads to the batch's longest,
  rounded up to a multiple of 4; open_clip always pads to 77. The loss is the same.
* The share of the matmul rate is FLOPs of the step (recomputation aside) over its seconds, beside a
  large matmul of the same kind timed in the same turn. Where the rest goes: where.py.
* open_clip needs torch: an environment of its own is made in the folder, unless
  --open-clip-python names one.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIDES = (("mmjax", "float32"), ("open_clip", "float32"), ("mmjax", "bfloat16"),
         ("open_clip", "bfloat16"))  # fmt: skip


def captions(count: int) -> list[str]:
    """Of the bundled emoji, the first ones of the training split."""
    from mmjax.datasets import emoji

    source = emoji.open(emoji.Config(split="train"))
    return [source[row]["text"] for row in range(count)]


def ids_of(rows: int, real: bool):
    """(ids [rows, L], mask): CLIP's own tokens, 77 or the longest rounded up to a multiple of 4."""
    import numpy as np

    from mmjax.processors import vocabularies

    tokenizer = vocabularies.named("open_clip")
    start, end = tokenizer.special["<start>"], tokenizer.special["<end>"]
    encoded = [[start, *tokenizer.encode(text), end] for text in captions(rows)]
    longest = max(map(len, encoded))
    ids = np.zeros((rows, 4 * -(-longest // 4) if real else 77), np.int32)
    for row, one in enumerate(encoded):
        ids[row, : len(one)] = one
    mask = np.arange(ids.shape[1]) < np.array([len(one) for one in encoded])[:, None]
    return ids, mask


def mmjax_side(flags: argparse.Namespace) -> dict:
    """Seconds of a step; the step's FLOPs; the rate of a large matmul."""
    import jax
    import numpy as np

    from experiments.speed import where
    from mmjax.models import clip
    from mmjax.run.options import Execution
    from mmjax.run.runtime import prepare
    from mmjax.tasks import contrastive
    from mmjax.training import flops, optimizer, sharding, state, step

    prepare(Execution())
    base = clip.VARIANTS["B/32"]
    kind = dict(dtype=flags.precision, unroll=12)
    config = dataclasses.replace(
        base,
        image=dataclasses.replace(
            base.image, transformer=dataclasses.replace(base.image.transformer, **kind)
        ),
        text=dataclasses.replace(
            base.text, transformer=dataclasses.replace(base.text.transformer, **kind)
        ),
    )
    ids, mask = ids_of(flags.rows, flags.captions == "real")
    size = config.image.image_size
    batch = {
        "image": np.random.default_rng(0).normal(size=(flags.rows, size, size, 3)),
        "text": ids,
        "text_mask": mask,
        "weight": np.ones(flags.rows),
    }
    batch = {n: x.astype(np.float32) if x.dtype == float else x for n, x in batch.items()}
    task = contrastive.build(contrastive.Config(), clip.Model(config))
    groups = (optimizer.Group(learning_rate=5e-4, weight_decay=0.2, b2=0.98),)
    mesh = sharding.make_mesh(sharding.Config())
    with jax.set_mesh(mesh):
        plan = state.specify(
            task, batch, optimizer.Config(groups), mesh, sharding.Config(), steps=1000, seed=0
        )
        one, seconds = step.make_step(plan), []
        work = flops.count(one, plan.shapes, batch)
        now, batch = plan.init(), jax.device_put(batch)
        compiled = jax.jit(one, donate_argnums=0).lower(now, batch).compile()

        def turn() -> None:
            nonlocal now
            now, _ = jax.block_until_ready(compiled(now, batch))

        for _ in range(flags.steps + 2):
            started = time.perf_counter()
            turn()
            seconds.append(time.perf_counter() - started)
        spent = where.seconds(compiled, turn)
    rate = flops.measured(flags.precision, 2048)
    return dict(seconds=sorted(seconds[2:]), flops=work, matmul=rate, tokens=ids.shape[1],
                where=spent)  # fmt: skip


def open_clip_side(flags: argparse.Namespace) -> dict:
    """The same of open_clip; its ids always have 77 places."""
    import contextlib

    import numpy as np
    import open_clip
    import torch
    from open_clip.loss import ClipLoss

    torch.set_num_threads(os.cpu_count() or 1)
    model = open_clip.create_model("ViT-B-32", pretrained=None).train()
    ids, _ = ids_of(flags.rows, False)
    text = torch.from_numpy(ids).long()
    pixels = np.random.default_rng(0).normal(size=(flags.rows, 3, 224, 224)).astype(np.float32)
    images, loss_of, seconds = torch.from_numpy(pixels), ClipLoss(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.98), weight_decay=0.2)
    low = flags.precision == "bfloat16"
    for _ in range(flags.steps + 2):
        started = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if low else contextlib.nullcontext():
            loss = loss_of(*model(images, text))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return dict(seconds=sorted(seconds[2:]), tokens=77)


def measured(python: str, side: str, precision: str, flags: argparse.Namespace, kind: str) -> dict:
    command = [python, "-m", "experiments.speed.clip_train", f"--side={side}",
               f"--precision={precision}", f"--captions={kind}", f"--rows={flags.rows}",
               f"--steps={flags.steps}"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """The table; with --side, one side's figures as a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default="runs/speed")
    parser.add_argument("--open-clip-python", default="")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--side", default="", choices=("", "mmjax", "open_clip"))
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--captions", default="full", choices=("full", "real"))
    flags = parser.parse_args()
    if flags.side:
        side = mmjax_side if flags.side == "mmjax" else open_clip_side
        print(json.dumps(side(flags)))
        return
    import statistics

    from experiments.emoji.compare import environment
    from mmjax.report.table import aligned

    folder = Path(flags.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    other = flags.open_clip_python or str(environment(folder))
    found: dict[tuple, list] = {}
    kinds = [(*side, kind) for kind in ("full", "real") for side in SIDES
             if kind == "full" or side[0] == "mmjax"]  # fmt: skip
    for _ in range(flags.turns):
        for side, precision, kind in kinds:
            python = sys.executable if side == "mmjax" else other
            one = measured(python, side, precision, flags, kind)
            found.setdefault((side, precision, kind), []).append(one)
    seconds = {key: statistics.median([s for one in ones for s in one["seconds"]])
               for key, ones in found.items()}  # fmt: skip
    rows = []
    for (side, precision, kind), value in seconds.items():
        ones = found[side, precision, kind]
        share = ratio = ""
        if side == "mmjax":
            share = f"{ones[0]['flops'] / value / max(one['matmul'] for one in ones):.0%}"
            ratio = f"{seconds['open_clip', precision, 'full'] / value:.2f}"
        rows.append((side, precision, str(ones[0]["tokens"]), f"{value:.2f}",
                     f"{flags.rows / value:.1f}", share, ratio))  # fmt: skip
    head = ("", "precision", "tokens", "s a step", "examples/s", "of the matmul rate", "ratio")
    print(aligned(head, rows, right=range(2, 7)))
    kinds = {of: found["mmjax", of, "full"][-1]["where"] for of in ("float32", "bfloat16")}
    rows = [(kind, *(f"{spent.get(kind, 0) / sum(spent.values()):.0%}" for spent in kinds.values()))
            for kind in kinds["float32"]]  # fmt: skip
    print("\n" + aligned(("mmjax's step, 77 tokens", *kinds), rows, right=(1, 2)))
    (folder / "clip_train.json").write_text(
        json.dumps({" ".join(key): ones for key, ones in found.items()}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
