"""The paragraph for users of NNX in mmjax/conversion/README.md: its code runs and agrees."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_loaded_model_as_an_nnx_module():
    page = (ROOT / "mmjax/conversion/README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(from flax import nnx.*?)```", page, re.S).group(1)
    clip = mmjax.load(ROOT / "tests/golden/checkpoints/clip")
    size = clip.config.image.image_size
    batch = jax.random.normal(jax.random.key(0), (2, size, size, 3)), jnp.ones((2, 5), int)
    names = {"clip": clip, "batch": batch}
    exec(code, names)
    expected = clip.model.apply(clip.variables, *batch)
    for found, one in zip(names["model"](*batch), expected, strict=True):
        np.testing.assert_array_equal(found, one)
