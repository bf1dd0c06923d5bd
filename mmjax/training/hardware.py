"""What devices can do, as their vendors state it: arithmetic, memory, links to each other."""

from __future__ import annotations

from typing import NamedTuple

import jax


class Chip(NamedTuple):
    """One device, as JAX counts them."""

    flops: float  # dense bf16 FLOP/s
    memory: float  # bytes
    link: float  # bytes/s to the other devices, all links of one direction together


CHIPS = {  # by a part of `device_kind`, more telling names first
    "TPU v3": Chip(61e12, 16e9, 20e9),  # a core
    "TPU v4": Chip(275e12, 32e9, 150e9),
    "TPU v5 lite": Chip(197e12, 16e9, 100e9),
    "TPU v5e": Chip(197e12, 16e9, 100e9),
    "TPU v5p": Chip(459e12, 95e9, 300e9),
    "TPU v5": Chip(459e12, 95e9, 300e9),
    "TPU v6 lite": Chip(918e12, 32e9, 200e9),
    "TPU v6e": Chip(918e12, 32e9, 200e9),
    "A100-40GB": Chip(312e12, 40e9, 300e9),
    "A100": Chip(312e12, 80e9, 300e9),
    "H100": Chip(989e12, 80e9, 450e9),
    "H200": Chip(989e12, 141e9, 450e9),
    "L4": Chip(121e12, 24e9, 32e9),
    "T4": Chip(65e12, 16e9, 16e9),
}


def named(kind: str) -> Chip | None:
    """The row whose name is part of `kind`, capitals aside."""
    return next((chip for name, chip in CHIPS.items() if name.lower() in kind.lower()), None)


def here() -> Chip | None:
    """The row of this process's devices."""
    return named(jax.devices()[0].device_kind)
