"""FLOPs of a function, counted before it runs, and what the machine could do.

* Counted from the jaxpr: matmuls and convolutions, a scan's body times its length, recomputation
  included. (XLA's own analysis counts a loop's body once.) Two per multiply-add; element-wise work
  is left out.
* The peak is that of named hardware, and a measured matmul for CPUs.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.training import hardware


def count(function: Callable[..., Any], *arguments: Any) -> float:
    """FLOPs of one call with arguments of these shapes (arrays or shapes)."""
    return of(jax.make_jaxpr(function)(*arguments).jaxpr)


def of(jaxpr: Any) -> float:
    """FLOPs of one call of a jaxpr."""
    return sum((_equation(equation) for equation in jaxpr.eqns), 0.0)


def _equation(equation: Any) -> float:
    name = equation.primitive.name
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return (
            2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
        )
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        out = equation.outvars[0].aval.shape
        features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * math.prod(out) * math.prod(kernel) / features
    inner = 0.0
    for value in equation.params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(part, "eqns"):
                inner += of(part)
            elif hasattr(part, "jaxpr"):
                inner += of(part.jaxpr)
    if name == "shard_map":  # the body is the work of one device
        mesh = equation.params["mesh"]
        inner *= math.prod(mesh.shape[axis] for axis in equation.params["newly_manual_axes"])
    return inner * equation.params["length"] if name == "scan" else inner


def stated() -> float:
    """FLOP/s of all devices together, as their vendor states it; NaN where nobody does.

    There is none of a CPU, and a matmul timed while others use its cores makes a step look faster
    than the machine.
    """
    chip = hardware.here()
    return chip.flops * jax.device_count() if chip else math.nan


@functools.cache
def peak() -> float:
    """FLOP/s of all devices together: stated, or the best matmul timed on this CPU."""
    if hardware.here() or jax.devices()[0].platform != "cpu":
        return stated()
    # virtual CPU devices share the cores: one figure for all
    return max(measured("float32"), measured("bfloat16"))


def measured(dtype: str, size: int = 1024) -> float:
    """FLOP/s of a square matmul with operands of this type and float32 sums, the best of five."""
    x = jnp.ones((size, size), dtype)
    multiply = jax.jit(lambda x: jnp.matmul(x, x, preferred_element_type=jnp.float32))
    multiply(x).block_until_ready()
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        multiply(x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
