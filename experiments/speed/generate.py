"""Greedy generation beside `transformers`: tokens a second at batch 1 and 8.

    python -m experiments.speed.generate

* GPT-2 small, the same random weights on both sides (a file written by ours, opened by theirs),
  float32, in one process and one run, in turn; the same tokens are checked. Without torch
  installed, ours alone is timed.
* Beside each: the bytes of weights that a token reads, and the rate at which they were read; the
  line "memory" is what this machine reads at best, two threads that sum a large array.
* No program is compiled after the first call, which is checked.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed.whisper_encoder import best, reference, start
from mmjax.conversion import gpt2 as files
from mmjax.generation import generate
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.models import gpt2

PROMPT = 16  # tokens


def memory(turns: int) -> float:
    """Bytes a second that two threads read, at best."""
    parts = np.ones((2, 2**26), np.float32)
    rates = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in range(turns):
            before = time.perf_counter()
            list(pool.map(np.sum, parts))
            rates.append(parts.nbytes / (time.perf_counter() - before))
    return max(rates)


def theirs(turns: int, model: Any, ids: np.ndarray, tokens: int) -> tuple[float, np.ndarray]:
    """Seconds and new tokens of the reference."""
    import torch

    prompt = torch.tensor(ids)
    kwargs = dict(do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0)
    kwargs |= dict(attention_mask=torch.ones_like(prompt))
    with torch.no_grad():
        seconds = best(turns, model.generate, prompt, **kwargs)
        return seconds, model.generate(prompt, **kwargs)[:, PROMPT:].numpy()


def main(turns: int, tokens: int) -> None:
    config = gpt2.VARIANTS["small"]
    model = gpt2.Model(config)
    variables = start(model, jnp.zeros((1, 4), jnp.int32))
    bytes_read = sum(x.nbytes for x in jax.tree.leaves(variables))
    bytes_read -= variables["params"]["positions"].nbytes  # of which a token reads one row
    model_of_theirs = reference("GPT2LMHeadModel", files, config, variables)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables)
    generators = {
        "mmjax": Generator(model, variables),
        "mmjax, bfloat16 weights": Generator(model, half),
    }
    options = Options(max_new_tokens=tokens)
    print(f"memory: {memory(turns) / 1e9:.1f} GB/s; weights: {bytes_read / 1e9:.2f} GB in float32")
    print("GPT-2 small, greedy        batch  tokens/s   GB/s  ratio")
    for batch in (1, 8):
        ids = np.random.default_rng(0).integers(0, config.vocab_size, (batch, PROMPT))
        rates = {}
        said = {}
        for name, generator in generators.items():
            rates[name] = batch * tokens / best(turns, generator, dict(inputs=ids), options)
            said[name] = generator(dict(inputs=ids), options).tokens[:, 0]
        compiled = generate._answers._cache_size()
        generators["mmjax"](dict(inputs=ids[:, 1:]), options)
        assert generate._answers._cache_size() == compiled, "a shorter prompt compiled anew"
        if model_of_theirs is not None:
            seconds, wanted = theirs(turns, model_of_theirs, ids, tokens)
            rates["transformers"] = batch * tokens / seconds
            print(f"the same tokens: {(said['mmjax'] == wanted).mean():.0%}")
        for name, rate in rates.items():
            size = bytes_read / (2 if "bfloat16" in name else 1)
            ratio = f"{rate / rates['transformers']:.2f}" if "transformers" in rates else ""
            speed = rate / batch * size / 1e9
            print(f"{name:25s} {batch:6d}  {rate:8.1f}  {speed:5.1f}  {ratio:>5s}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--tokens", type=int, default=32, help="new tokens of each row")
    options = parser.parse_args()
    main(options.turns, options.tokens)
