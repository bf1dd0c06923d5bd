"""Greedy decoding with GPT-2 and Whisper's encoder: tokens a second beside `transformers`.

    python -m experiments.speed.decode

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

from mmjax.conversion import files
from mmjax.conversion import gpt2 as gpt2_files
from mmjax.conversion import table as tables
from mmjax.conversion import whisper as whisper_files
from mmjax.layers.stack import layers_apart
from mmjax.models import gpt2, whisper

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


def greedy(model: gpt2.Model, tokens: int) -> Callable:
    """A program: parameters and prompts -> so many new tokens."""

    @jax.jit
    def run(variables: dict, ids: jax.Array) -> jax.Array:
        def likeliest(step: gpt2.Step) -> jax.Array:
            return step.logits[:, -1:].argmax(-1)

        def extend(carry: tuple, _: None) -> tuple:
            cache, token = carry
            step = model.apply(variables, token, cache, method="extend")
            return (step.cache, likeliest(step)), token[:, 0]

        step = model.apply(
            variables, ids, slots=PROMPT + tokens, logits_at="last", method="prefill"
        )
        _, said = jax.lax.scan(extend, (step.cache, likeliest(step)), length=tokens)
        return said.T

    return run


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


def generated(turns: int, model: Any, ids: np.ndarray, tokens: int) -> tuple[float, np.ndarray]:
    """Seconds and new tokens of the reference."""
    import torch

    prompt = torch.tensor(ids)
    kwargs = dict(do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0)
    kwargs |= dict(attention_mask=torch.ones_like(prompt))
    with torch.no_grad():
        seconds = best(turns, model.generate, prompt, **kwargs)
        return seconds, model.generate(prompt, **kwargs)[:, PROMPT:].numpy()


def decode(turns: int, tokens: int) -> None:
    """Prints tokens a second of GPT-2 small at batch 1 and 8."""
    config = gpt2.VARIANTS["small"]
    model = gpt2.Model(config)
    variables = start(model, jnp.zeros((1, 4), jnp.int32))
    theirs = reference("GPT2LMHeadModel", gpt2_files, config, variables)
    apart = {"params": layers_apart(variables["params"])}
    run = greedy(model, tokens)
    print("GPT-2 small, greedy   batch  tokens/s  ratio")
    for batch in (1, 8):
        ids = np.random.default_rng(0).integers(0, config.vocab_size, (batch, PROMPT))
        rates = {}
        for name, params in (("layers stacked", variables), ("layers apart", apart)):
            rates[name] = batch * tokens / best(turns, run, params, ids)
        if theirs is not None:
            seconds, said = generated(turns, theirs, ids, tokens)
            rates["transformers"] = batch * tokens / seconds
            same = (said == np.asarray(run(apart, ids))).mean()
            print(f"the same tokens: {same:.0%}")
        for name, rate in rates.items():
            ratio = f"{rate / rates['transformers']:.2f}" if "transformers" in rates else ""
            print(f"{name:20s} {batch:6d}  {rate:8.1f}  {ratio:>5s}")


def encode(turns: int) -> None:
    """Prints seconds of Whisper tiny.en's encoder over a window of 30 seconds."""
    config = whisper.VARIANTS["tiny.en"]
    model = whisper.Model(config)
    sound = np.random.default_rng(0).normal(size=(1, 3000, 80)).astype(np.float32)
    variables = start(model, jnp.asarray(sound), jnp.zeros((1, 1), jnp.int32))
    run = jax.jit(lambda v, x: model.apply(v, x, method="encode_audio"))
    ours = best(turns, run, variables, sound)
    print(f"\nWhisper tiny.en encoder, 30 s\nmmjax         {ours:.3f} s, {37.9 / ours:.0f} GFLOP/s")
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
    parser.add_argument("--tokens", type=int, default=32, help="new tokens of each row")
    options = parser.parse_args()
    encode(options.turns)
    decode(options.turns, options.tokens)
