"""The table of logical axes: checked before anything is allocated; who lies where."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from toy import Words, mesh, planned, words

from mmjax import tree
from mmjax.config import ConfigError
from mmjax.training import sharding
from mmjax.training.optimizer import Group
from mmjax.training.sharding import Config

AXES = {"up/kernel": ("layers", "embed", "mlp"), "scale": (), "table": ("vocab", "embed")}


def boxed(**sizes):
    sizes = dict(layers=2, embed=8, mlp=12, vocab=10) | sizes
    return tree.unflatten({
        path: nn.LogicallyPartitioned(jnp.zeros([sizes[n] for n in names]), names)
        for path, names in AXES.items()
    })  # fmt: skip


@pytest.mark.parametrize("config, sizes", [
    (Config(), (8, 1, 1)),
    (Config(data=1, fsdp=-1), (1, 8, 1)),
    (Config(data=2, fsdp=2, tensor=2), (2, 2, 2)),
    (Config(tensor=4), (2, 1, 4)),
])  # fmt: skip
def test_mesh(config, sizes):
    made = sharding.make_mesh(config)
    assert tuple(made.shape.values()) == sizes and tuple(made.shape) == sharding.AXES


@pytest.mark.parametrize("config", [
    Config(data=4), Config(fsdp=3), Config(data=-1, fsdp=-1), Config(data=16), Config(tensor=0),
    Config(data=-2, fsdp=-4),
])  # fmt: skip
def test_mesh_that_does_not_fit(config):
    with pytest.raises(ConfigError, match=r"does not fit 8 device\(s\): their product must be 8"):
        sharding.make_mesh(config)


@pytest.mark.parametrize("rules, message", [
    ({"mpl": "tensor"}, "names the axis 'mpl', which no parameter has; did you mean 'mlp'"),
    ({"heads": "tensor"}, "'heads', which no parameter has.* have: embed, layers, mlp, vocab"),
    ({"mlp": "tensr"}, "puts 'mlp' on 'tensr'; the mesh has data, fsdp, tensor"),
])  # fmt: skip
def test_rules_that_say_nothing(rules, message):
    with pytest.raises(ConfigError, match=message):
        sharding.table(Config(rules=rules), AXES)


def test_an_axis_without_a_rule():
    strange = {**AXES, "experts/kernel": ("expert", "embed")}
    with pytest.raises(ValueError, match=r"no rule for the logical axes \['expert'\]"):
        sharding.table(Config(), strange)
    assert sharding.table(Config(rules={"expert": "tensor"}), strange)["expert"] == "tensor"


def test_sizes_that_do_not_divide():
    where = mesh(8, data=1, fsdp=2, tensor=4)
    message = "up/kernel: axis 'mlp' of size 10 cannot be cut over 4 devices of 'tensor'"
    with pytest.raises(ConfigError, match=message):
        sharding.parameter_shardings(boxed(mlp=10), where, Config())
    places = sharding.parameter_shardings(boxed(mlp=10), where, Config(rules={"mlp": ""}))
    assert places["up"]["kernel"].spec == PartitionSpec(None, "fsdp", None)


def test_a_vocabulary_that_does_not_divide_is_not_cut():
    where = mesh(8, data=1, fsdp=2, tensor=4)
    for rules in ({}, {"vocab": ""}):
        places = sharding.parameter_shardings(boxed(), where, Config(rules=rules))
        assert {path: place.spec for path, place in tree.flatten(places).items()} == {
            "scale": PartitionSpec(),
            "table": PartitionSpec(None, "fsdp"),
            "up/kernel": PartitionSpec(None, "fsdp", "tensor"),
        }
    places = sharding.parameter_shardings(boxed(vocab=12), where, Config())
    assert places["table"].spec == PartitionSpec("tensor", "fsdp")


@pytest.mark.parametrize("size", [12, 13])
def test_a_head_over_a_vocabulary_of_any_size(size):
    """The loss and the gradient of an embedding and a head are those of one device."""
    table = jax.random.normal(jax.random.key(0), (size, 8))
    ids = jnp.arange(16) % size

    def loss(table, ids):
        logits = table[ids] @ table.T
        own = jnp.take_along_axis(jax.nn.log_softmax(logits), ids[:, None], 1)
        return -own.mean()

    where = mesh(8, data=2, fsdp=2, tensor=2)
    box = {"table": nn.LogicallyPartitioned(table, ("vocab", "embed"))}
    places = sharding.parameter_shardings(box, where, Config())["table"]
    with jax.set_mesh(where):
        rows = jax.device_put(ids, sharding.batch_sharding(where))
        found = jax.jit(jax.value_and_grad(loss))(jax.device_put(table, places), rows)
    expected = jax.value_and_grad(loss)(table, ids)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found,
                 expected)  # fmt: skip


def test_one_mesh_axis_cuts_a_tensor_once():
    both = Config(rules={"embed": "tensor"})
    places = sharding.parameter_shardings(boxed(), mesh(8, data=4, tensor=2), both)
    assert places["up"]["kernel"].spec == PartitionSpec(None, "tensor", None)
    assert places["table"].spec == PartitionSpec("tensor", None)


def test_everything_is_born_where_it_lives():
    """Parameters, averages and moments in equal parts; counters and states everywhere."""
    adam = Group(learning_rate=1e-3, schedule="constant")
    where = mesh(8, data=2, fsdp=2, tensor=2)
    plan, step = planned(Words(), words(), adam, where=where, ema=0.9)
    state = plan.init()
    kernel = state.params["blocks"]["up"]["kernel"]
    assert kernel.sharding.spec == PartitionSpec(None, "fsdp", "tensor")
    assert kernel.addressable_shards[0].data.shape == (2, 3, 3)
    assert state.teachers["ema"]["blocks"]["up"]["kernel"].sharding == kernel.sharding
    moments = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer)
               if "['up']['kernel']" in jax.tree_util.keystr(path)]  # fmt: skip
    assert len(moments) == 2 and all(leaf.sharding == kernel.sharding for leaf in moments)
    assert state.step.sharding.is_fully_replicated
    assert state.state["sums"].sharding.is_fully_replicated
    # the same values as on one device
    one = planned(Words(), words(), adam, ema=0.9)[0].init()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
                 jax.device_get(state), jax.device_get(one))  # fmt: skip


def test_no_parameter_is_born_whole():
    """A model too large for one device must never be built on one."""
    where = mesh(8, data=1, fsdp=4, tensor=2)
    config = Config(data=1, fsdp=4, tensor=2)
    big = boxed(embed=4096, mlp=4096, vocab=8)
    places = sharding.parameter_shardings(big, where, config)

    def build():
        return nn.unbox(jax.tree.map(lambda x: x + 1.0, big))

    compiled = jax.jit(build, out_shardings=places).lower().compile()
    memory = compiled.memory_analysis()
    whole = sum(leaf.size * 4 for leaf in jax.tree.leaves(nn.unbox(big)))
    assert memory.output_size_in_bytes < whole / 6
