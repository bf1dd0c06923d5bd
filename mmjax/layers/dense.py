"""Affine maps whose kernels carry the logical names of their axes.

* A kernel keeps the shape of what it maps between (`[D, N, H]` for queries), so that tensor parallelism,
  conversion and Muon see heads as heads.
* Parameters are float32; the product runs in `dtype`.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.typing import Array, Float


class Dense(nn.Module):
    """y = x . kernel + bias over the last `inputs` axes of x."""

    features: tuple[int, ...]  # sizes of the new trailing axes
    axes: tuple[str | None, ...]  # logical names of the kernel's axes, contracted ones first
    inputs: int = 1  # number of trailing axes of x that are contracted
    bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()  # called with a [fan-in, fan-out] shape
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: str = "float32"  # of the product

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        contracted = x.shape[x.ndim - self.inputs :]
        shape = (*contracted, *self.features)

        def init(key, shape, dtype):  # fans do not depend on how an axis is folded
            flat = (math.prod(contracted), math.prod(self.features))
            return self.kernel_init(key, flat, dtype).reshape(shape)

        kernel = self.param("kernel", nn.with_logical_partitioning(init, self.axes), shape, jnp.float32)
        dims = (tuple(range(x.ndim - self.inputs, x.ndim)), tuple(range(self.inputs)))
        y = jax.lax.dot_general(x.astype(self.dtype), kernel.astype(self.dtype), (dims, ((), ())))
        if self.bias:
            names = self.axes[self.inputs :]
            bias = self.param("bias", nn.with_logical_partitioning(self.bias_init, names), self.features, jnp.float32)
            y = y + bias.astype(self.dtype).reshape((1,) * (x.ndim - self.inputs) + self.features)
        return y
