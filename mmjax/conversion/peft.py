"""LoRA adapters as `peft` keeps them: adapter_config.json and adapter_model.safetensors.

https://huggingface.co/docs/peft/main/en/developer_guides/checkpoint

* A map's name is the one that the family's table gives its kernel; ours of stacked layers is one
  parameter, theirs one tensor a layer: "base_model.model.<name>.lora_A.weight" [R, in], lora_B
  [out, R]. Ours are a [layers, in, R] and b [layers, R, out].
* A layer that has no adapter there gets a zero one here, which is the same.
* A map of theirs that keeps queries, keys and values in one (GPT-2's c_attn) is three of ours: the
  same A, a third of B each. Back: where their As differ, those are stacked, and B has a block each.
* What is not LoRA on a plain linear map is refused by name: DoRA, trained biases, other trained
  modules, embeddings, convolutions, and torch's MultiheadAttention.

Letters: R rank.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mmjax import tree
from mmjax.conversion import families
from mmjax.conversion.formats import files
from mmjax.conversion.load import Loaded
from mmjax.conversion.mapping import table
from mmjax.conversion.mapping.fields import Unsupported
from mmjax.conversion.mapping.linear_map import LinearMap
from mmjax.conversion.mapping.table import CheckpointMismatch
from mmjax.layers.adapters import Rule

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
# What would change the mathematics, and the values under which it does not.
PLAIN: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False,),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None,),
    "layer_replication": (None,),
}


class Adapters(NamedTuple):
    """What `Adapted(model, rules)` takes, and the parameters to merge into the model's."""

    rules: tuple[Rule, ...]
    params: Mapping[str, Any]


class Strength(NamedTuple):
    """How much an adapter weighs: its update is scaled by alpha / rank."""

    rank: int
    alpha: float


class Halves(NamedTuple):
    """The two matrices of one adapter of a file."""

    name: str  # of the map, as the file calls it
    a: np.ndarray  # [R, in]
    b: np.ndarray  # [out, R]


def load(folder: str | Path, base: Loaded) -> Adapters:
    """Adapters for a checkpoint that is loaded.

    Raises:
      Unsupported: a kind of adapter that is not here; names the field and its value.
      CheckpointMismatch: every tensor that has no place in the model, lacks its other half or is
        misshapen.
      CheckpointFileError: a broken file.
    """
    folder = Path(folder).expanduser()
    config = files.parsed(folder / CONFIG)
    for field, values in PLAIN.items():
        if field in config and config[field] not in values:
            raise Unsupported(f"{folder / CONFIG}: {field} = {config[field]!r} is not read here")
    family = families.named(base.family)
    halves, problems = _halves(files.safetensors(folder / WEIGHTS), family.rename)

    kernels = tree.flatten(base.params)
    params: dict[str, Any] = {}
    paths_by_strength: dict[Strength, list[str]] = {}
    misshapen: list[str] = []
    used: set[str] = set()  # several of our maps may be in one of the file's
    for linear in _linear_maps(family, base):
        given = {name: halves[name] for name in linear.names if name in halves}
        if not given:
            continue
        linear.check()
        used.update(given)
        wrong = _misshapen(linear, given, kernels[linear.entry.path].shape)
        strengths = {_strength(config, half) for half in given.values()}
        if len(strengths) > 1:
            raise Unsupported(
                f"{folder / CONFIG}: layers of {linear.path} differ in rank or alpha: "
                f"{sorted(tuple(strength) for strength in strengths)}"
            )
        misshapen += wrong
        if wrong:
            continue
        (strength,) = strengths
        a, b = _ours(linear, given, kernels[linear.entry.path].shape, strength.rank)
        params[f"{linear.path}/lora/a"] = jnp.asarray(a, jnp.float32)
        params[f"{linear.path}/lora/b"] = jnp.asarray(b, jnp.float32)
        paths_by_strength.setdefault(strength, []).append(linear.path)

    for half in halves.values():
        if not (table.is_finite(half.a) and table.is_finite(half.b)):
            problems.append(f"{half.name}.lora_A / lora_B: not finite (NaN or infinity)")
    unknown = [name for name in halves if name not in used]
    problems += [f"{name}.lora_A / lora_B: no such map in this model" for name in unknown]
    problems += misshapen
    if problems:
        raise CheckpointMismatch(
            f"{folder / WEIGHTS} does not fit this {base.family} model:\n"
            + "\n".join(f"  {line}" for line in dict.fromkeys(problems))
        )
    if not params:
        raise CheckpointMismatch(f"{folder / WEIGHTS} holds no adapter")
    dropout = float(config.get("lora_dropout") or 0.0)
    rules = tuple(
        Rule("|".join(map(re.escape, paths)), "lora", *strength, dropout=dropout)
        for strength, paths in paths_by_strength.items()
    )
    return Adapters(rules, tree.unflatten(params))


def save(
    folder: str | Path, base: Loaded, rules: Sequence[Rule], params: Mapping[str, Any]
) -> None:
    """Writes the LoRA parameters among `params` as peft does; it opens what is written.

    Raises:
      Unsupported: adapters that peft has not, or on maps that it keeps otherwise.
    """
    folder = Path(folder).expanduser()
    family = families.named(base.family)
    # maps of the file -> our adapters on them: several where the file keeps several in one
    shared: dict[tuple[str, ...], list[_Part]] = {}
    for part in _parts(_linear_maps(family, base), rules, tree.flatten(params), base.family):
        shared.setdefault(part.linear.names, []).append(part)
    if not shared:
        raise Unsupported("there are no LoRA parameters among those given")
    every = [part for parts in shared.values() for part in parts]
    dropouts = {part.rule.dropout for part in every}
    orders = {part.linear.keeps_inputs_first for part in every}
    if len(dropouts) > 1 or len(orders) > 1:
        raise Unsupported("peft has one dropout and one order of axes for all adapters of a file")

    tensors: dict[str, np.ndarray] = {}
    strengths: dict[str, Strength] = {}
    for names, parts in shared.items():
        alpha, stacked_a, stacked_b = _joined(parts)
        for name, a, b in zip(names, stacked_a, stacked_b, strict=True):
            name = family.saved(f"{name}.weight", base.config).removesuffix(".weight")
            strengths[name] = Strength(a.shape[-1], alpha)
            tensors[f"{PREFIX}{name}.lora_A.weight"] = np.ascontiguousarray(a.T)
            tensors[f"{PREFIX}{name}.lora_B.weight"] = np.ascontiguousarray(b.T)
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(strengths, dropouts.pop(), orders.pop())
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    files.save(folder / WEIGHTS, tensors)


def _linear_maps(family: families.Family, base: Loaded) -> list[LinearMap]:
    entries = family.table(base.config)
    return [LinearMap(entry) for entry in entries if entry.path.endswith("/kernel")]


# From a file.


def _halves(
    tensors: Mapping[str, np.ndarray], rename: Callable[[str], str]
) -> tuple[dict[str, Halves], list[str]]:
    """Map, as the table calls it -> its two matrices; and what is wrong with other tensors."""
    found: dict[str, dict[str, np.ndarray]] = {}
    problems = []
    for name, tensor in tensors.items():
        match = re.fullmatch(rf"{re.escape(PREFIX)}(.*)\.lora_([AB])(\.default)?\.weight", name)
        if match is None or tensor.ndim != 2:
            problems.append(f"{name} {list(tensor.shape)}: no half of a LoRA on a linear map")
            continue
        found.setdefault(match[1], {})[match[2]] = tensor
    whole = {}
    for name, halves in found.items():
        if len(halves) == 1:
            problems.append(f"{PREFIX}{name}.lora_{''.join(halves)}: the other half is missing")
            continue
        ours = rename(f"{name}.weight").removesuffix(".weight")
        whole[ours] = Halves(name, halves["A"], halves["B"])
    return whole, problems


def _strength(config: Mapping[str, Any], halves: Halves) -> Strength:
    """Of one map; peft's alpha / sqrt(rank) is one with another alpha."""
    rank = len(halves.a)
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", halves.name):
            alpha = value
            break
    return Strength(rank, float(alpha) * (rank**0.5 if config.get("use_rslora") else 1.0))


def _misshapen(
    linear: LinearMap, given: Mapping[str, Halves], shape: tuple[int, ...]
) -> list[str]:
    inputs, outputs = linear.sides(shape)
    outputs = linear.parts * outputs
    return [
        f"{name}: needs [R, {inputs}] and [{outputs}, R]"
        for name, (_, a, b) in given.items()
        if a.shape != (len(a), inputs) or b.shape != (outputs, len(a))
    ]


def _ours(
    linear: LinearMap, given: Mapping[str, Halves], shape: tuple[int, ...], rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """A and B of one of our parameters; layers without an adapter stay zero."""
    inputs, outputs = linear.sides(shape)
    a = np.zeros((len(linear.names), inputs, rank))
    b = np.zeros((len(linear.names), rank, outputs))
    for layer, name in enumerate(linear.names):
        if name in given:
            whole = np.asarray(given[name].b, np.float32)
            a[layer] = np.asarray(given[name].a, np.float32).T
            b[layer] = np.split(whole, linear.parts)[linear.entry.index or 0].T
    stacked = linear.entry.layers is not None
    return (a, b) if stacked else (a[0], b[0])


# Into a file.


class _Part(NamedTuple):
    """Ours on a map of the file, or on one of those that it keeps in one."""

    linear: LinearMap
    rule: Rule
    a: np.ndarray  # [layers, in, R]
    b: np.ndarray  # [layers, R, out]


def _parts(
    linear_maps: Sequence[LinearMap], rules: Sequence[Rule], flat: Mapping[str, Any], family: str
) -> Iterator[_Part]:
    """Each adapter among the parameters, with its map and its rule."""
    bottlenecks = [path for path in flat if "/bottleneck/" in path]
    if bottlenecks:
        raise Unsupported(f"peft has no bottleneck adapters: {', '.join(bottlenecks)}")
    by_path = {linear.path: linear for linear in linear_maps}
    lora_rules = [rule for rule in rules if rule.kind == "lora"]
    for parameter in flat:
        path = parameter.removesuffix("/lora/a")
        if path == parameter:
            continue
        if path not in by_path:
            raise Unsupported(f"{path}: a {family} file has no map of that name")
        linear = by_path[path]
        linear.check()
        rule = next((rule for rule in lora_rules if re.fullmatch(rule.match, path)), None)
        if rule is None:
            raise Unsupported(f"{path} has LoRA parameters, and no rule of LoRA matches it")
        a = np.asarray(flat[f"{path}/lora/a"])
        b = np.asarray(flat[f"{path}/lora/b"])
        stacked = linear.entry.layers is not None
        yield _Part(linear, rule, a if stacked else a[None], b if stacked else b[None])


def _joined(parts: Sequence[_Part]) -> tuple[float, np.ndarray, np.ndarray]:
    """Alpha, A and B of the one map that has these parts; one without an adapter is zeros in B."""
    one_scale = len({part.rule.alpha / part.rule.rank for part in parts}) == 1
    blocks: list[tuple[np.ndarray, np.ndarray]] = []  # each A that differs, and its rows of B
    for linear, rule, a, b in parts:
        rows = next((rows for other, rows in blocks if np.array_equal(other, a)), None)
        if rows is None:
            layers, rank, outputs = b.shape
            rows = np.zeros((layers, rank, linear.parts, outputs), b.dtype)
            blocks.append((a, rows))
        # where the scales differ they go into B, and the file's own is 1
        rows[:, :, linear.entry.index or 0] = b if one_scale else b * (rule.alpha / rule.rank)
    a = np.concatenate([a for a, _ in blocks], -1)
    b = np.concatenate([rows for _, rows in blocks], 1)
    rank = a.shape[-1]
    first = parts[0].rule
    alpha = first.alpha * (rank / first.rank) if one_scale else rank
    return float(alpha), a, b.reshape(len(b), rank, -1)


def _config(
    strengths: Mapping[str, Strength], dropout: float, inputs_first: bool
) -> dict[str, Any]:
    """adapter_config.json: the first map's rank and alpha, and by name those that differ."""
    first = next(iter(strengths.values()))
    ranks = {
        re.escape(name): strength.rank
        for name, strength in strengths.items()
        if strength.rank != first.rank
    }
    alphas = {
        re.escape(name): strength.alpha
        for name, strength in strengths.items()
        if strength.alpha != first.alpha
    }
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(strengths),
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "fan_in_fan_out": inputs_first,
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }
