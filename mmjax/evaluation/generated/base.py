"""What evaluators of generators have in common: which samples they ask for.

Letters: N rows, S scales of guidance.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.evaluation.base import Evaluator


@dataclasses.dataclass(frozen=True)
class Generated(Evaluator):
    """Samples of each row's text, beside the row's own."""

    predict: str = "generate"  # the task's predict function
    field: str = "video"  # key of the samples, in what `predict` returns and in the batch
    no_guidance: bool = True  # the same rows are made without guidance, too
    scales: tuple[float, ...] = ()  # of guidance, which each row is made with besides

    def pixels(self, samples: jax.Array) -> jax.Array:
        """Samples from -1 to 1 -> uint8, as the judge sees them."""
        raise NotImplementedError

    def records(self, predict, variables, batch, prepared) -> dict[str, Any]:
        """ "made", "real", "no_guidance" [N, ...], and "swept" [N, S, ...]."""

        def made(**arguments: Any) -> jax.Array:
            out = predict(variables, batch, **arguments)
            if self.field not in out:
                raise ConfigError(f"predict gave no {self.field!r}, only {', '.join(out)}")
            return self.pixels(out[self.field])

        rows = {"made": made(), "real": self.pixels(batch[self.field])}
        if self.no_guidance:
            rows["no_guidance"] = made(guidance=1.0)
        if self.scales:
            count = len(batch[self.field])
            scales = jnp.asarray(self.scales, jnp.float32)
            swept = jax.lax.map(lambda scale: made(guidance=jnp.full(count, scale)), scales)
            rows["swept"] = swept.swapaxes(0, 1)
        return rows


def as_bytes(values: jax.Array) -> jax.Array:
    """From -1 .. 1 to uint8."""
    values = jnp.rint((values.astype(jnp.float32) + 1) * 127.5)
    return jnp.clip(values, 0, 255).astype(jnp.uint8)
