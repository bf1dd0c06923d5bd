"""Affine maps whose kernels carry the logical names of their axes.

* A kernel keeps the shape of what it maps between (`[D, N, H]` for queries), so that tensor
  parallelism, conversion and Muon see heads as heads.
* Mixed precision: parameters and sums are float32, the operands of the product are `dtype`, forward
  and backward; the result has the type of `x`, logits are float32.
* `unembed` and `project_out` make logits: of the token table, and of a head of its own.
"""

from __future__ import annotations

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.placement import cut_vocabulary
from mmjax.typing import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(
    x: Float[Array, "*b I"], kernel: Float[Array, "I O"], dtype: str
) -> Float[Array, "*b O"]:
    """x . kernel with operands of `dtype` and float32 sums; gradients likewise.

    Automatic differentiation alone would multiply float32 cotangents with bfloat16 operands, which
    no matrix unit does.
    """
    return _product(x, kernel, dtype, (x.ndim - 1,), (0,)).astype(x.dtype)


def _product(a: Array, b: Array, dtype: str, of_a: tuple, of_b: tuple) -> Array:
    return jax.lax.dot_general(
        a.astype(dtype),
        b.astype(dtype),
        ((of_a, of_b), ((), ())),
        preferred_element_type=jnp.float32,
    )


def _forward(x: Array, kernel: Array, dtype: str) -> tuple[Array, tuple]:
    # the operands are kept as they were multiplied; an empty array remembers the type of x
    kept = x.astype(dtype), kernel, jnp.zeros((0,), x.dtype)
    return matmul(x, kernel, dtype), kept


def _backward(dtype: str, kept: tuple, g: Array) -> tuple[Array, Array]:
    x, kernel, like = kept
    to_x = _product(g, kernel, dtype, (x.ndim - 1,), (1,)).astype(like.dtype)
    if dtype == "float32":
        # with more axes than two, XLA's CPU backend first copies the wider operand: 4x slower
        x, g = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    rows = tuple(range(x.ndim - 1))
    return to_x, _product(x, g, dtype, rows, rows).astype(kernel.dtype)


matmul.defvjp(_forward, _backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def unembed(
    x: Float[Array, "*b D"], table: Float[Array, "V D"], dtype: str
) -> Float[Array, "*b V"]:
    """Logits of a head that is the token table, float32; operands and sums as in `matmul`.

    The table is read as it lies, forward and backward: no transposed copy, and its gradient is
    g^T x, which XLA's CPU backend can compute of bfloat16 operands where (x^T g)^T fails.
    """
    words = table.shape[0]
    table = cut_vocabulary(table, 0)
    return _product(x, table, dtype, (x.ndim - 1,), (1,))[..., :words]


def _unembed_forward(x: Array, table: Array, dtype: str) -> tuple[Array, tuple]:
    kept = x.astype(dtype), table, jnp.zeros((0,), x.dtype)
    return unembed(x, table, dtype), kept


def _unembed_backward(dtype: str, kept: tuple, g: Array) -> tuple[Array, Array]:
    x, table, like = kept
    words, width = table.shape
    cut = cut_vocabulary(table, 0)
    rows = x.reshape(-1, width)
    g = jnp.pad(g.reshape(-1, words), ((0, 0), (0, len(cut) - words)))
    to_x = _product(g, cut, dtype, (1,), (0,)).astype(like.dtype).reshape(x.shape)
    to_table = _product(g, rows, dtype, (0,), (0,))[:words]
    return to_x, to_table.astype(table.dtype)


unembed.defvjp(_unembed_forward, _unembed_backward)


def project_out(
    x: Float[Array, "*b D"], head: Float[Array, "D V"], dtype: str
) -> Float[Array, "*b V"]:
    """The same with a head of its own."""
    words = head.shape[1]
    head = cut_vocabulary(head, 1)
    return matmul(x.astype(jnp.float32), head, dtype)[..., :words]


class Dense(nn.Module):
    """y = x . kernel + bias over the last `inputs` axes of x."""

    features: tuple[int, ...]  # sizes of the new trailing axes
    axes: tuple[str | None, ...]  # logical names of the kernel's axes, contracted ones first
    inputs: int = 1  # number of trailing axes of x that are contracted
    bias: bool = True
    kernel_init: nn.initializers.Initializer = (
        nn.initializers.lecun_normal()
    )  # of [fan-in, fan-out]
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: str = "float32"  # of the product's operands

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        kept, contracted = x.shape[: x.ndim - self.inputs], x.shape[x.ndim - self.inputs :]
        flat = (math.prod(contracted), math.prod(self.features))

        def init(key, shape, dtype):  # fans do not depend on how an axis is folded
            return self.kernel_init(key, flat, dtype).reshape(shape)

        part = nn.with_logical_partitioning
        shape = (*contracted, *self.features)
        kernel = self.param("kernel", part(init, self.axes), shape, jnp.float32)
        y = matmul(x.reshape(*kept, flat[0]), kernel.reshape(flat), self.dtype)
        y = y.reshape(*kept, *self.features)
        if self.bias:
            names = self.axes[self.inputs :]
            bias = self.param("bias", part(self.bias_init, names), self.features, jnp.float32)
            y = y + bias.astype(x.dtype).reshape((1,) * len(kept) + self.features)
        return y
