"""XLA's flags for tests, most of whose time is compilation of what then runs once.

LLVM optimises nothing and takes a program as one piece. jaxlib 0.10 compiles each fusion apart,
three quarters of a small program's time, unless told to write them the older way; from 0.11 on
that flag is unknown, and XLA ends the process over an unknown flag.
"""

from importlib.metadata import version

FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if [int(part) for part in version("jaxlib").split(".")[:2]] < [0, 11]:
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
