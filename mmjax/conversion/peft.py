"""LoRA adapters as `peft` keeps them: adapter_config.json and adapter_model.safetensors.

https://huggingface.co/docs/peft/main/en/developer_guides/checkpoint

* A map's name is the one that the family's table gives its kernel; ours of stacked layers is one
  parameter, theirs one tensor a layer: "base_model.model.<name>.lora_A.weight" [R, in], lora_B
  [out, R].
* A layer that has no adapter there gets a zero one here, which is the same.
* A map of theirs that keeps queries, keys and values in one (GPT-2's c_attn) is three of ours: the
  same A, a third of B each. Back: where their As differ, those are stacked, and B has a block each.
* What is not LoRA on a plain linear map is refused by name: DoRA, trained biases, other trained
  modules, embeddings, convolutions, and torch's MultiheadAttention.

Letters: R rank.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mmjax import conversion, tree
from mmjax.conversion import files
from mmjax.conversion.fields import Unsupported
from mmjax.conversion.load import Loaded
from mmjax.conversion.table import CheckpointMismatch, Entry
from mmjax.layers.adapters import Rule

CONFIG, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
# What would change the mathematics, and the values under which it does not.
PLAIN: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",), "bias": ("none",), "use_dora": (False,), "lora_bias": (False,),
    "modules_to_save": (None, []), "trainable_token_indices": (None,), "target_parameters":
    (None, []), "alora_invocation_tokens": (None,), "layer_replication": (None,),
}  # fmt: skip


class Adapters(NamedTuple):
    """What `Adapted(model, rules)` takes, and the parameters to merge into the model's."""

    rules: tuple[Rule, ...]
    params: Mapping[str, Any]


def load(folder: str | Path, base: Loaded) -> Adapters:
    """Adapters for a checkpoint that is loaded.

    Raises:
      Unsupported: a kind of adapter that is not here; names the field and its value.
      CheckpointMismatch: every tensor that has no place in the model, lacks its other half or is
        misshapen.
      CheckpointFileError: a broken file.
    """
    folder = Path(folder).expanduser()
    config, tensors = files.parsed(folder / CONFIG), files.safetensors(folder / WEIGHTS)
    for field, values in PLAIN.items():
        if field in config and config[field] not in values:
            raise Unsupported(f"{folder / CONFIG}: {field} = {config[field]!r} is not read here")
    module = importlib.import_module(f"{conversion.__name__}.{base.family}")
    halves, extra = _halves(tensors, getattr(module, "rename", str))
    flat, rules, out, wrong, used = tree.flatten(base.params), {}, {}, [], set()
    for entry, maps in _maps(module.table(base.config)):
        there = {name: halves[name] for name in maps if name in halves}
        if not there:
            continue
        _plain(entry)
        used.update(there)
        path, kernel, parts = entry.path.removesuffix("/kernel"), flat[entry.path], _parts(entry)
        inputs, outputs = _sides(entry, kernel.shape)
        strengths = {_strength(config, one, len(a)) for one, a, _ in there.values()}
        bad = [
            name
            for name, (_, a, b) in there.items()
            if a.shape != (len(a), inputs) or b.shape != (parts * outputs, len(a))
        ]
        wrong += [f"{name}: needs [R, {inputs}] and [{parts * outputs}, R]" for name in bad]
        if len(strengths) > 1:
            raise Unsupported(
                f"{folder / CONFIG}: layers of {path} differ in rank or alpha: {sorted(strengths)}"
            )
        if bad:
            continue
        ((rank, alpha),) = strengths
        a, b = np.zeros((len(maps), inputs, rank)), np.zeros((len(maps), rank, outputs))
        for i, name in enumerate(maps):
            if name in there:
                one, whole = (np.asarray(half, np.float32) for half in there[name][1:])
                a[i], b[i] = one.T, np.split(whole, parts)[entry.index or 0].T
        stacked = entry.layers is not None
        for name, value in (("a", a), ("b", b)):
            value = value if stacked else value[0]
            out[f"{path}/lora/{name}"] = jnp.asarray(value, jnp.float32)
        rules.setdefault((rank, alpha), []).append(path)
    unknown = [name for name in halves if name not in used]
    lost = [*extra, *(f"{name}.lora_A / lora_B: no such map in this model" for name in unknown)]
    if lost or wrong:
        raise CheckpointMismatch(
            f"{folder / WEIGHTS} does not fit this {base.family} model:\n"
            + "\n".join(f"  {line}" for line in dict.fromkeys([*lost, *wrong]))
        )
    if not out:
        raise CheckpointMismatch(f"{folder / WEIGHTS} holds no adapter")
    dropout = float(config.get("lora_dropout") or 0.0)
    found = tuple(
        Rule("|".join(map(re.escape, paths)), "lora", rank, alpha, dropout=dropout)
        for (rank, alpha), paths in rules.items()
    )
    return Adapters(found, tree.unflatten(out))


def save(
    folder: str | Path, base: Loaded, rules: Sequence[Rule], params: Mapping[str, Any]
) -> None:
    """Writes the LoRA parameters among `params` as peft does; it opens what is written.

    Raises:
      Unsupported: adapters that peft has not, or on maps that it keeps otherwise.
    """
    folder = Path(folder).expanduser()
    module = importlib.import_module(f"{conversion.__name__}.{base.family}")
    flat, tensors = tree.flatten(params), {}
    strengths: dict[str, tuple[int, float]] = {}
    shared: dict[tuple[str, ...], list[_Part]] = {}
    rows = _maps(module.table(base.config))
    entries = {entry.path.removesuffix("/kernel"): (entry, maps) for entry, maps in rows}
    others = [path for path in flat if "/bottleneck/" in path]
    if others:
        raise Unsupported(f"peft has no bottleneck adapters: {', '.join(others)}")
    for path in [one.removesuffix("/lora/a") for one in flat if one.endswith("/lora/a")]:
        if path not in entries:
            raise Unsupported(f"{path}: a {base.family} file has no map of that name")
        entry, maps = entries[path]
        _plain(entry)
        rule = next((r for r in rules if r.kind == "lora" and re.fullmatch(r.match, path)), None)
        if rule is None:
            raise Unsupported(f"{path} has LoRA parameters, and no rule of LoRA matches it")
        halves = [np.asarray(flat[f"{path}/lora/{half}"]) for half in "ab"]
        if entry.layers is None:
            halves = [half[None] for half in halves]
        shared.setdefault(maps, []).append(_Part(entry, rule, *halves))
    if not shared:
        raise Unsupported("there are no LoRA parameters among those given")
    kinds = {(part.rule.dropout, _transposed(part.entry)) for p in shared.values() for part in p}
    if len(kinds) > 1:
        raise Unsupported("peft has one dropout and one order of axes for all adapters of a file")
    for maps, parts in shared.items():
        alpha, *halves = _whole(parts)
        for name, a, b in zip(maps, *halves, strict=True):
            if hasattr(module, "saved"):
                name = module.saved(f"{name}.weight", base.config).removesuffix(".weight")
            strengths[name] = (a.shape[-1], alpha)
            for half, value in (("A", a), ("B", b)):
                tensors[f"{PREFIX}{name}.lora_{half}.weight"] = np.ascontiguousarray(value.T)
    folder.mkdir(parents=True, exist_ok=True)
    (dropout, swapped), (rank, alpha) = kinds.pop(), next(iter(strengths.values()))
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(strengths),
        "rank_pattern": {re.escape(n): r for n, (r, _) in strengths.items() if r != rank},
        "alpha_pattern": {re.escape(n): a for n, (_, a) in strengths.items() if a != alpha},
        "fan_in_fan_out": swapped,
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    files.save(folder / WEIGHTS, tensors)


class _Part(NamedTuple):
    """Ours on a map of the file, or on one of those that it keeps in one."""

    entry: Entry
    rule: Rule
    a: np.ndarray  # [layers, in, R]
    b: np.ndarray  # [layers, R, out]


def _whole(parts: Sequence[_Part]) -> tuple[float, np.ndarray, np.ndarray]:
    """Alpha, A and B of the one map that has these parts; one without an adapter is zeros in B."""
    same = len({part.rule.alpha / part.rule.rank for part in parts}) == 1
    blocks: list[tuple[np.ndarray, np.ndarray]] = []  # each A that differs, and its rows of B
    for entry, rule, a, b in parts:
        rows = next((rows for one, rows in blocks if np.array_equal(one, a)), None)
        if rows is None:
            layers, rank, outputs = b.shape
            rows = np.zeros((layers, rank, _parts(entry), outputs), b.dtype)
            blocks.append((a, rows))
        rows[:, :, entry.index or 0] = b if same else b * (rule.alpha / rule.rank)
    a = np.concatenate([one for one, _ in blocks], -1)
    b = np.concatenate([rows for _, rows in blocks], 1)
    rank, rule = a.shape[-1], parts[0].rule
    alpha = rule.alpha * (rank / rule.rank) if same else rank
    return float(alpha), a, b.reshape(len(b), rank, -1)


def _maps(table: Sequence[Entry]) -> list[tuple[Entry, tuple[str, ...]]]:
    """Rows of kernels, each with the names of its maps, one for each layer."""
    rows = [entry for entry in table if entry.path.endswith("/kernel")]
    return [(row, tuple(name.removesuffix(".weight") for name in row.names)) for row in rows]


def _halves(
    tensors: Mapping[str, np.ndarray], rename: Callable[[str], str]
) -> tuple[dict[str, tuple[str, np.ndarray, np.ndarray]], list[str]]:
    """Map, as the table calls it -> its name in the file, A and B; and what is wrong with other
    tensors."""
    found: dict[str, dict[str, np.ndarray]] = {}
    extra = []
    for name, tensor in tensors.items():
        match = re.fullmatch(rf"{re.escape(PREFIX)}(.*)\.lora_([AB])(\.default)?\.weight", name)
        if match is None or tensor.ndim != 2:
            extra.append(f"{name} {list(tensor.shape)}: no half of a LoRA on a linear map")
            continue
        found.setdefault(match[1], {})[match[2]] = tensor
    whole = {}
    for name, halves in found.items():
        if len(halves) == 2:
            one = rename(f"{name}.weight").removesuffix(".weight")
            whole[one] = (name, halves["A"], halves["B"])
        else:
            extra.append(f"{PREFIX}{name}.lora_{''.join(halves)}: the other half is missing")
    return whole, extra


def _strength(config: Mapping[str, Any], name: str, rank: int) -> tuple[int, float]:
    """Rank and alpha of a map; peft's alpha / sqrt(rank) is one with another alpha."""
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", name):
            alpha = value
            break
    return rank, float(alpha) * (rank**0.5 if config.get("use_rslora") else 1.0)


def _letters(entry: Entry) -> tuple[list[str], list[str], list[str]]:
    """Axes of the file's tensor as groups of letters, flat; and ours."""
    left, right = (entry.layout or "D F -> D F").split("->")
    groups = re.findall(r"\([^)]*\)|\S+", left)
    return groups, re.findall(r"\w+", left), right.split()


def _plain(entry: Entry) -> None:
    # the weight of torch's MultiheadAttention is called in_proj_weight
    if not entry.name.endswith(".weight") or len(_letters(entry)[0]) != 2:
        raise Unsupported(f"{entry.name} is no plain linear map: a LoRA on it is not converted")


def _transposed(entry: Entry) -> bool:
    """Whether the file keeps [in, out], as GPT-2's: peft's fan_in_fan_out."""
    _, theirs, ours = _letters(entry)
    if entry.index is not None:
        theirs, ours = [one for one in theirs if one != ours[0]], ours[1:]
    return theirs == ours


def _parts(entry: Entry) -> int:
    """How many of our maps the file's tensor holds, one behind the other in its outputs."""
    return 1 if entry.index is None else entry.sizes[_letters(entry)[2][0]]


def _sides(entry: Entry, shape: tuple[int, ...]) -> tuple[int, int]:
    """Numbers of inputs and outputs of a kernel of this shape."""
    groups, _, _ = _letters(entry)
    first = groups[0] if _transposed(entry) else groups[1]
    count = len(first.strip("()").split())
    shape = shape[entry.layers is not None :]
    return int(np.prod(shape[:count])), int(np.prod(shape[count:]))
