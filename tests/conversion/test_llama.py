"""Configs of Llama, Qwen2 and Gemma; what the reference says of the models: test_families.py."""

import dataclasses

import pytest

from mmjax.conversion import llama
from mmjax.conversion.mapping import fields
from mmjax.models import llama as model


def test_windows_are_the_shortest_pattern():
    far = llama.config({"model_type": "gemma2", "num_hidden_layers": 5})
    assert far.decoder.windows == (4096, 0)
    kinds = ["full_attention"] * 2 + ["sliding_attention"]
    near = dict(model_type="qwen2", num_hidden_layers=3, use_sliding_window=True)
    assert llama.config({**near, "layer_types": kinds}).decoder.windows == (0, 0, 4096)
    assert llama.config({**near, "max_window_layers": 0}).decoder.windows == (4096,)
    assert llama.config({**near, "use_sliding_window": False}).decoder.windows == ()


def test_positions_in_both_spellings():
    new = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0,
               high_freq_factor=4.0, original_max_position_embeddings=8192)  # fmt: skip
    old = {key: value for key, value in new.items() if key != "rope_theta"}
    first = llama.config({"rope_parameters": new})
    assert first == llama.config({"rope_scaling": old, "rope_theta": 5e5})
    assert first.decoder.rotary.scaling == "llama3" and first.decoder.rotary.base == 5e5
    older = llama.config({"rope_scaling": {"type": "linear", "factor": 2.0}})
    assert older.decoder.rotary == dataclasses.replace(
        older.decoder.rotary, scaling="linear", factor=2.0, base=10_000.0
    )


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(rope_scaling={"type": "dynamic", "factor": 2.0}), "rope_type = 'dynamic'"),
        (dict(partial_rotary_factor=0.5), "partial_rotary_factor = 0.5"),
        (dict(hidden_act="tanh"), "hidden_act = 'tanh'"),
        (dict(architectures=["LlamaForSequenceClassification"]), "architectures = "),
    ],
)
def test_other_mathematics_is_refused(change, said):
    with pytest.raises(fields.Unsupported, match=said):
        llama.config({"model_type": "llama", **change})


def test_a_mixture_of_families_is_not_written():
    mixed = dataclasses.replace(model.VARIANTS["Gemma-2B"], embedding_scale=2.0)
    with pytest.raises(fields.Unsupported, match="none of llama, qwen2, gemma, gemma2 has"):
        llama.upstream(mixed)
