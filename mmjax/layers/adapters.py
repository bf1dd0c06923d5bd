"""Adapters on any model, without editing its file: LoRA, bottlenecks, residual heads.

LoRA https://arxiv.org/abs/2106.09685; bottleneck adapters https://arxiv.org/abs/1902.00751;
CLIP-Adapter https://arxiv.org/abs/2110.04544.

* `Adapted(model, rules)` is used as the model is. Calls of a `Dense` whose path matches a rule are
  intercepted; the adapter's parameters live below it, stacked over layers as the kernel is.
* At the start an adapter changes nothing: its last map is zero.
* `merge` writes LoRA into the kernels; bottlenecks are not linear and stay.

Letters: I inputs, O outputs, R rank.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.layers.dense import Dense
from mmjax.typing import Array, Float, Positive

# Every parameter of an adapter, and none of a model: for optimizer groups and checkpoints.
PARAMETERS = r".*/(lora|bottleneck)/.*"


@dataclasses.dataclass(frozen=True)
class Rule:
    """An adapter on the maps whose paths match."""

    match: str  # regex on the whole path of a map: ".*/attention/(query|value)", "image_head"
    # "lora": x A B beside the map; "bottleneck": y + up(relu(down(y))) behind it
    kind: Literal["lora", "bottleneck"] = "lora"
    rank: Positive = 8  # R of LoRA, or the width of the bottleneck (Houlsby: 64)
    alpha: float = 16.0  # LoRA's update is scaled by alpha / rank
    share: float = 1.0  # of the bottleneck's update; CLIP-Adapter on a head: 0.2
    dropout: float = 0.0  # of LoRA's input, or of the bottleneck's hidden units, in training


class Lora(nn.Module):
    """The update of a map [*I] -> [*O], of rank R."""

    rule: Rule
    features: tuple[int, ...]
    inputs: int
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        rule, kept = self.rule, x.shape[: x.ndim - self.inputs]
        x = nn.Dropout(rule.dropout, deterministic=not self.train)(x.reshape(*kept, -1))
        part = nn.with_logical_partitioning
        a = self.param(
            "a", part(nn.initializers.lecun_uniform(), (None, None)), (x.shape[-1], rule.rank)
        )
        wide = math.prod(self.features)
        b = self.param("b", part(nn.initializers.zeros_init(), (None, None)), (rule.rank, wide))
        update = (x @ a.astype(x.dtype)) @ b.astype(x.dtype) * (rule.alpha / rule.rank)
        return update.reshape(*kept, *self.features)


class Bottleneck(nn.Module):
    """y + share * up(relu(down(y))) over the last axis."""

    rule: Rule
    train: bool

    @nn.compact
    def __call__(self, y: Float[Array, "*B O"]) -> Float[Array, "*B O"]:
        rule = self.rule
        hidden = nn.relu(Dense((rule.rank,), (None, None), name="down")(y))
        hidden = nn.Dropout(rule.dropout, deterministic=not self.train)(hidden)
        zeros = nn.initializers.zeros_init()
        update = Dense((y.shape[-1],), (None, None), kernel_init=zeros, name="up")(hidden)
        return y + rule.share * update


class Adapted:
    """A model whose maps have adapters; `init` and `apply` are the model's own."""

    def __init__(self, model: nn.Module, rules: Sequence[Rule]):
        self.model, self.rules = model, tuple(rules)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def init(self, *arguments: Any, **fields: Any) -> Any:
        """Variables of the model and its adapters.

        Raises:
          ConfigError: a rule that matches no map; the paths of those that there are.
        """
        seen: list[str] = []
        with nn.intercept_methods(self._interceptor(False, seen)):
            variables = self.model.init(*arguments, **fields)
        for rule in self.rules:
            if not any(re.fullmatch(rule.match, path) for path in seen):
                raise ConfigError(
                    f"the adapter's match {rule.match!r} is the path of no map; there are "
                    f"{', '.join(dict.fromkeys(seen))}"
                )
        return variables

    def apply(self, variables: Any, *arguments: Any, **fields: Any) -> Any:
        train = bool(fields.get("train", False))
        with nn.intercept_methods(self._interceptor(train, [])):
            return self.model.apply(variables, *arguments, **fields)

    def _interceptor(self, train: bool, seen: list[str]) -> Callable[..., Any]:
        def intercept(call: Callable, arguments: tuple, fields: dict, context: Any) -> Any:
            module = context.module
            y = call(*arguments, **fields)
            a_map = isinstance(module, Dense) and "bottleneck" not in module.path
            if not a_map or context.method_name != "__call__":
                return y
            path = "/".join(module.path)
            seen.append(path)
            for rule in self.rules:
                if not re.fullmatch(rule.match, path):
                    continue
                if rule.kind == "lora":
                    kinds = (rule, module.features, module.inputs, train)
                    y = y + Lora(*kinds, name="lora", parent=module)(*arguments)
                else:
                    y = Bottleneck(rule, train, name="bottleneck", parent=module)(y)
            return y

        return intercept


def merge(params: Mapping[str, Any], rules: Sequence[Rule]) -> dict[str, Any]:
    """LoRA written into the kernels; the tree of the plain model."""
    flat = tree.flatten(params)
    out = {path: leaf for path, leaf in flat.items() if not re.fullmatch(r".*/lora/[ab]", path)}
    for path in flat:
        if not path.endswith("/lora/a"):
            continue
        where = path.removesuffix("/lora/a")
        # a stacked map's path is the same for all its layers
        rule = next(r for r in rules if r.kind == "lora" and re.fullmatch(r.match, where))
        kernel = flat[f"{where}/kernel"]
        update = jnp.einsum("...IR,...RO->...IO", flat[path], flat[f"{where}/lora/b"])
        update = update.reshape(kernel.shape) * (rule.alpha / rule.rank)
        out[f"{where}/kernel"] = (kernel + update).astype(kernel.dtype)
    return tree.unflatten(out)


def trained(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the adapters' parameters, the frozen rest)."""
    return tree.partition(params, lambda path: tree.matches(PARAMETERS, path))
