"""Whisper's encoder beside `transformers`: seconds for a window of 30 seconds.

    python -m experiments.speed.whisper_encoder

Both sides have the same random weights (a file written by ours, opened by theirs), float32, in one
process and one run, in turn. Without torch installed, ours alone is timed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.conversion import whisper as whisper_files
from mmjax.conversion.formats import files
from mmjax.conversion.mapping import table as tables
from mmjax.models import whisper

PROMPT = 16  # tokens


def best(turns: int, call: Callable, *args: Any, **kwargs: Any) -> float:
    """Seconds of the fastest of so many calls, after one that compiles."""
    jax.block_until_ready(call(*args, **kwargs))
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        jax.block_until_ready(call(*args, **kwargs))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def start(model: nn.Module, *inputs: jax.Array) -> dict:
    """Random parameters."""
    return nn.unbox(jax.jit(model.init)(jax.random.key(0), *inputs))


def reference(kind: str, family: ModuleType, config: Any, variables: dict) -> Any:
    """The same weights in a class of `transformers`; None without torch."""
    try:
        import torch
        import transformers
    except ImportError:
        return None

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(family.upstream(config)))
        tensors = tables.write(family.table(config), variables["params"])
        files.save(Path(folder, "model.safetensors"), tensors)
        return getattr(transformers, kind).from_pretrained(folder).eval()


def encode(turns: int) -> None:
    """Prints seconds of Whisper tiny.en's encoder over a window of 30 seconds."""
    config = whisper.VARIANTS["tiny.en"]
    model = whisper.Model(config)
    sound = np.random.default_rng(0).normal(size=(1, 3000, 80)).astype(np.float32)
    variables = start(model, jnp.asarray(sound), jnp.zeros((1, 1), jnp.int32))
    run = jax.jit(lambda v, x: model.apply(v, x, method="encode_audio"))
    ours = best(turns, run, variables, sound)
    print(f"Whisper tiny.en encoder, 30 s\nmmjax         {ours:.3f} s, {37.9 / ours:.0f} GFLOP/s")
    theirs = reference("WhisperForConditionalGeneration", whisper_files, config, variables)
    if theirs is not None:
        import torch

        features = torch.tensor(sound.transpose(0, 2, 1))
        encoder = theirs.get_encoder()
        with torch.no_grad():
            seconds = best(turns, encoder, features)
            said = encoder(features).last_hidden_state.numpy()
        off = np.abs(said - run(variables, sound)).max()
        print(f"transformers  {seconds:.3f} s; ratio {seconds / ours:.2f}; off by {off:.0e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="the fastest of so many counts")
    encode(parser.parse_args().turns)
