"""Models that hear: what the stages of Qwen2-Audio train, and a frozen Whisper that stays."""

import jax
import numpy as np
import pytest

import mmjax
from mmjax import config as configs
from mmjax import tree
from mmjax.run.assembly import Run
from mmjax.run.options import Options

QWEN = "configs/speech/qwen2_audio.py"
TRAINED = {
    "projector": 1280 * 4096 + 4096,
    "full": 8_397_094_912,
    # rank 64 beside seven maps of 32 blocks
    "lora": 1280 * 4096 + 4096 + 32 * 64 * (8 * 4096 + 3 * (4096 + 11_008)),
}


def options(variant, path=QWEN, **changes):
    config = configs.load(f"{path}:{variant}", schema=Options)
    for key, value in changes.items():
        config[key] = value
    return configs.build(Options, config)


@pytest.mark.parametrize("variant", TRAINED)
def test_what_a_stage_trains_at_the_papers_size(variant):
    run = Run(options(variant, execution=dict(mesh=dict(fsdp=1))), paper=True)
    shapes = tree.flatten(run.spec.shapes.params)
    trained = [path for path in shapes if run.spec.optimizer.trained(path)]
    assert sum(int(np.prod(shapes[path].shape)) for path in trained) == TRAINED[variant]


@pytest.mark.parametrize(
    "variant, message",
    [
        ("model.audio.stack=3", "stack is 3, but the data needs 4"),
        ("data.processor.max_images=1", "image_id says nothing where image is None"),
        ("data.processor.audio.bins=128,model.audio.encoder.bins=80", "bins is 80, but the data"),
    ],
)
def test_what_contradicts_the_sounds_is_refused(variant, message):
    run = Run(options(f"smoke,{variant}", "configs/speech/speech_lm.py"))
    with pytest.raises(configs.ConfigError, match=message):
        run.model  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["", "lora,"])
def test_the_encoder_stays_and_the_rest_learns(variant, tmp_path):
    quick = f"{variant}smoke,train.steps=4,train.evaluate_every=0,execution.tensorboard=False"
    run = options(quick, "configs/speech/speech_lm.py", validation={}, test={},
                  checkpoint=dict(trained_only=True))  # fmt: skip
    assert mmjax.train(run, tmp_path / "run").finished
    begun = Run(run)
    with jax.set_mesh(begun.mesh):
        drawn = tree.flatten(begun.spec.init().params)
    learned = tree.flatten(mmjax.restore(tmp_path / "run", step=4).params)
    changed = {path for path in drawn if not np.array_equal(drawn[path], learned[path])}
    adapted = {path for path in changed if path.startswith("audio/encoder/")}
    assert all("/lora/" in path for path in adapted) and bool(adapted) == bool(variant)
    assert {path.split("/")[0] for path in changed} == {"audio", "language"}
    assert any(path.startswith("audio/projector/") for path in changed)
