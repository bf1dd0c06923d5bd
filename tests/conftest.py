"""Eight CPU devices for every test, shapes of public signatures checked, ranks never promoted.

Most of the tests' time is compilation of what then runs once: LLVM optimises nothing, and a program
that another test has compiled is not compiled again.
"""

import os
import tempfile

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
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
