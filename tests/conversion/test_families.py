"""Text, speech, videos and text with pictures, a row for each golden checkpoint of the hub: what
the reference says of it, and that it is saved as it was. A family without a row fails.

Pictures: test_clip.py, test_tower.py; live at odd sizes: tests/parity/test_families.py.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import family_checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sound_reference

from mmjax.conversion import families, load
from mmjax.conversion.formats import files
from mmjax.models import wav2vec2

GOLDEN = Path(__file__).parents[1] / "golden"
OF_PICTURES = {"clip", "siglip", "open_clip", "vit", "tower", "native"}
SPECIAL_IDS = (
    "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id",
)  # fmt: skip
# What a file may hold that is not written again: no part of the mathematics here.
NOT_WRITTEN = (
    "masked_spec_embed", "num_batches_tracked", "position_ids", "token_type_ids",
    "relative_position_index",
)  # fmt: skip


def text(loaded, said):
    valid = said.pop("valid")
    return family_checks.ours(loaded, said.pop("ids"), valid), said, valid


def whisper(loaded, said):
    arguments = [said.pop(name) for name in ("features", "ids", "mask")]
    return family_checks.ours(loaded, *arguments), said, arguments[-1]


def blip(loaded, said):
    given = [said.pop(name) for name in ("images", "ids", "mask", "answers", "answer_mask")]
    found = family_checks.ours_of_images(loaded, *given)
    texts, written = family_checks.apart(loaded, said)
    # answers have a mask of their own
    family_checks.agree(found, written, given[4 if loaded.config.texts == "both" else 2])
    return found, texts, given[2]


def waveform(loaded, said):
    """From the sound on: the extractor's samples too."""
    inputs = loaded.processor([said["clip_0"], said["clip_1"]])
    np.testing.assert_allclose(inputs.samples, said["samples"], atol=1e-6)
    valid = None
    if inputs.mask is not None:
        valid = np.asarray(wav2vec2.frame_mask(loaded.config, jnp.asarray(inputs.mask)))
        assert valid.sum(1).tolist() == [9, 4]
    name = "tokens" if loaded.config.letters is None else "logits"
    return family_checks.ours(loaded, *inputs), {name: said["said"]}, valid


def seen(loaded, said):
    """Prompts with pictures or sounds."""
    expected = {"logits": said.pop("logits")}
    out = jax.jit(lambda kwargs: loaded.model.apply(loaded.variables, **kwargs))(said)
    return {"logits": out.logits}, expected, said["mask"]


def watched(loaded, said):
    """Clips, and what is asked of them: which tubelets are seen, texts."""
    names = [name for name in ("video", "visible", "ids", "mask") if name in said]
    given = [jnp.asarray(said.pop(name)) for name in names]
    return jax.jit(loaded.model.apply)(loaded.variables, *given)._asdict(), said, None


def sounds(loaded, said):
    """From the clips on: the extractor's frames too."""
    texts = (said.pop("ids"), said.pop("valid")) if "ids" in said else None
    clips = None
    if loaded.processor is not None:
        clips = sound_reference.clips(loaded.family if loaded.family == "ast" else "clap")
    found = family_checks.ours_of_sounds(loaded, clips, texts)
    valid = texts[1] if texts and "said_tokens" in said and clips is None else None
    return found, {name.removeprefix("said_"): array for name, array in said.items()}, valid


def noisy(loaded, said):
    """Clips, times and states of texts, by a U-Net."""
    given = [jnp.asarray(said[name]) for name in ("samples", "times", "states")]
    found = family_checks.once(loaded.model.apply, loaded.variables, *given)
    return {"said": found}, {"said": said["said"]}, None


def latent(loaded, said):
    """Pictures and latents, both ways."""
    images, latents = (jnp.asarray(said.pop(name)) for name in ("images", "latents"))
    c = loaded.config
    scaled = (latents - c.shift) * c.scale

    def both_ways(variables, images, scaled):
        posterior = loaded.model.apply(variables, images, method="posterior")
        decoded = loaded.model.apply(variables, scaled, method="decode")
        found = dict(posterior._asdict(), divergence=posterior.divergence(), decoded=decoded)
        return found, loaded.model.apply(variables, images, method="encode")

    found, encoded = family_checks.once(both_ways, loaded.variables, images, scaled)
    np.testing.assert_allclose(encoded / c.scale + c.shift, found["mean"], atol=1e-5)
    return found, said, None


@dataclasses.dataclass(frozen=True)
class Row:
    family: str  # the file of mmjax.conversion
    # (checkpoint, arrays of outputs.npz) -> what ours says, what the reference said, validity
    outputs: Callable
    decodes: bool = False  # token by token behind a prompt, as the whole text at once


FAMILIES = {
    "ast/tower": Row("ast", sounds),
    "ast/classes": Row("ast", sounds),
    "clap/unfused": Row("clap", sounds),
    "clap/fused": Row("clap", sounds),
    "clap/audio": Row("tower", sounds),
    "clap/text": Row("tower", sounds),
    "bert/bert": Row("bert", text),
    "bert/masked": Row("bert", text),
    "bert/pretraining": Row("bert", text),
    "bert/tokens": Row("bert", text),
    "bert/answer": Row("bert", text),
    "bert/roberta": Row("bert", text),
    "bert/roberta_masked": Row("bert", text),
    "bert/roberta_classes": Row("bert", text),
    "gpt2/gpt2": Row("gpt2", text, decodes=True),
    "llama/llama": Row("llama", text, decodes=True),
    "llama/qwen2": Row("llama", text, decodes=True),
    "llama/gemma": Row("llama", text, decodes=True),
    "llama/gemma2": Row("llama", text, decodes=True),
    "blip/captions": Row("blip", blip),
    "blip/answers": Row("blip", blip),
    "blip/retrieval": Row("blip", blip),
    "vlm/llava": Row("llava", seen),
    "vlm/paligemma": Row("paligemma", seen),
    "vlm/qwen2_audio": Row("qwen2_audio", seen),
    "wav2vec2/group": Row("wav2vec2", waveform),
    "wav2vec2/adapter": Row("wav2vec2", waveform),
    "wav2vec2/stable": Row("hubert", waveform),
    "wav2vec2/batch": Row("hubert", waveform),
    "whisper": Row("whisper", whisper),
    "video/vivit": Row("vivit", watched),
    "video/videomae": Row("videomae", watched),
    "video/videomae_pretraining": Row("videomae", watched),
    "video/timesformer": Row("timesformer", watched),
    "video/xclip": Row("xclip", watched),
    "denoisers/unet3d": Row("unet3d", noisy),
    "denoisers/autoencoder_kl": Row("autoencoder_kl", latent),
}


@functools.cache
def opened(name):
    return load.load(GOLDEN / name)


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def words_of(config):
    """The part of a config.json that is the text model's, where it has one."""
    return config.get("text_config") or {}


def test_every_family_has_a_row():
    names = {family.name for family in families.every().values()} | {"open_clip"}
    assert names == OF_PICTURES | {row.family for row in FAMILIES.values()}
    rooms = (
        "ast", "bert", "blip", "clap", "denoisers", "gpt2", "llama", "video", "vlm", "wav2vec2",
    )  # fmt: skip
    folders = [GOLDEN / family for family in rooms]
    held = {f"{folder.name}/{one.name}" for folder in folders for one in folder.iterdir()}
    assert held | {"whisper"} == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_the_reference_says(name):
    row, loaded = FAMILIES[name], opened(name)
    assert loaded.family == row.family
    with np.load(GOLDEN / name / "outputs.npz") as said:
        found, expected, valid = row.outputs(loaded, dict(said))
    assert expected
    family_checks.agree(found, expected, valid)
    if row.decodes:
        with np.load(GOLDEN / name / "outputs.npz") as said:
            ids = said["ids"]
        chunk = name in ("gpt2/gpt2", "llama/gemma2")
        family_checks.cached_is_full(loaded, ids, valid, found["logits"], chunk)


@pytest.mark.parametrize("name", FAMILIES)
def test_saved_and_loaded_again(name, tmp_path):
    """Bit for bit, with the names of the reference's own file, its architecture and its ids."""
    loaded = opened(name)
    load.save(loaded, tmp_path)
    again = load.load(tmp_path)
    assert (again.family, again.config) == (loaded.family, loaded.config)
    if getattr(loaded.processor, "tokenizer", None) is None:
        assert again.processor == loaded.processor
    else:
        assert again.processor.tokenizer.vocab == loaded.processor.tokenizer.vocab
        processors = [dataclasses.replace(x.processor, tokenizer=None) for x in (again, loaded)]
        assert processors[0] == processors[1]
    family_checks.same(again.params, loaded.params)
    weights = families.named(FAMILIES[name].family).weights_file
    theirs, ours = (files.safetensors(at / weights) for at in (GOLDEN / name, tmp_path))
    written = [one for one in theirs if not one.endswith(NOT_WRITTEN)]
    assert sorted(ours) == sorted(written)
    for tensor in written:
        np.testing.assert_array_equal(ours[tensor], theirs[tensor], err_msg=tensor)
    theirs, ours = config_of(GOLDEN / name), config_of(tmp_path)
    for field in ("model_type", "_class_name", "architectures", *SPECIAL_IDS):
        assert ours.get(field) == theirs.get(field), field
    for field in ("model_type", *SPECIAL_IDS):
        assert words_of(ours).get(field) == words_of(theirs).get(field), field


@pytest.mark.parametrize("name", ["gpt2/gpt2", "bert/bert"])
def test_how_the_reference_decodes_is_kept(name, tmp_path):
    """generation_config.json is nobody's here but Whisper's, and comes back as it was."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for file in ("config.json", "model.safetensors"):
        (folder / file).write_bytes((GOLDEN / name / file).read_bytes())
    content = b'{"temperature":0.6,\n\n "top_p": 0.9}'
    (folder / "generation_config.json").write_bytes(content)
    load.save(load.load(folder), tmp_path / "ours")
    assert (tmp_path / "ours" / "generation_config.json").read_bytes() == content
