"""Blocks one after the other: stored stacked, `[layers, ...]`, and scanned over.

* Stacked parameters lie under "blocks", with the logical axis `layers` in front; one block is
  compiled once. `unroll` trades compile time for speed without changing the stored form; `remat`
  trades time for memory.
* `layers_apart` gives parameters with a subtree a block, "block_0" and on, which every stack takes
  as well: on a CPU a scan copies each layer's kernels out of the stack before it multiplies, which
  doubles the time of decoding a token.
* Hidden states on request, of every model under one name: `apply(..., mutable=["intermediates"])`
  gives "hidden_states" under the path of the stack, [layers + 1, B, L, D]: what enters the first
  block (the embeddings), then what leaves each. The norm behind the last block, where there is one,
  has not been applied (`transformers` gives its last one behind that norm).

Letters: B batch, L length, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.attention import WEIGHTS
from mmjax.typing import Array

REMAT = {
    "none": None,
    # keep the outputs of matmuls with weights
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,  # keep block inputs only
}


def run_blocks(
    parent: nn.Module,
    block: type[nn.Module],
    arguments: tuple[Any, ...],
    carry: Any,
    per_layer: tuple[Any, ...] = (),
    shared: tuple[Any, ...] = (),
    *,
    remat: bool = False,
) -> tuple[Any, Any]:
    """Calls `block(*arguments)(carry, *per_layer, *shared)` for each layer, within `parent`.

    Args:
      arguments: the first one is a Config with `layers`, `unroll` and `remat`.
      per_layer: arrays with the layer as their first axis, or where the blocks are apart a list
        with an entry for each; each block gets its own.
      remat: the backward pass recomputes what the Config's `remat` says; not for a cache.

    Returns:
      The last carry, and what the blocks gave besides, stacked.
    """
    config = arguments[0]
    if parent.has_variable("params", "block_0"):
        return _one_by_one(block, arguments, carry, per_layer, shared)
    if remat and config.remat != "none":
        block = nn.remat(block, policy=REMAT[config.remat], prevent_cse=False)
    # drawing parameters is fast however it is compiled, and one block compiles soonest
    unroll = 1 if parent.is_initializing() else min(config.unroll, config.layers)
    blocks = nn.scan(
        block,
        variable_axes={"params": 0, "intermediates": 0, WEIGHTS: 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(0,) * len(per_layer) + (nn.broadcast,) * len(shared),
        length=config.layers,
        unroll=unroll,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
    return blocks(*arguments, name="blocks")(carry, *per_layer, *shared)


def _one_by_one(
    block: type[nn.Module], arguments: tuple, carry: Any, per_layer: tuple, shared: tuple
) -> tuple[Any, Any]:
    outputs = []
    for i in range(arguments[0].layers):
        own = [x[i] if isinstance(x, list) else _row(x, i) for x in per_layer]
        carry, output = block(*arguments, name=f"block_{i}")(carry, *own, *shared)
        outputs.append(output)
    return carry, jax.tree.map(lambda *layers: jnp.stack(layers), *outputs)


def _row(stacked: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], stacked)


def layers_apart(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a model with a subtree for each block of its stacks; for decoding on a CPU."""
    out: dict[str, Any] = {}
    for name, value in params.items():
        if name == "blocks":
            for i in range(len(jax.tree.leaves(value)[0])):
                out[f"block_{i}"] = jax.tree.map(lambda x, i=i: x[i], value)
        else:
            out[name] = layers_apart(value) if isinstance(value, Mapping) else value
    return out


def output_of_block(block: nn.Module, x: Array) -> Array | None:
    """What a block gives besides the carry: its hidden states where they are asked for."""
    return x if block.is_mutable_collection("intermediates") else None


def sow_hidden_states(parent: nn.Module, embeddings: Array, outputs: Array | None) -> None:
    """Puts the hidden states where the module's docstring says."""
    states = embeddings[None]
    if outputs is not None:
        states = jnp.concatenate([states.astype(outputs.dtype), outputs])
    parent.sow("intermediates", "hidden_states", states)
