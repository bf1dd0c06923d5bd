"""LLaVA's stages: what each trains, and that the second goes on from the first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax import config as configs
from mmjax import tree
from mmjax.run import warm_start
from mmjax.run.assembly import Run
from mmjax.run.options import Options
from mmjax.run.restore import restore

CONFIG = "configs/vlm/llava.py"
QUICK = "smoke,train.steps=2,train.evaluate_every=0,execution.tensorboard=False"
ALONE = dict(validation={}, checkpoint=dict(trained_only=True))
STAGES = {  # variant -> what is trained, of the parts of the paths
    "projector": {"projector"},
    "full": {"projector", "language"},
    "lora": {"projector", "lora"},
}
# 2 x 1024 x 4096 and 4096 x 4096 with their biases; rank 128 beside seven maps of 32 blocks
TRAINED = {
    "projector": 20_979_712,
    "full": 20_979_712 + 6_738_415_616 + 2 * 64 * 4096,
    "lora": 20_979_712 + 32 * 128 * (8 * 4096 + 3 * (4096 + 11_008)),
}


def options(variant, **changes):
    config = configs.load(f"{CONFIG}:{variant}", schema=Options)
    for key, value in changes.items():
        config[key] = value
    return configs.build(Options, config)


def part(path):
    """Which of the parts a parameter belongs to."""
    return "lora" if "/lora/" in path else path.split("/")[0]


@pytest.mark.parametrize("variant", STAGES)
def test_what_a_stage_trains_at_the_papers_size(variant):
    run = Run(options(variant, execution=dict(mesh=dict(fsdp=1))), paper=True)
    shapes = tree.flatten(run.spec.shapes.params)
    trained = {path for path in shapes if run.spec.optimizer.trained(path)}
    assert {part(path) for path in trained} == STAGES[variant]
    assert trained == {path for path in shapes if part(path) in STAGES[variant]}
    assert sum(int(np.prod(shapes[path].shape)) for path in trained) == TRAINED[variant]


def test_a_vocabulary_with_a_few_tokens_more():
    drawn = {"tokens": jnp.zeros((6, 2)), "head": jnp.zeros((2, 6)), "norm": jnp.zeros(6)}
    axes = {"language/tokens": ("vocab", "embed"), "language/head": ("embed", "vocab")}
    given = {"tokens": np.ones((4, 2)), "head": np.ones((2, 4)), "norm": np.ones(4)}
    longer, lines = warm_start.longer(drawn, given, axes, "language/")
    assert longer["tokens"][:, 0].tolist() == longer["head"][0].tolist() == [1, 1, 1, 1, 0, 0]
    assert longer["norm"].shape == (4,)  # is no vocabulary: it does not fit
    assert "language/tokens: 4 tokens, and 2 more as they were drawn" in lines
    another = {"tokens": jnp.zeros((1000, 2))}  # a vocabulary of its own
    assert warm_start.longer(another, given, axes, "language/")[0]["tokens"].shape == (4, 2)


@pytest.mark.slow
def test_the_first_stage_moves_the_projector_and_the_second_goes_on_from_it(tmp_path):
    first = options(QUICK, **ALONE)
    assert mmjax.train(first, tmp_path / "projector").finished
    run = Run(first)
    with jax.set_mesh(run.mesh):
        drawn = tree.flatten(run.spec.init().params)
    learned = tree.flatten(restore(tmp_path / "projector", step=2).params)
    changed = {path for path in drawn if not np.array_equal(drawn[path], learned[path])}
    assert {part(path) for path in changed} == {"projector"}

    start = str(tmp_path / "projector")
    second = options(f"lora,{QUICK}", warm_start=start, **ALONE)
    with jax.set_mesh(Run(second).mesh):
        begun = tree.flatten(warm_start.begin(Run(second), report=False).params)
    for path, leaf in learned.items():
        np.testing.assert_array_equal(begun[path], leaf)
    fresh = {path for path in begun if path not in learned}
    assert {part(path) for path in fresh} == {"lora"}
    assert all(not np.any(begun[path]) for path in fresh if path.endswith("/b"))  # changes nothing
