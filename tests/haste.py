"""XLA's flags for tests, most of whose time is compilation of what then runs once.

LLVM optimises nothing and takes a program as one piece. Fusions are written the older way: the
newer one compiles each apart, in jaxlib 0.10, which is three quarters of a small program's time.
"""

FLAGS = " ".join([
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_use_fusion_emitters=false",
])  # fmt: skip
