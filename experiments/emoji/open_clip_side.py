"""open_clip on the batches of an mmjax config: the other side of `compare.py`.

* Equal: images after augmentation, token ids, batch order, tower sizes, schedule shape, clipping.
  Where ours has no text blocks, open_clip gets TEXT_LAYERS: it reads captions at their end token.
* open_clip's own: model, initialisation, pooling, loss, AdamW groups, precision (the faster one).
* Batches come from mmjax's pipeline, so both sides see the same numbers. It needs an environment of
  its own, which `compare.py` makes.

    python open_clip_side.py --config=... --seed=0 --steps=300 --learning-rate=1e-3 --out=FILE.npz
    python open_clip_side.py --config=... --time=20            # seconds per step, no training
"""

import argparse
import contextlib
import json
import math
import time

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss
from open_clip.model import CLIP

from mmjax.config import build, load
from mmjax.evaluation.base import join_columns
from mmjax.run.assembly import Run
from mmjax.run.evaluations import EvaluationRun, build_evaluations
from mmjax.run.options import Options
from mmjax.run.runtime import keep_memory

TEXT_LAYERS = 2


def model_of(run: Run) -> CLIP:
    """open_clip's CLIP with the sizes of the run's towers."""
    image, text = run.model.config.image, run.model.config.text
    body, words = image.transformer, text.transformer
    vision = dict(
        layers=body.layers,
        width=body.width,
        head_width=body.width // body.heads,
        mlp_ratio=body.hidden / body.width,
        patch_size=image.patch_size,
        image_size=image.image_size,
    )
    end = run.part().processor.tokenizer.special["<end>"]
    language = dict(
        context_length=text.context_length,
        vocab_size=text.vocab_size,
        width=words.width,
        heads=words.heads,
        layers=words.layers or TEXT_LAYERS,
        mlp_ratio=words.hidden / words.width,
        pool_type="eos",
        eos_id=end,
        pad_id=run.part().processor.tokenizer.special["<pad>"],
    )
    return CLIP(run.model.config.embedding, vision, language)


def optimizer_of(model: CLIP, rate: float) -> torch.optim.AdamW:
    """AdamW as open_clip's trainer sets it up: no decay on gains, biases and the scale."""

    def bare(name: str, p: torch.Tensor) -> bool:
        return p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit" in name

    named = list(model.named_parameters())
    groups = [
        dict(params=[p for n, p in named if bare(n, p)], weight_decay=0.0),
        dict(params=[p for n, p in named if not bare(n, p)], weight_decay=0.2),
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6)


def tensors(arrays: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [B, C, H, W] and ids [B, context length]."""
    images = torch.from_numpy(np.ascontiguousarray(arrays["image"].transpose(0, 3, 1, 2)))
    text = arrays["text"]
    return images, torch.from_numpy(text.reshape(-1, text.shape[-1])).long()


def rows_of(model: CLIP, evaluation: EvaluationRun, length: int) -> dict:
    """What retrieval needs of every example, as mmjax's evaluator gets it."""
    rows: dict[str, list] = {"image": [], "text": [], "index": [], "source": []}
    pipeline = evaluation.pipeline(evaluation.source)
    with torch.no_grad(), pipeline.batches(0, pipeline.plan.steps) as batches:
        for batch in batches:
            arrays = batch.arrays
            real = arrays["weight"] > 0
            images, ids = tensors(arrays)
            ids = torch.nn.functional.pad(ids, (0, length - ids.shape[1]))
            rows["image"].append(model.encode_image(images, normalize=True).float().numpy()[real])
            rows["text"].append(model.encode_text(ids, normalize=True).float().numpy()[real])
            for name in ("index", "source"):
                rows[name].append(arrays[name][real])
    out = {name: np.concatenate(parts) for name, parts in rows.items()}
    return join_columns(out, evaluation.evaluator.columns, evaluation.source)


def main() -> None:
    """Trains (or times), and writes metrics and per-query hits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--precision", default="amp_bf16", choices=("fp32", "amp_bf16"))
    parser.add_argument("--time", type=int, default=0)
    parser.add_argument("--out", default="")
    flags = parser.parse_args()
    keep_memory(arenas=1)  # as ours; torch allocates in several threads
    torch.set_num_threads(2)
    torch.manual_seed(flags.seed)
    steps = flags.time or flags.steps
    config = load(flags.config, [f"seed={flags.seed}"], schema=Options)
    share = config.optimizer.groups[-1]["warmup"] / config.train.steps
    config.train.steps = steps
    for group in config.optimizer.groups:
        group["warmup"] = 0
    run = Run(build(Options, config))
    model, loss_of = model_of(run), ClipLoss()
    optimizer = optimizer_of(model, flags.learning_rate)
    length, warmup = run.model.config.text.context_length, int(share * steps)
    low = flags.precision == "amp_bf16"
    seconds = []
    with run.pipeline.batches(0, steps) as batches:
        for step, batch in enumerate(batches):
            images, ids = tensors(batch.arrays)
            started = time.perf_counter()
            rate = (step + 1) / (warmup + 1)
            if step >= warmup:
                rate = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
            for group in optimizer.param_groups:
                group["lr"] = flags.learning_rate * rate
            optimizer.zero_grad()
            auto = torch.autocast("cpu", torch.bfloat16) if low else contextlib.nullcontext()
            with auto:
                image, text, scale = model(
                    images, torch.nn.functional.pad(ids, (0, length - ids.shape[1]))
                )
                loss = loss_of(image, text, scale)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            seconds.append(time.perf_counter() - started)
    if flags.time:
        print(
            json.dumps(
                {"step_seconds": float(np.median(seconds[3:])), "version": open_clip.__version__}
            )
        )
        return
    model.eval()
    validation, hits = {}, {}
    for split, which in (("validation", run.options.validation), ("test", run.options.test)):
        for name, evaluation in build_evaluations(run, which).items():
            if evaluation.options.evaluator.name != "retrieval":
                continue
            rows = rows_of(model, evaluation, length)
            result = evaluation.evaluator.finish(rows, evaluation.context)
            if split == "validation":  # what the learning rate is chosen by
                validation |= {f"{name}/{key}": value for key, value in result.metrics.items()}
            else:
                hits |= {f"{name}/{key}": value for key, value in result.queries.items()}
    np.savez(flags.out, validation=json.dumps(validation), **hits)
    print(json.dumps({"loss": float(loss), "median_step": float(np.median(seconds))}))


if __name__ == "__main__":
    main()
