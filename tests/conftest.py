"""Eight CPU devices for every test, shapes of public signatures checked, ranks never promoted.

They compile in haste, and a program that another test has compiled is not compiled again.
"""

import os
import re
import tempfile
from pathlib import Path

import haste

os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8", haste.FLAGS]
)

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
# One folder for the workers of `pytest -n`, which inherit the first process's environment.
if "MMJAX_TESTS_COMPILED" not in os.environ:
    compiled = tempfile.TemporaryDirectory(prefix="mmjax-compiled-")  # goes with that process
    os.environ["MMJAX_TESTS_COMPILED"] = compiled.name
jax.config.update("jax_compilation_cache_dir", os.environ["MMJAX_TESTS_COMPILED"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
install_import_hook("mmjax", "beartype.beartype")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """`pytest -n`: a worker takes whole files, in their order, so that no fixture is made twice."""
    if getattr(config.option, "numprocesses", None):
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False


EXHAUSTIVE = Path(__file__).with_name("exhaustive.txt")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks what exhaustive.txt names, before `-m` chooses; as in .gitignore the last line wins."""
    lines = [line for line in EXHAUSTIVE.read_text().splitlines() if line and line[0] != "#"]
    rules = [
        (not line.startswith("!"), re.compile(re.escape(line.lstrip("!")).replace(r"\*", ".*")))
        for line in lines
    ]
    for item in items:
        matching = [listed for listed, rule in rules if rule.fullmatch(item.nodeid)]
        if matching and matching[-1]:
            item.add_marker("exhaustive")
