"""Plan: figures that can be had another way too, refusals, and runs whose data is not here."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from toy import mesh

from mmjax.commands import plan
from mmjax.config import ConfigError, build, load
from mmjax.run.options import Options
from mmjax.training import hardware
from mmjax.training.collectives import traffic

TINY = dict(width=16, heads=2, hidden=32, layers=2, unroll=1, dtype="float32")


def config(*changes, path="configs/contrastive/clip_emoji.py:smoke"):
    small = [f"model.{tower}.transformer={TINY}" for tower in ("image", "text")]
    return load(path, [*small, "model.embedding=16", *changes], schema=Options)


@functools.cache
def needs(*changes):
    return plan.needs(plan.here_or_on_paper(build(Options, config(*changes)))[0])


def test_traffic_counts_loops_and_what_each_device_sends():
    """On 8 devices in rows of 2 x 4: a sum over 4 in a loop of 5, a gather over 8, a shift."""

    def program(x):  # [1, 256] on each device
        for_each = jax.lax.scan(lambda c, _: (jax.lax.psum(c, "fsdp") / 4, None), x, None, 5)[0]
        whole = jax.lax.all_gather(for_each, ("data", "fsdp"))
        around = jax.lax.ppermute(x, "fsdp", [(0, 1), (1, 2), (2, 3), (3, 0)])
        return whole.sum(0) + around

    where = mesh(8, data=2, fsdp=4)
    rows = P(("data", "fsdp"))
    program = jax.shard_map(program, mesh=where, in_specs=rows, out_specs=rows, check_vma=False)
    hlo = jax.jit(program).lower(jnp.ones((8, 256))).compile().as_text()
    found = traffic(hlo)
    assert found["all-reduce"] == (5, 5 * 2 * 3 / 4 * 1024)
    assert found["all-gather"] == (1, 7 / 8 * 8 * 1024)
    assert found["collective-permute"] == (1, 1024)
    assert set(found) == {"all-reduce", "all-gather", "collective-permute"}


def test_data_parallel_sums_the_gradient_once():
    found = needs()
    assert found.kinds["parameters"] == 4 * found.parameters
    sent = found.traffic["all-reduce"].sent
    # the gradient, and little beside it: metrics, and gradients of the gathered embeddings
    assert 1.0 <= sent / (2 * 7 / 8 * 4 * found.parameters) < 1.2


def test_parameters_cut_over_devices_need_less_of_each():
    whole, cut = needs(), needs("execution.mesh.data=1", "execution.mesh.fsdp=8")
    assert cut.kinds["parameters"] < 0.3 * whole.kinds["parameters"]
    assert cut.flops == whole.flops and cut.kinds["batch"] == whole.kinds["batch"]


@pytest.mark.slow
def test_what_fsdp_sends_is_parameters_and_not_activations():
    few, many = (needs("execution.mesh.data=1", "execution.mesh.fsdp=8", f"data.batch_size={rows}")
                 for rows in (64, 512))  # fmt: skip
    sent = [sum(one.sent for one in found.traffic.values()) for found in (few, many)]
    assert sent[1] < 2 * sent[0]


def test_what_training_holds_is_what_the_plan_says():
    """The state and batch of the very run, as they lie on its first device."""
    run, missing = plan.here_or_on_paper(build(Options, config()))
    assert missing == ""
    with jax.set_mesh(run.mesh):
        state, batch = run.spec.init(), run.put(run.pipeline.batch(0).arrays)
    first = jax.devices()[0]

    def held(arrays):
        return sum(shard.data.nbytes for x in jax.tree.leaves(arrays)
                   for shard in x.addressable_shards if shard.device == first)  # fmt: skip

    kinds = needs().kinds
    assert kinds["parameters"] == held(state.params) and kinds["optimizer"] == held(state.optimizer)
    assert kinds["batch"] == held(batch) * (1 + run.options.execution.ahead)


@pytest.mark.slow  # compiles the step once for every change that it tries
def test_what_does_not_fit_is_refused_with_what_would(monkeypatch, capsys):
    wide = [f"model.{tower}.transformer.width=64" for tower in ("image", "text")]
    many = (*wide, "data.batch_size=512", "task.form='ring'")
    memory = needs(*many).memory
    small = hardware.Chip(1e12, 0.8 * memory / plan.MOST_SHARE, 1e9)
    monkeypatch.setitem(hardware.CHIPS, "toy chip", small)
    with pytest.raises(ConfigError, match=r"a step needs .* It fits \(.*\) with remat='\w+' in"):
        plan.plan(config(*many), chip_name="toy chip")
    text = capsys.readouterr().out
    for words in ("memory of one device", "all-reduce", "a step takes", "padding: ", "embed joint"):
        assert words in text
    monkeypatch.setitem(hardware.CHIPS, "toy chip", small._replace(memory=10.0))
    monkeypatch.setattr(plan, "_changes", lambda options: [("nothing", options)])
    with pytest.raises(ConfigError, match="make it fit"):
        plan.plan(config(*many), chip_name="toy chip")
    with pytest.raises(ConfigError, match="'abacus' is none of TPU v3, "):
        plan.plan(config(), chip_name="abacus")


def test_a_run_without_its_data_is_planned_on_paper():
    there, missing = plan.here_or_on_paper(
        build(Options, config(path="configs/contrastive/clip_vit_b32.py:smoke"))
    )
    assert missing == ""  # the smoke variant takes the bundled emoji
    absent = config("data.train.pairs={'name': 'manifest', 'path': '/nowhere/list.jsonl'}",
                    "data.batch_size=4096", "data.processor.vocab_size=700",
                    path="configs/contrastive/clip_vit_b32.py:smoke")  # fmt: skip
    run, missing = plan.here_or_on_paper(build(Options, absent))
    assert "no manifest" in missing and run.paper
    assert run.shapes["image"].shape == (4096, 64, 64, 3)
    assert run.model.config.text.vocab_size == 700
    assert there.shapes["text"].dtype == np.int32
