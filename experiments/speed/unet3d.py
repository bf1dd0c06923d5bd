"""The U-Net of clips beside `diffusers`: a step of training, a step of sampling, part by part.

    python -m experiments.speed.unet3d            # a step of each
    python -m experiments.speed.unet3d --parts    # and of each part, forward and backward

Both sides have the same random weights (a folder written by ours, opened by theirs), float32, and
the same noisy clips, in one process and one run, in turn. A step of training: mean squared error,
gradients, Adam. A step of sampling: one call of the model, with and without the text. Without torch
installed, ours alone is timed.

Seconds are those of the clock and, in brackets, of the processor, which other work on the machine
changes less.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmjax.conversion import unet3d as unet_files
from mmjax.conversion.formats import files
from mmjax.conversion.mapping import table as tables
from mmjax.layers.unet import residual, transformers
from mmjax.models import unet3d

RATE = 1e-4
TOKENS = 16  # of a text


class Seconds(NamedTuple):
    """Of the fastest of several calls."""

    clock: float
    processor: float

    def __str__(self) -> str:
        return f"{self.clock:7.3f} ({self.processor:7.3f})"

    def ratio(self, ours: Seconds) -> str:
        """How much faster ours is."""
        by = (self.clock / ours.clock, self.processor / ours.processor)
        return "{:.2f} ({:.2f})".format(*by)


def in_turn(turns: int, *calls: Callable[[], Any]) -> list[Seconds]:
    """Each call in turn, after one that compiles."""
    for call in calls:
        call()
    found: list[list[Seconds]] = [[] for _ in calls]
    for _ in range(turns):
        for call, kept in zip(calls, found, strict=True):
            start = (time.perf_counter(), time.process_time())
            call()
            kept.append(Seconds(time.perf_counter() - start[0], time.process_time() - start[1]))
    return [Seconds(*map(min, zip(*one, strict=True))) for one in found]


def line(name: str, seconds: list[Seconds]) -> None:
    """Prints ours, theirs and the ratio."""
    theirs = f"{seconds[1]}  {seconds[1].ratio(seconds[0])}" if len(seconds) > 1 else ""
    print(f"{name:34} {seconds[0]}  {theirs}", flush=True)


def reference(config: unet3d.Config, params: Any, threads: int) -> Any:
    """The same weights in diffusers; None without it."""
    try:
        import diffusers
        import torch
    except ImportError:
        return None

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(unet_files.upstream(config)))
        tensors = tables.write(unet_files.table(config), params)
        files.save(Path(folder, unet_files.WEIGHTS), tensors)
        return diffusers.UNet3DConditionModel.from_pretrained(folder)


def scattered(params: Any) -> Any:
    """Parameters without the zeros that some of them start with."""
    leaves, form = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    moved = [x + 0.02 * rng.normal(size=x.shape).astype(np.float32) for x in leaves]
    return jax.tree.unflatten(form, moved)


def steps(options: argparse.Namespace) -> None:
    """Prints a step of training and one of sampling."""
    levels = len(options.widths)
    config = unet3d.Config(
        4, 64, tuple(options.widths), options.layers, (True,) * (levels - 1) + (False,),
        head_size=64, entry=True, frames=0,
    )  # fmt: skip
    model = unet3d.Model(config)
    shape = (options.rows, options.frames, options.size, options.size, 4)
    rng = np.random.default_rng(0)
    samples = rng.normal(size=shape).astype(np.float32)
    wanted = rng.normal(size=shape).astype(np.float32)
    states = rng.normal(size=(options.rows, TOKENS, 64)).astype(np.float32)
    times = np.linspace(0, 999, options.rows).astype(np.int32)
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), samples, times, states))["params"]
    params = scattered(params)
    count = sum(x.size for x in jax.tree.leaves(params))
    print(
        f"widths {options.widths}, {options.layers} layers a level, {count / 1e6:.0f} million "
        f"parameters; {options.rows} clips of {options.frames} x {options.size} x {options.size}\n"
        f"{'':34} {'mmjax':>17}  {'diffusers':>17}  ratio"
    )

    optimizer = optax.adam(RATE)

    @jax.jit
    def step(params: Any, state: Any) -> tuple:
        def loss(params: Any) -> jax.Array:
            said = model.apply({"params": params}, samples, times, states)
            return jnp.mean(jnp.square(said - wanted))

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    twice = [np.concatenate([x, x]) for x in (samples, times, states)]
    forward = jax.jit(lambda params, *told: model.apply({"params": params}, *told))
    compiled = forward.lower(params, *twice).compile()
    work = compiled.cost_analysis()["flops"]
    held = [params, optimizer.init(params)]

    def train() -> float:
        *held[:], value = step(*held)
        return float(value)

    calls = [[train], [lambda: jax.block_until_ready(compiled(params, *twice))]]
    theirs = reference(config, params, options.threads)
    if theirs is not None:
        import torch

        clips, clean = (torch.tensor(x).permute(0, 4, 1, 2, 3) for x in (samples, wanted))
        told = [torch.tensor(x) for x in (times, states)]
        adam = torch.optim.Adam(theirs.parameters(), RATE)
        with torch.no_grad():
            said = theirs.eval()(clips, *told).sample.permute(0, 2, 3, 4, 1).numpy()
        off = np.abs(said - forward(params, samples, times, states)).max()
        print(f"{'largest difference of outputs':34} {off:.0e}")

        def trained() -> float:
            value = torch.nn.functional.mse_loss(theirs(clips, *told).sample, clean)
            adam.zero_grad()
            value.backward()
            adam.step()
            return value.item()

        @torch.no_grad()
        def sampled() -> None:
            theirs(torch.cat([clips] * 2), *(torch.cat([x] * 2) for x in told))

        calls[0].append(trained)
        calls[1].append(sampled)
    line("step of training, s", in_turn(options.turns, *calls[0]))
    seconds = in_turn(options.turns, *calls[1])
    line("step of sampling, s", seconds)
    rate = work / seconds[0].processor / 1e9
    print(f"sampling: {1 / seconds[0].clock:.2f} steps a second; {rate:.0f} GFLOP/s of processor")
    if options.parts:
        parts(options, params, theirs, states)


def parts(options: argparse.Namespace, params: Any, theirs: Any, states: np.ndarray) -> None:
    """Prints each part of the first level, forward and backward."""
    width = options.widths[0]
    shape = (options.rows, options.frames, options.size, options.size, width)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    condition = np.random.default_rng(2).normal(size=(len(x), 4 * width)).astype(np.float32)
    own = params["down_0_0"]
    heads = width // 64
    block = None if theirs is None else theirs.down_blocks[0]
    rows = {
        "residual": (residual.Residual(width), (condition,)),
        "temporal_residual": (residual.TemporalResidual(), ()),
        "spatial": (transformers.SpatialTransformer(heads), (states,)),
        "temporal": (transformers.TemporalTransformer(heads), ()),
    }
    for name, (module, more) in rows.items():

        def loss(given: Any, x: jax.Array, module: Any = module, more: tuple = more) -> jax.Array:
            return jnp.sum(jnp.square(module.apply({"params": given}, x, *more)))

        run = jax.jit(jax.grad(loss, argnums=(0, 1)))
        calls = [lambda run=run, given=own[name]: jax.block_until_ready(run(given, x))]
        if block is not None:
            calls.append(_theirs(block, name, x, condition, states))
        line(f"{name}, {math.prod(shape[1:4])} places", in_turn(options.turns, *calls))


def _theirs(block: Any, name: str, x: np.ndarray, condition: Any, states: Any) -> Callable:
    """The same part of a level of diffusers, forward and backward."""
    import torch

    frames = x.shape[1]
    rows = torch.tensor(x.reshape(-1, *x.shape[2:])).permute(0, 3, 1, 2).contiguous()
    rows.requires_grad_()
    told = torch.tensor(condition).repeat_interleave(frames, 0)
    text = torch.tensor(states).repeat_interleave(frames, 0)
    call = {
        "residual": lambda: block.resnets[0](rows, told),
        "temporal_residual": lambda: block.temp_convs[0](rows, num_frames=frames),
        "spatial": lambda: block.attentions[0](rows, text).sample,
        "temporal": lambda: block.temp_attentions[0](rows, num_frames=frames).sample,
    }[name]

    def run() -> None:
        rows.grad = None
        call().square().sum().backward()

    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256], help="of each level")
    parser.add_argument("--layers", type=int, default=1, help="of each level")
    parser.add_argument("--rows", type=int, default=1, help="clips")
    parser.add_argument("--frames", type=int, default=8, help="of each clip")
    parser.add_argument("--size", type=int, default=16, help="height and width of a frame")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--turns", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--parts", action="store_true", help="each part of the first level too")
    steps(parser.parse_args())
