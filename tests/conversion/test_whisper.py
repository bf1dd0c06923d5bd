"""Whisper token by token, its ids and sizes, CTranslate2; what the reference says:
test_families.py."""

import dataclasses
import functools
import json
import shutil
import struct
from pathlib import Path

import family_checks
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.conversion import load as checkpoints
from mmjax.conversion import whisper
from mmjax.conversion.formats import ctranslate2, files
from mmjax.conversion.mapping import fields
from mmjax.conversion.mapping.table import CheckpointMismatch
from mmjax.models import whisper as models

GOLDEN = Path(__file__).parents[1] / "golden" / "whisper"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "outputs.npz") as found:
        return {name: jnp.asarray(found[name]) for name in found.files}


@pytest.fixture(scope="module")
def loaded():
    return checkpoints.load(GOLDEN)


@pytest.fixture(scope="module")
def forward(loaded, golden):
    names = ("features", "ids", "mask")
    return jax.jit(loaded.model.apply)(loaded.variables, *(golden[name] for name in names))


def test_token_by_token_is_the_whole(loaded, golden, forward):
    """A prompt of 5 tokens, padded on the left, then one, then two; with room to spare."""
    ids, mask, model = golden["ids"], golden["mask"], loaded.model
    apply = functools.partial(model.apply, loaded.variables)
    prefill = jax.jit(functools.partial(apply, method=model.prefill, slots=11))
    extend = jax.jit(functools.partial(apply, method=model.extend))
    steps = [prefill(ids[:, :5], mask[:, :5], context=forward.encoded)]
    for part in (slice(5, 6), slice(6, 8)):
        steps.append(extend(ids[:, part], steps[-1].cache, mask[:, part]))
    for name in ("logits", "tokens"):
        got = jnp.concatenate([getattr(step, name) for step in steps], axis=1)
        np.testing.assert_allclose(
            got[golden["mask"]], getattr(forward, name)[golden["mask"]], atol=2e-6
        )
    assert int(steps[-1].cache.length) == 8


def test_later_tokens_and_padding_change_nothing(loaded, golden, forward):
    ids = golden["ids"].at[:, 6:].set(4).at[0, :3].set(11)
    other = jax.jit(loaded.model.apply)(loaded.variables, golden["features"], ids, golden["mask"])
    np.testing.assert_allclose(other.logits[0, 3:6], forward.logits[0, 3:6], atol=1e-6)
    np.testing.assert_allclose(other.logits[1, :6], forward.logits[1, :6], atol=1e-6)


def test_special_ids_are_kept(loaded, tmp_path):
    """Of a small vocabulary as of the published ones, which have them where a config says none."""
    config = loaded.config
    assert (config.padding_id, config.start_id, config.end_ids) == (0, 1, (2,))
    assert config.decoder_start_id == 3
    checkpoints.save(loaded, tmp_path)
    theirs, ours = (json.loads((at / "config.json").read_text()) for at in (GOLDEN, tmp_path))
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    assert [ours[name] for name in names] == [theirs[name] for name in names]
    nothing = whisper.upstream(dataclasses.replace(config, **NO_IDS))
    assert [nothing[name] for name in names] == [None] * 4
    for variant, end in (("tiny.en", 50_256), ("base", 50_257), ("large-v3", 50_257)):
        published = whisper.upstream(models.VARIANTS[variant])
        assert [published[name] for name in names] == [end, end, end, end + 1]


def test_decoding_rules(loaded):
    rules = loaded.processor.decoding
    assert (rules.start, rules.end, rules.forced) == (3, 2, (None, 5))
    assert (rules.suppressed, rules.suppressed_first) == ((7, 8), (9, 2))


def test_bare_names_and_old_output(loaded, tmp_path):
    """WhisperModel's names, and a file that still holds the output beside the token table."""
    tensors = files.safetensors(GOLDEN / "model.safetensors")
    bare = {name.removeprefix("model."): np.array(tensor) for name, tensor in tensors.items()}
    bare["proj_out.weight"] = bare["decoder.embed_tokens.weight"]
    shutil.copy(GOLDEN / "config.json", tmp_path)
    files.save(tmp_path / "model.safetensors", bare)
    family_checks.same(checkpoints.load(tmp_path).params, loaded.params)


def test_what_is_refused():
    with pytest.raises(fields.Unsupported, match="tie_word_embeddings = False"):
        whisper.config({"tie_word_embeddings": False})
    with pytest.raises(fields.Unsupported, match="WhisperForAudioClassification"):
        whisper.config({"architectures": ["WhisperForAudioClassification"]})
    with pytest.raises(fields.Unsupported, match="activation_function = 'mish'"):
        whisper.config({"activation_function": "mish"})


@pytest.mark.parametrize(
    "variant, count",
    [("tiny.en", 37_760_256), ("base", 72_593_920), ("large-v3", 1_543_490_560)],
)
def test_published_sizes(variant, count):
    """As the reference counts them."""
    config = models.VARIANTS[variant]
    boxed = jax.eval_shape(models.Model(config).init, jax.random.key(0), *whisper.inputs(config))
    assert sum(leaf.size for leaf in jax.tree.leaves(boxed)) == count


def test_sizes_are_explained(loaded, golden):
    apply = lambda *a, **k: jax.eval_shape(loaded.model.apply, loaded.variables, *a)  # noqa: E731
    with pytest.raises(ValueError, match="at most 30 frames of 6 bins, got 31 of 6"):
        apply(jnp.zeros((1, 31, 6)), golden["ids"][:1])
    with pytest.raises(ValueError, match="15 tokens do not fit the context length 14"):
        apply(golden["features"], jnp.zeros((2, 15), int))


# CTranslate2


def packed(tensors, aliases=()):
    """A `model.bin` as CTranslate2's converter writes it, from the hub's tensors."""
    codes = {np.dtype(np.float32): 0, np.dtype(np.int8): 1, np.dtype(np.int16): 2}
    codes[np.dtype(np.float16)] = 4

    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    out = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<II", 3, len(tensors))]
    for name, tensor in tensors.items():
        dims = struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
        out += [text(name), dims]
        out += [struct.pack("<BI", codes[tensor.dtype], tensor.nbytes), tensor.tobytes()]
    out.append(struct.pack("<I", len(aliases)))
    return b"".join(out + [text(one) for pair in aliases for one in pair])


def foreign_names(tensors, config):
    """The hub's tensors as CTranslate2 names and stacks them."""
    out = {}
    for side in ("encoder", "decoder"):
        at = f"model.{side}"
        out[f"{side}/num_heads"] = np.array(getattr(config, side).heads, np.int16)
        out[f"{side}/position_encodings/encodings"] = tensors[f"{at}.embed_positions.weight"]
        for i in range(getattr(config, side).layers):
            layer, to = f"{at}.layers.{i}", f"{side}/layer_{i}"

            def stacked(where, letters, layer=layer):
                names = [f"{layer}.{where}.{letter}_proj" for letter in letters]
                zeros = np.zeros_like(tensors[f"{layer}.{where}.q_proj.bias"])
                biases = [tensors.get(f"{name}.bias", zeros) for name in names]
                weights = [tensors[f"{name}.weight"] for name in names]
                return np.concatenate(weights), np.concatenate(biases)

            linears = {
                "self_attention/linear_0": stacked("self_attn", "qkv"),
                "self_attention/linear_1": plain(tensors, f"{layer}.self_attn.out_proj"),
                "ffn/linear_0": plain(tensors, f"{layer}.fc1"),
                "ffn/linear_1": plain(tensors, f"{layer}.fc2"),
            }
            norms = {"self_attention": "self_attn_layer_norm", "ffn": "final_layer_norm"}
            if side == "decoder":
                linears["attention/linear_0"] = plain(tensors, f"{layer}.encoder_attn.q_proj")
                linears["attention/linear_1"] = stacked("encoder_attn", "kv")
                linears["attention/linear_2"] = plain(tensors, f"{layer}.encoder_attn.out_proj")
                norms["attention"] = "encoder_attn_layer_norm"
            for name, (weight, bias) in linears.items():
                out[f"{to}/{name}/weight"], out[f"{to}/{name}/bias"] = weight, bias
            for name, theirs in norms.items():
                gamma, beta = plain(tensors, f"{layer}.{theirs}")
                out[f"{to}/{name}/layer_norm/gamma"] = gamma
                out[f"{to}/{name}/layer_norm/beta"] = beta
        gamma, beta = plain(tensors, f"{at}.layer_norm")
        out[f"{side}/layer_norm/gamma"], out[f"{side}/layer_norm/beta"] = gamma, beta
    for conv in ("conv1", "conv2"):
        weight, bias = plain(tensors, f"model.encoder.{conv}")
        out[f"encoder/{conv}/weight"], out[f"encoder/{conv}/bias"] = weight, bias
    out["decoder/embeddings/weight"] = tensors["model.decoder.embed_tokens.weight"]
    out["decoder/activation"] = np.array(3, np.int8)
    out["decoder/alignment_heads"] = np.zeros((2, 2), np.int16)
    return out


def plain(tensors, name):
    return tensors[f"{name}.weight"], tensors[f"{name}.bias"]


@pytest.fixture(scope="module")
def named(loaded):
    tensors = files.safetensors(GOLDEN / "model.safetensors")
    return foreign_names({name: np.array(one) for name, one in tensors.items()}, loaded.config)


NO_IDS = dict(start_id=None, end_ids=(), padding_id=None, decoder_start_id=None)
TIED = [("decoder/projection/weight", "decoder/embeddings/weight")]


def test_ctranslate2_gives_the_same(named, loaded, tmp_path):
    (tmp_path / "model.bin").write_bytes(packed(named, TIED))
    text = json.dumps({"suppress_ids": [7, 8], "suppress_ids_begin": [9]})
    (tmp_path / "config.json").write_text(text)
    found = checkpoints.load(tmp_path)
    family_checks.same(found.params, loaded.params)
    # the file of a vocabulary of one's own does not say what is special in it
    assert found.config == dataclasses.replace(loaded.config, **NO_IDS)
    assert found.processor.decoding.suppressed == (7, 8)
    assert found.processor.decoding.suppressed_first == (9,)


def test_ctranslate2_in_half_precision(named, loaded, tmp_path):
    half = {name: one.astype(np.float16) if one.ndim else one for name, one in named.items()}
    half["decoder/alignment_heads"] = named["decoder/alignment_heads"]
    (tmp_path / "model.bin").write_bytes(packed(half, TIED))
    _, tensors = whisper.foreign(tmp_path)
    assert {one.dtype for one in tensors.values()} == {np.dtype(np.float16)}
    for name, one in files.safetensors(GOLDEN / "model.safetensors").items():
        np.testing.assert_array_equal(tensors[name], one.astype(np.float16))


def test_a_cut_off_file_is_refused(named, loaded, tmp_path):
    whole, path = packed(named, TIED), tmp_path / "model.bin"
    for length in (0, 3, 10, 40, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(files.CheckpointFileError, match="cut off: .* ends at byte"):
            ctranslate2.read(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(files.CheckpointFileError, match="4 bytes follow"):
        ctranslate2.read(path)


def test_other_files_are_refused(named, loaded, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(files.CheckpointFileError, match="with version 67324752; a CTranslate2"):
        ctranslate2.read(path)
    rounded = dict(named)
    rounded["decoder/embeddings/weight"] = named["decoder/embeddings/weight"].astype(np.int8)
    path.write_bytes(packed(rounded, TIED))
    with pytest.raises(files.CheckpointFileError, match="decoder/embeddings/weight is rounded"):
        checkpoints.load(tmp_path)
    path.write_bytes(packed({"a": np.zeros(1, np.float32)}, [("b", "c")]))
    with pytest.raises(files.CheckpointFileError, match="b stands for c, which is not there"):
        ctranslate2.read(path)
    path.write_bytes(packed({"a": np.zeros(1, np.float32)}))
    with pytest.raises(files.CheckpointFileError, match="lacks what every Whisper has"):
        whisper.foreign(tmp_path)


def test_biases_of_keys_are_refused_by_the_reference_s_format_and_kept_by_ours(loaded, tmp_path):
    stacks = {
        side: dataclasses.replace(getattr(loaded.config, side), key_bias=True)
        for side in ("encoder", "decoder")
    }
    config = dataclasses.replace(loaded.config, **stacks)
    model = models.Model(config)
    shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), *models.inputs(config)))
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes["params"])
    biased = checkpoints.Loaded("whisper", model, params, loaded.processor, config)
    with pytest.raises(fields.Unsupported, match="key_bias=True cannot be written as Whisper.*run"):
        checkpoints.save(biased, tmp_path / "theirs")
    with pytest.raises(ConfigError, match="speech prepares inputs by a checkpoint's own files"):
        checkpoints.save(dataclasses.replace(biased, family="native"), tmp_path / "ours")
    ours = dataclasses.replace(biased, family="native", processor=None)
    checkpoints.save(ours, tmp_path / "ours")
    again = checkpoints.load(tmp_path / "ours")
    assert again.config == config
    family_checks.same(again.params, jax.tree.map(jnp.asarray, params))


def test_parameters_without_a_place_in_the_file_are_refused(loaded, tmp_path):
    """In every family: they were left out without a word."""
    more = {**loaded.params, "extra": jnp.ones(2)}
    with pytest.raises(CheckpointMismatch, match="without a place in it are extra; not there are"):
        checkpoints.save(dataclasses.replace(loaded, params=more), tmp_path)
