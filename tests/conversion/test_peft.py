"""LoRA in peft's files: a hand-made one in its documented layout, and back."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax import tree
from mmjax.conversion import bert, clip, gpt2, load, peft, siglip
from mmjax.conversion.formats import files
from mmjax.conversion.mapping import table
from mmjax.conversion.mapping.fields import Unsupported
from mmjax.layers import adapters
from mmjax.layers.adapters import Adapted, Rule

TOWER = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20)
BASE = "base_model.model."
RANK, ALPHA = 3, 6
CONFIG = dict(
    peft_type="LORA", r=RANK, lora_alpha=ALPHA, lora_dropout=0.1, bias="none", use_dora=False,
    target_modules=["q_proj", "out_proj", "fc1", "visual_projection"], fan_in_fan_out=False,
    alpha_pattern={"fc1": 12}, modules_to_save=None, task_type=None,
)  # fmt: skip
MAPS = {  # of the vision tower: outputs, inputs
    "self_attn.q_proj": (12, 12), "self_attn.out_proj": (12, 12), "mlp.fc1": (20, 12),
}  # fmt: skip


def checkpoint(family, fields):
    config = family.config(fields)
    model = family.model(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs(family, config))["params"]
    rng = np.random.default_rng(7)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype), unbox(shapes)
    )
    return load.Loaded(family.__name__.rpartition(".")[2], model, params, None, config)


def inputs(family, config):
    """One row of pixels and tokens, or of tokens."""

    def some(shape):
        if shape.dtype == "float32":
            return jnp.full(shape.shape, 0.1)
        return jnp.arange(shape.size, dtype=shape.dtype).reshape(shape.shape)

    return jax.tree.map(some, family.inputs(config))


@pytest.fixture(scope="module")
def base():
    text = dict(TOWER, vocab_size=30, max_position_embeddings=6, eos_token_id=3)
    vision = dict(TOWER, image_size=8, patch_size=4)
    fields = dict(model_type="clip", text_config=text, vision_config=vision, projection_dim=10)
    return checkpoint(clip, fields)


@pytest.fixture(scope="module")
def story():
    small = dict(model_type="gpt2", vocab_size=20, n_positions=8, n_embd=12, n_layer=2, n_head=3)
    return checkpoint(gpt2, small)


def hand_made():
    rng = np.random.default_rng(0)
    tensors = {}
    shapes = {
        f"vision_model.encoder.layers.{layer}.{name}": shape
        for layer in range(2)
        for name, shape in MAPS.items()
        if (layer, name) != (0, "mlp.fc1")  # one layer has none
    }
    for name, (out, into) in {**shapes, "visual_projection": (10, 12)}.items():
        for half, shape in (("A", (RANK, into)), ("B", (out, RANK))):
            tensors[f"{BASE}{name}.lora_{half}.weight"] = rng.normal(size=shape).astype("float32")
    return tensors


def written(folder, tensors, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **changes}))
    files.save(folder / "adapter_model.safetensors", tensors)
    return folder


def test_a_file_does_what_its_matrices_say(base, tmp_path):
    tensors = hand_made()
    found = peft.load(written(tmp_path, tensors), base)
    plain = table.write(clip.table(base.config), base.params)
    for name in {name.rpartition(".lora_")[0] for name in tensors}:
        a, b = (tensors[f"{name}.lora_{half}.weight"] for half in "AB")
        alpha = 12 if "fc1" in name else ALPHA
        where = f"{name.removeprefix(BASE)}.weight"
        plain[where] = plain[where] + b @ a * (alpha / RANK)
    shapes = tree.flatten(base.params)
    by_hand = table.read(clip.table(base.config), plain, shapes)
    params = tree.merge(base.params, found.params)
    for path, kernel in tree.flatten(adapters.merge(params, found.rules)).items():
        np.testing.assert_allclose(kernel, tree.flatten(by_hand)[path], atol=2e-6, err_msg=path)
    some = inputs(clip, base.config)
    adapted = Adapted(base.model, found.rules)
    drawn = tree.flatten(unbox(jax.eval_shape(adapted.init, jax.random.key(0), *some))["params"])
    assert {p: x.shape for p, x in drawn.items()} == {
        p: x.shape for p, x in tree.flatten(params).items()
    }
    ours = jax.jit(adapted.apply)({"params": params}, *some)
    theirs = jax.jit(base.model.apply)({"params": by_hand}, *some)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_there_and_back(base, tmp_path):
    found = peft.load(written(tmp_path / "one", hand_made()), base)
    peft.save(tmp_path / "two", base, found.rules, tree.merge(base.params, found.params))
    again = peft.load(tmp_path / "two", base)
    assert again.rules == found.rules
    for path, value in tree.flatten(found.params).items():
        assert np.array_equal(value, tree.flatten(again.params)[path]), path
    tensors = files.safetensors(tmp_path / "two" / "adapter_model.safetensors")
    for name, value in hand_made().items():
        assert np.array_equal(tensors[name], value), name
    config = json.loads((tmp_path / "two" / "adapter_config.json").read_text())
    assert "vision_model.encoder.layers.1.mlp.fc1" in config["target_modules"]


def test_bert_and_gpt2_by_their_own_names(story, tmp_path):
    """A prefix that the family strips; a file that keeps [in, out]."""
    small = dict(model_type="bert", vocab_size=20, max_position_embeddings=8, **TOWER)
    words = checkpoint(bert, small)
    name = f"{BASE}bert.encoder.layer.1.attention.self.query"
    halves = {f"{name}.lora_A.weight": np.ones((2, 12), "f4"),
              f"{name}.lora_B.weight": np.ones((12, 2), "f4")}  # fmt: skip
    found = peft.load(written(tmp_path, halves, use_rslora=True), words)
    assert found.rules[0].rank == 2 and found.rules[0].alpha == pytest.approx(ALPHA * 2**0.5)
    b = found.params["transformer"]["blocks"]["attention"]["query"]["lora"]["b"]
    assert b.shape == (2, 2, 12) and not b[0].any() and b[1].all()

    rules = (Rule(".*/(attention/out|mlp/up)", rank=2),)
    params = tree.merge(story.params, drawn(story, rules))
    peft.save(tmp_path / "gpt2", story, rules, params)
    assert json.loads((tmp_path / "gpt2" / "adapter_config.json").read_text())["fan_in_fan_out"]
    tensors = files.safetensors(tmp_path / "gpt2" / "adapter_model.safetensors")
    assert tensors[f"{BASE}transformer.h.1.mlp.c_fc.lora_A.weight"].shape == (2, 12)
    assert tensors[f"{BASE}transformer.h.1.mlp.c_fc.lora_B.weight"].shape == (48, 2)
    again = peft.load(tmp_path / "gpt2", story)
    ours = adapters.trained(params)[0]
    assert jax.tree.all(jax.tree.map(np.array_equal, dict(again.params), ours))


def drawn(story, rules):
    """Parameters of the adapters, none of them zero."""
    model = Adapted(story.model, rules)
    shapes = jax.eval_shape(model.init, jax.random.key(1), *inputs(gpt2, story.config))
    params = unbox(shapes)["params"]
    flat = tree.flatten(adapters.trained(params)[0])
    rng = np.random.default_rng(2)
    return tree.unflatten({path: rng.normal(size=x.shape).astype("f4") for path, x in flat.items()})


def saved(folder, story, rules, params):
    """Config and the tensors of layer 1's c_attn."""
    peft.save(folder, story, rules, params)
    tensors = files.safetensors(folder / "adapter_model.safetensors")
    at = f"{BASE}transformer.h.1.attn.c_attn.lora_"
    config = json.loads((folder / "adapter_config.json").read_text())
    return config, tensors[f"{at}A.weight"], tensors[f"{at}B.weight"]


def merged(story, rules, params):
    return tree.flatten(adapters.merge(tree.merge(story.params, params), rules))


PARTS = {  # rules on queries, keys and values -> rank and alpha in the file
    "all": ((Rule(".*/attention/(query|key|value)", rank=2, alpha=5.0),), 6, 15.0),
    "queries": ((Rule(".*/attention/query", rank=2, alpha=5.0),), 2, 5.0),
    "two strengths": ((Rule(".*/query", rank=2, alpha=5.0), Rule(".*/value", rank=3)), 5, 5.0),
}


@pytest.mark.parametrize("kind", PARTS)
def test_queries_keys_and_values_in_one_map(story, tmp_path, kind):
    rules, rank, alpha = PARTS[kind]
    params = drawn(story, rules)
    config, a, b = saved(tmp_path / "one", story, rules, params)
    assert (config["r"], config["lora_alpha"], config["fan_in_fan_out"]) == (rank, alpha, True)
    assert (a.shape, b.shape) == ((rank, 12), (36, rank))
    again = peft.load(tmp_path / "one", story)
    want = merged(story, rules, params)
    for path, kernel in merged(story, again.rules, again.params).items():
        np.testing.assert_allclose(kernel, want[path], atol=2e-6, err_msg=path)
    # these three have one A, so that saving them does not make them any larger
    twice = saved(tmp_path / "two", story, again.rules, again.params)
    assert twice[0] == config and np.array_equal(twice[1], a) and np.array_equal(twice[2], b)


def test_one_map_does_what_its_matrices_say(story, tmp_path):
    rng, tensors = np.random.default_rng(0), {}
    for layer in range(2):
        at = f"{BASE}transformer.h.{layer}.attn.c_attn"
        tensors[f"{at}.lora_A.weight"] = rng.normal(size=(RANK, 12)).astype("f4")
        tensors[f"{at}.lora_B.weight"] = rng.normal(size=(36, RANK)).astype("f4")
    found = peft.load(written(tmp_path, tensors, fan_in_fan_out=True), story)
    plain = table.write(gpt2.table(story.config), story.params)
    for layer in range(2):
        at = f"transformer.h.{layer}.attn.c_attn"
        a, b = (tensors[f"{BASE}{at}.lora_{half}.weight"] for half in "AB")
        plain[f"{at}.weight"] = plain[f"{at}.weight"] + (b @ a).T * (ALPHA / RANK)
    by_hand = table.read(gpt2.table(story.config), plain, tree.flatten(story.params))
    for path, kernel in merged(story, found.rules, found.params).items():
        np.testing.assert_allclose(kernel, tree.flatten(by_hand)[path], atol=2e-6, err_msg=path)
    tensors[f"{BASE}transformer.h.0.attn.c_attn.lora_B.weight"] = np.ones((35, RANK), "f4")
    with pytest.raises(table.CheckpointMismatch) as error:
        peft.load(written(tmp_path, tensors, fan_in_fan_out=True), story)
    assert str(error.value).count("c_attn: needs [R, 12] and [36, R]") == 1


def test_the_attention_of_torch_is_refused(tmp_path):
    tower = dict(TOWER, image_size=8, patch_size=4)
    text = dict(TOWER, vocab_size=30, max_position_embeddings=6, projection_size=12)
    pair = checkpoint(siglip, dict(model_type="siglip", vision_config=tower, text_config=text))
    rules = (Rule(".*/pool/attention/query"),)
    model = Adapted(pair.model, rules)
    params = unbox(jax.eval_shape(model.init, jax.random.key(1), *inputs(siglip, pair.config)))
    with pytest.raises(Unsupported, match="attention.in_proj_weight is no plain linear map"):
        peft.save(tmp_path, pair, rules, params["params"])


@pytest.mark.parametrize("changes, message", [
    (dict(use_dora=True), "use_dora = True"), (dict(bias="all"), "bias = 'all'"),
    (dict(modules_to_save=["fc1"]), r"modules_to_save = \['fc1'\]"),
    (dict(peft_type="LOHA"), "peft_type = 'LOHA'"),
    (dict(alpha_pattern={r"layers\.0.*q_proj": 1}), "layers of image/.*/query differ in rank"),
])  # fmt: skip
def test_what_is_not_read_is_refused(base, tmp_path, changes, message):
    with pytest.raises(Unsupported, match=message):
        peft.load(written(tmp_path, hand_made(), **changes), base)


def test_every_wrong_tensor_is_named(base, tmp_path):
    tensors = hand_made()
    at = f"{BASE}vision_model.encoder.layers"
    tensors[f"{at}.0.self_attn.q_proj.lora_A.weight"] = np.ones((RANK, 11), "f4")
    tensors.pop(f"{at}.1.self_attn.q_proj.lora_B.weight")
    tensors[f"{at}.7.mlp.fc1.lora_A.weight"] = np.ones((RANK, 12), "f4")
    tensors[f"{at}.7.mlp.fc1.lora_B.weight"] = np.ones((20, RANK), "f4")
    tensors["other.weight"] = np.ones((2, 2), "f4")
    with pytest.raises(table.CheckpointMismatch) as error:
        peft.load(written(tmp_path, tensors), base)
    for part in ("layers.0.self_attn.q_proj: needs [R, 12] and [12, R]",
                 "layers.1.self_attn.q_proj.lora_A: the other half is missing",
                 "layers.7.mlp.fc1.lora_A / lora_B: no such map",
                 "other.weight [2, 2]: no half of a LoRA"):  # fmt: skip
        assert part in str(error.value)
    half = (Rule("image_head", kind="bottleneck"),)
    model = Adapted(base.model, half)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs(clip, base.config))
    params = unbox(shapes)["params"]
    with pytest.raises(Unsupported, match="no bottleneck adapters: image_head/bottleneck/down"):
        peft.save(tmp_path / "no", dataclasses.replace(base, params=params), half, params)
