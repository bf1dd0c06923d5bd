"""How a text is followed more closely than the model does by itself, and what keeps that in bounds.

* Classifier-free guidance (https://arxiv.org/abs/2207.12598): away from what the model says without
  a text. Scale 0: without the text; 1: with it, as it was trained; above 1: more than that.
* Rescaling (https://arxiv.org/abs/2305.08891): a guided answer has too large a deviation.
* Dynamic thresholding (Imagen, https://arxiv.org/abs/2205.11487): a clean sample whose values leave
  -1 .. 1 is divided by how far the most distant of them go.

Letters: B rows.
"""

from __future__ import annotations

import jax.numpy as jnp

from mmjax.generation.diffusion.targets import spread
from mmjax.typing import Array, Float


def guided(
    conditioned: Float[Array, "B ..."],
    unconditioned: Float[Array, "B ..."],
    scale: Float[Array, ""] | Float[Array, " B"] | float,
    rescale: float = 0.0,
) -> Float[Array, "B ..."]:
    """Answers of a model, of any kind.

    Args:
      scale: one, or each row's own.
      rescale: share of the answer that is brought to the conditioned one's deviation, row by row.
    """
    if jnp.ndim(scale):
        scale = spread(scale, conditioned)
    out = unconditioned + scale * (conditioned - unconditioned)
    if not rescale:
        return out
    axes = tuple(range(1, out.ndim))
    wanted = conditioned.std(axes, ddof=1)
    found = jnp.maximum(out.std(axes, ddof=1), 1e-8)
    return rescale * spread(wanted / found, out) * out + (1 - rescale) * out


def clipped(clean: Float[Array, "B ..."], bound: float = 1.0) -> Float[Array, "B ..."]:
    """Values beyond the bound are brought back to it."""
    return jnp.clip(clean, -bound, bound)


def thresholded(
    clean: Float[Array, "B ..."], share: float = 0.995, most: float = 1.0
) -> Float[Array, "B ..."]:
    """Each row divided by the size below which `share` of its values are, if that is above 1.

    Args:
      most: that it is divided by; at 1 this is plain clipping.
    """
    size = jnp.quantile(jnp.abs(clean.reshape(len(clean), -1)), share, axis=1)
    size = spread(jnp.clip(size, 1.0, max(most, 1.0)), clean)
    return jnp.clip(clean, -size, size) / size
