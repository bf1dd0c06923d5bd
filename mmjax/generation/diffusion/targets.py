"""What a model says of a noisy sample, and how one answer is turned into another.

x = alpha * clean + sigma * noise, and of these

* "noise" (DDPM, https://arxiv.org/abs/2006.11239) and "clean" themselves;
* "v" = alpha * noise - sigma * clean (https://arxiv.org/abs/2202.00512), which says as much at
  either end;
* "flow" = noise - clean, the velocity of rectified flow (https://arxiv.org/abs/2209.03003).

Each formula holds for any alpha and sigma. Weights: Min-SNR (https://arxiv.org/abs/2303.09556).

Letters: B rows.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp

from mmjax.typing import Array, Float, Shaped

Target = Literal["noise", "clean", "v", "flow"]


def spread(value: Shaped[Array, " B"], x: Shaped[Array, "B ..."]) -> Shaped[Array, "B ..."]:
    """A number of each row with as many axes as x."""
    return value.reshape(-1, *(1,) * (x.ndim - 1))


def noisy(
    clean: Float[Array, "B ..."],
    noise: Float[Array, "B ..."],
    alpha: Float[Array, " B"],
    sigma: Float[Array, " B"],
) -> Float[Array, "B ..."]:
    """x."""
    return spread(alpha, clean) * clean + spread(sigma, clean) * noise


def wanted(
    target: Target,
    clean: Float[Array, "B ..."],
    noise: Float[Array, "B ..."],
    alpha: Float[Array, " B"],
    sigma: Float[Array, " B"],
) -> Float[Array, "B ..."]:
    """What the model ought to say."""
    if target == "noise":
        return noise
    if target == "clean":
        return clean
    if target == "flow":
        return noise - clean
    return spread(alpha, clean) * noise - spread(sigma, clean) * clean


def clean_of(
    target: Target,
    said: Float[Array, "B ..."],
    x: Float[Array, "B ..."],
    alpha: Float[Array, " B"],
    sigma: Float[Array, " B"],
) -> Float[Array, "B ..."]:
    """The clean sample that an answer stands for; of "noise" where alpha is not 0."""
    alpha = spread(alpha, x)
    sigma = spread(sigma, x)
    if target == "clean":
        return said
    if target == "noise":
        return (x - sigma * said) / alpha
    if target == "flow":
        return (x - sigma * said) / (alpha + sigma)
    return (alpha * x - sigma * said) / (alpha**2 + sigma**2)


def noise_of(
    target: Target,
    said: Float[Array, "B ..."],
    x: Float[Array, "B ..."],
    alpha: Float[Array, " B"],
    sigma: Float[Array, " B"],
) -> Float[Array, "B ..."]:
    """The noise that an answer stands for; of "clean" where sigma is not 0."""
    alpha = spread(alpha, x)
    sigma = spread(sigma, x)
    if target == "noise":
        return said
    if target == "clean":
        return (x - alpha * said) / sigma
    if target == "flow":
        return (x + alpha * said) / (alpha + sigma)
    return (sigma * x + alpha * said) / (alpha**2 + sigma**2)


def min_snr_weight(
    target: Target, alpha: Float[Array, " B"], sigma: Float[Array, " B"], most: float
) -> Float[Array, " B"]:
    """Weight of the squared error of an answer, so that the clean sample's has the weight of its
    ratio of signal to noise, `most` at most.

    An error of the clean sample is (sigma / alpha)^2 times that of the noise, sigma^2 /
    (alpha^2 + sigma^2)^2 that of v, and sigma^2 / (alpha + sigma)^2 that of the flow.
    """
    ratio = (alpha / jnp.maximum(sigma, 1e-8)) ** 2
    weight = jnp.minimum(ratio, most)
    if target == "clean":
        return weight
    if target == "noise":
        return weight / jnp.maximum(ratio, 1e-8)
    if target == "flow":
        return weight * (sigma / (alpha + sigma)) ** 2
    return weight * (sigma / (alpha**2 + sigma**2)) ** 2
