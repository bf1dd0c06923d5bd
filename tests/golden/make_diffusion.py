"""Writes diffusion.npz: what the schedulers of `diffusers` make of a fixed model.

    python -m tests.golden.make_diffusion

Needs diffusers and torch beside mmjax. The cases are those of tests/diffusion_reference.py.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS), str(TESTS / "parity")]


def main() -> None:
    import diffusion_reference
    import test_diffusion

    out = {}
    for name, case in diffusion_reference.CASES.items():
        with pytest.MonkeyPatch.context() as patch:
            out[name] = test_diffusion.theirs(case, patch)
    np.savez_compressed(Path(__file__).with_name("diffusion.npz"), **out)


if __name__ == "__main__":
    main()
