"""The config.json of a work directory that was cut, or says what no run can be."""

import json

import pytest

from mmjax.config import ConfigError, load, to_dict
from mmjax.run.assembly import Run
from mmjax.run.options import Options
from mmjax.run.workdir import load_options

CONFIG = "configs/contrastive/clip_emoji.py:smoke"


@pytest.fixture(scope="module")
def written():
    """What a run writes down of itself."""
    return json.dumps(to_dict(load(CONFIG, [], schema=Options)))


@pytest.mark.parametrize("cut", [0, 1, 40, 900, -1])
def test_a_cut_config_is_named(tmp_path, written, cut):
    (tmp_path / "config.json").write_text(written[:cut])
    with pytest.raises(ConfigError, match="config.json is damaged, and says no longer which run"):
        load_options(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff" + written.encode())
    with pytest.raises(ConfigError, match="config.json is damaged"):
        load_options(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"config.json = \(\) is not a sub-tree"):
        load_options(tmp_path)


@pytest.mark.parametrize("path, value", [
    ("train.steps", -5), ("train.steps", 0), ("train.steps", 10**12), ("train.log_every", 0),
    ("data.batch_size", 0), ("optimizer.accumulate", -1), ("checkpoint.latest", 0),
    ("execution.mesh.fsdp", 0), ("model.image.transformer.heads", 0),
    ("model.image.transformer.width", -64), ("model.image.patch_size", 0),
    ("model.text.vocab_size", -5), ("model.text.vocab_size", 10**12), ("model.embedding", 0),
    ("data.processor.image_size", 0), ("data.processor.max_length", -1),
])  # fmt: skip
def test_sizes_that_no_run_has_are_refused(tmp_path, written, path, value):
    changed = json.loads(written)
    *parents, last = path.split(".")
    inner = changed
    for key in parents:
        inner = inner.setdefault(key, {})
    inner[last] = value
    (tmp_path / "config.json").write_text(json.dumps(changed))
    message = rf"{path} (= {value} \(int\) is not int from [01] to |is {value}, but the data needs)"
    with pytest.raises(ConfigError, match=message):
        run = Run(load_options(tmp_path), paper=True)
        assert run.part().processor and run.model
