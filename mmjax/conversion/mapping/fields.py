"""Fields of a config.json: defaults filled in, names of activations, refusal of what is unknown.

* A release of the reference leaves out what equals its defaults, so every field is asked for with
  the default of the reference.
* A field that changes the mathematics and is not supported is an error, never left aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmjax.errors import UserError

ACTIVATIONS = {  # the reference's name -> ours; the first of each is the one written back
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "gelu_fast": "gelu_tanh",
}


class Unsupported(UserError, ValueError):
    """A config.json that asks for mathematics that is not here."""


def activation(config: Mapping[str, Any], key: str = "hidden_act", default: str = "gelu") -> str:
    """Ours for the activation that a field names."""
    name = config.get(key, default)
    if name not in ACTIVATIONS:
        raise Unsupported(
            f"config.json: {key} = {name!r} is not supported; {', '.join(ACTIVATIONS)} are"
        )
    return ACTIVATIONS[name]


def activation_name(ours: str) -> str:
    """The reference's name for one of ours."""
    return next((theirs for theirs, mine in ACTIVATIONS.items() if mine == ours), ours)


def only(config: Mapping[str, Any], key: str, *allowed: Any) -> None:
    """Refuses a field that is there with another value than those allowed.

    Raises:
      Unsupported: names the field, its value, and what is supported.
    """
    if key in config and config[key] not in allowed:
        raise Unsupported(
            f"config.json: {key} = {config[key]!r} is not supported; "
            f"{' or '.join(map(repr, allowed))} is"
        )


def square(config: Mapping[str, Any], key: str, default: int) -> int:
    """A size in pixels, given as one number or as two that are equal."""
    value = config.get(key, default)
    sides = {value} if isinstance(value, int) else set(value)
    if len(sides) != 1:
        raise Unsupported(f"config.json: {key} = {value} is not square, which is not supported")
    return sides.pop()


def labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes in the order of their numbers; "LABEL_0" and on where they have none."""
    named = config.get("id2label")
    if not named:
        return unnamed(config.get("num_labels", 2))
    return tuple(named[number] for number in sorted(named, key=int))


def unnamed(count: int) -> tuple[str, ...]:
    """What the reference calls classes that have no names."""
    return tuple(f"LABEL_{number}" for number in range(count))


def given(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Names that somebody gave; () where there are none."""
    return labels if any(labels) and labels != unnamed(len(labels)) else ()


def label_fields(labels: tuple[str, ...]) -> dict[str, Any]:
    """The same as fields of config.json."""
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
