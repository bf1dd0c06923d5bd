"""The contrastive losses, plain and ring: temporary memory per device and time of value + gradient.

    python -m experiments.speed.contrastive_loss
    python -m experiments.speed.contrastive_loss --tiles

Memory is XLA's own account of the compiled program; the large batch is compiled and never run. Time
is the best of several runs, the programs taking turns. The devices are virtual ones of this CPU and
share its cores: the time shows the work, and nothing of links between chips. Groups are given and
some rows do not exist, as in training. Results are kept in README.md beside this file.
"""

import argparse
import os
import time

DEVICES = 8
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import AxisType, Mesh  # noqa: E402

from mmjax.objectives import contrastive, ring  # noqa: E402
from mmjax.report.table import aligned  # noqa: E402
from mmjax.training import sharding  # noqa: E402

LOSSES, FORMS = ("softmax", "sigmoid"), {"plain": contrastive, "ring": ring}
WIDTH = 512
LARGE = 32_768  # rows; compiled only


def mesh(devices: int) -> Mesh:
    chosen = np.array(jax.devices()[:devices]).reshape(devices, 1, 1)
    return Mesh(chosen, sharding.AXES, axis_types=(AxisType.Auto,) * 3)


def program(form, loss: str, rows: int, devices: int, **more):
    """Value and gradients of a batch of so many rows, compiled."""
    where = mesh(devices)
    by_row, everywhere = sharding.batch_sharding(where), sharding.replicated(where)

    def value(sides, factors, weights, groups):
        factors = factors if loss == "sigmoid" else factors[:1]
        pairs = getattr(form, loss)(*sides, *factors, weights, groups, **more)
        found = jnp.sum(weights * pairs.correct_a_to_b), jnp.sum(weights * pairs.correct_b_to_a)
        return jnp.sum(weights * pairs.loss) / jnp.sum(weights), found

    def shape(dtype, where, *size):
        return jax.ShapeDtypeStruct(size, dtype, sharding=where)

    sides = (shape(jnp.float32, by_row, rows, WIDTH),) * 2
    factors = (shape(jnp.float32, everywhere),) * 2
    columns = shape(jnp.float32, by_row, rows), shape(jnp.int32, by_row, rows)
    with jax.set_mesh(where):
        both = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
        places = everywhere, ((by_row,) * 2, (everywhere,) * 2)
        return jax.jit(both, out_shardings=places).lower(sides, factors, *columns).compile()


def memory(compiled) -> float:
    """Temporary MiB on each device."""
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


def batch(rows: int):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, rows, WIDTH))
    sides = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b + a)]
    weights = (rng.random(rows) > 0.01).astype(np.float32)
    groups = rng.integers(rows, size=rows).astype(np.int32)
    return (
        tuple(x.astype(np.float32) for x in sides),
        (np.float32(20), np.float32(-10)),
        weights,
        groups,
    )


def timed(programs: dict, rows: int, runs: int) -> tuple[dict, dict]:
    """(seconds, gradients of the sides) of each program; they take turns."""
    seconds, gradients, arguments = {}, {}, batch(rows)
    for number in range(runs + 1):  # the first run of each only warms up
        for name, compiled in programs.items():
            placed = jax.tree.map(jax.device_put, arguments, compiled.input_shardings[0])
            start = time.perf_counter()
            _, out = jax.block_until_ready(compiled(*placed))
            if number:
                spent = time.perf_counter() - start
                seconds[name] = min(spent, seconds.get(name, spent))
            gradients[name] = np.concatenate(jax.device_get(out[0]))
    return seconds, gradients


def forms(rows: int, runs: int) -> None:
    """Both forms on one device and on all."""
    table = []
    for devices in (1, DEVICES):
        for loss in LOSSES:
            made = {n: program(form, loss, rows, devices) for n, form in FORMS.items()}
            seconds, gradients = timed(made, rows, runs)
            for name, form in FORMS.items():
                off = np.linalg.norm(gradients[name] - gradients["plain"])
                off /= np.linalg.norm(gradients["plain"])
                large = memory(program(form, loss, LARGE, devices))
                figures = f"{large:,.0f}", f"{memory(made[name]):,.0f}", f"{seconds[name]:.2f}"
                table.append((str(devices), loss, name, *figures, f"{off:.0e}"))
    header = ("devices", "loss", "form", f"MiB, B={LARGE}", f"MiB, B={rows}", f"s, B={rows}",
              "gradient off by")  # fmt: skip
    print(aligned(header, table, right=(0, 3, 4, 5, 6)))


def tiles(rows: int, runs: int) -> None:
    """The ring's tiles from small to large, on one device."""
    table = []
    for loss in LOSSES:
        sizes = [256, 512, 1024, 2048, 4096]
        made = {size: program(ring, loss, rows, 1, tile=size) for size in sizes}
        seconds, _ = timed(made, rows, runs)
        for size in sizes:
            large = memory(program(ring, loss, LARGE, DEVICES, tile=size))
            table.append((loss, str(size), f"{large:,.0f}", f"{seconds[size]:.2f}"))
    header = ("loss", "tile", f"MiB, B={LARGE}, {DEVICES} devices", f"s, B={rows}, one device")
    print(aligned(header, table, right=(1, 2, 3)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=4096, help="rows of the batch that is run")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each program")
    parser.add_argument("--tiles", action="store_true", help="compare sizes of tiles instead")
    options = parser.parse_args()
    (tiles if options.tiles else forms)(options.rows, options.runs)
