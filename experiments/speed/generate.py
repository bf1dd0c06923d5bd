"""Greedy generation beside `transformers`: tokens a second at batch 1 and 8.

    python -m experiments.speed.generate
    python -m experiments.speed.generate --only=llava

* GPT-2 small, and a LLaVA whose Llama has the same size and whose pictures have 49 tokens. The same
  random weights on both sides (a file written by ours, opened by theirs), float32, in one process
  and one run, in turn; the same tokens are checked. Without torch installed, ours alone is timed.
* Beside each: the rate at which the weights that a token reads were read. The line "memory" is what
  two threads read of a large array at best, the line "products" what XLA's matrix products alone
  read, of matrices of GPT-2's size: a model can be no faster than that.
* No program is compiled after the first call, which is checked.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed.whisper_encoder import best, reference, start
from mmjax.conversion import gpt2 as gpt2_files
from mmjax.conversion import llava as llava_files
from mmjax.generation import generate
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.models import gpt2, llama, vit, vlm

PROMPT = 14  # words; behind 49 of a picture they fill a bucket of 64 nearly up
IMAGE = 32_000  # the image token of the LLaVA


class Case(NamedTuple):
    """A model, and what it is beside."""

    title: str
    model: nn.Module
    inputs: tuple  # of its call, one row
    reference: str  # class of `transformers`
    files: Any  # module that writes its checkpoint
    read_by_a_token: tuple[str, ...]  # parameters that each token reads; the others are read once


def gpt2_small() -> Case:
    config = gpt2.VARIANTS["small"]
    inputs = (jnp.zeros((1, 4), jnp.int32),)
    read = ("norm", "tokens", "transformer")
    return Case("GPT-2 small", gpt2.Model(config), inputs, "GPT2LMHeadModel", gpt2_files, read)


def llava_small() -> Case:
    """CLIP's B/32 and a Llama of GPT-2 small's width, depth and number of products."""
    tower = dataclasses.replace(vit.SIZES["B"], activation="quick_gelu")
    kwargs = dict(transformer=tower, patch_bias=False, pre_norm=True, feature_layer=-2)
    image = vit.Config(224, 32, **kwargs)
    decoder = dataclasses.replace(
        llama.VARIANTS["Llama-2-7B"].decoder,
        width=768, layers=12, heads=12, kv_heads=12, head_size=64, hidden=2048,
    )  # fmt: skip
    language = llama.Config(32_064, 1024, decoder)
    config = vlm.Config(image, language=language, image_id=IMAGE)
    inputs = tuple(
        None if one is None else jnp.zeros(one.shape, one.dtype) for one in vlm.inputs(config)
    )
    name = "LlavaForConditionalGeneration"
    return Case("LLaVA", vlm.Model(config), inputs, name, llava_files, ("language",))


CASES = {"gpt2": gpt2_small, "llava": llava_small}


def memory(turns: int) -> float:
    """Bytes a second that two threads read, at best."""
    parts = np.ones((2, 2**26), np.float32)
    rates = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in range(turns):
            before = time.perf_counter()
            list(pool.map(np.max, parts))
            rates.append(parts.nbytes / (time.perf_counter() - before))
    return max(rates)


def products(turns: int, rows: int) -> float:
    """Bytes a second of weights that XLA's products of so many rows read, one after the other."""
    kernels = [jnp.ones((768, 3072)) * 1e-3 for _ in range(40)]

    @jax.jit
    def chain(x, kernels):
        for kernel in kernels:
            x = x + (x @ kernel)[:, :768]
        return x

    seconds = best(turns, chain, jnp.ones((rows, 768)), kernels)
    return sum(kernel.nbytes for kernel in kernels) / seconds


def prompt_of(case: Case, batch: int) -> dict[str, np.ndarray]:
    """Words, behind a picture's tokens where the model sees."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 32_000, (batch, PROMPT))
    if case.title != "LLaVA":
        return dict(inputs=words)
    size = case.model.config.image_tokens
    pictures = rng.normal(size=(batch, 1, 224, 224, 3)).astype(np.float32)
    return dict(inputs=np.pad(words, [(0, 0), (size, 0)], constant_values=IMAGE), images=pictures)


def theirs(
    turns: int, model: Any, prompt: Mapping[str, np.ndarray], tokens: int
) -> tuple[float, np.ndarray]:
    """Seconds and new tokens of the reference."""
    import torch

    ids = torch.tensor(prompt["inputs"])
    kwargs = dict(do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0)
    kwargs |= dict(attention_mask=torch.ones_like(ids))
    if "images" in prompt:
        kwargs["pixel_values"] = torch.tensor(prompt["images"][:, 0].transpose(0, 3, 1, 2))
    with torch.no_grad():
        seconds = best(turns, model.generate, ids, **kwargs)
        return seconds, model.generate(ids, **kwargs)[:, ids.shape[1] :].numpy()


def compare(case: Case, turns: int, tokens: int) -> None:
    """Prints the rates of a model."""
    variables = start(case.model, *case.inputs)
    read = {name: variables["params"][name] for name in case.read_by_a_token}
    bytes_read = sum(x.nbytes for x in jax.tree.leaves(read))
    if case.title == "LLaVA":  # of which a token reads one row
        bytes_read -= variables["params"]["language"]["tokens"].nbytes
    model_of_theirs = reference(case.reference, case.files, case.model.config, variables)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables)
    generators = {
        "mmjax": Generator(case.model, variables),
        "mmjax, bfloat16 weights": Generator(case.model, half),
    }
    options = Options(max_new_tokens=tokens)
    print(f"\n{case.title}, {bytes_read / 1e9:.2f} GB a token")
    print(f"{'':25s}  batch  tokens/s   GB/s  ratio")
    for batch in (1, 8):
        prompt = prompt_of(case, batch)
        rates = {}
        said = {}
        for name, generator in generators.items():
            rates[name] = batch * tokens / best(turns, generator, prompt, options)
            said[name] = generator(prompt, options).tokens[:, 0]
        compiled = generate._answers._cache_size()
        shorter = {**prompt, "inputs": prompt["inputs"][:, :-1]}
        generators["mmjax"](shorter, options)
        assert generate._answers._cache_size() == compiled, "a shorter prompt compiled anew"
        if model_of_theirs is not None:
            seconds, wanted = theirs(turns, model_of_theirs, prompt, tokens)
            rates["transformers"] = batch * tokens / seconds
            print(f"the same tokens: {(said['mmjax'] == wanted).mean():.0%}")
        for name, rate in rates.items():
            size = bytes_read / (2 if "bfloat16" in name else 1)
            ratio = f"{rate / rates['transformers']:.2f}" if "transformers" in rates else ""
            speed = rate / batch * size / 1e9
            print(f"{name:25s} {batch:6d}  {rate:8.1f}  {speed:5.1f}  {ratio:>5s}")


def main(turns: int, tokens: int, only: str) -> None:
    """Prints what the machine can, then each model."""
    print(f"memory: {memory(turns) / 1e9:.1f} GB/s")
    for rows in (1, 8):
        print(f"products of {rows} rows: {products(turns, rows) / 1e9:.1f} GB/s of weights")
    for name, make in CASES.items():
        if only in ("", name):
            compare(make(), turns, tokens)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--tokens", type=int, default=32, help="new tokens of each row")
    parser.add_argument("--only", choices=["", *CASES], default="", help="one of the models")
    options = parser.parse_args()
    main(options.turns, options.tokens, options.only)
