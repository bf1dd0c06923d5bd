"""Code of README.md that trains nothing: it runs, and its numbers are right."""

import functools
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax.datasets import emoji
from mmjax.models import (
    audio_classifier,
    bert,
    clap,
    clip,
    gpt2,
    unet3d,
    video_mae,
    video_vit,
    vlm,
    wav2vec2,
    whisper,
)

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
CONVERSION = (ROOT / "mmjax/conversion/README.md").read_text(encoding="utf-8")


def test_a_decoder_and_its_cache():
    code = re.search(r"```python\n(decoder = .*?)```", PAGE, re.S).group(1)
    code = code.replace("openai-community/gpt2", str(ROOT / "tests/golden/gpt2/gpt2"))
    names = {"mmjax": mmjax, "functools": functools, "jax": jax, "jnp": jnp}
    exec(code, names)
    two = np.asarray(names["two"])[:, 0].tolist()
    whole = names["decoder"](inputs=[[5, 7, 9, last] for last in two], logits_at="last").output
    np.testing.assert_allclose(names["beams"].logits, whole.logits, atol=1e-5)
    np.testing.assert_allclose(names["again"].logits, whole.logits[::-1], atol=1e-5)


def test_generation():
    code = re.search(r"```python\n(from mmjax.generation.*?)```", PAGE, re.S).group(1)
    decoder = mmjax.load(ROOT / "tests/golden/gpt2/gpt2")
    names = {"decoder": decoder, "jnp": jnp, "np": np}
    exec(code.replace("slots=32", "slots=16"), names)
    assert names["said"].tokens.shape == (1, 1, 8)
    greedy = names["generator"](dict(inputs=jnp.array([[5, 7, 9]])), names["Options"](8))
    assert names["answer"] == greedy.tokens[0, 0].tolist()


@pytest.mark.slow
def test_what_a_pair_can_be_asked(tmp_path, monkeypatch):
    drawn = {thing.name: thing.images[0] for thing in emoji.concepts()}
    for name in ("cat", "dog"):
        (tmp_path / f"{name}.png").write_bytes(drawn[f"{name} face"])
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(clip = mmjax.load.*?)shapes = ", PAGE, re.S).group(1)
    code = code.replace("openai/clip-vit-base-patch32", "emoji_clip")
    code = code.replace("clip.classify", "found = clip.classify")
    names = {"mmjax": mmjax}
    exec(code, names)
    assert names["vectors"].shape == (2, 192) and names["found"] == ("cat",)


def test_arguments_beside_those_of_the_reference_exist():
    """Each that the table names is an argument of a model's call, or of one of its methods."""
    calls = [clip.Model.__call__, bert.Model.__call__, gpt2.Model.__call__, whisper.Model.__call__,
             whisper.Model.decode, wav2vec2.Model.__call__, vlm.Model.__call__,
             video_vit.Model.__call__, video_mae.Model.__call__, unet3d.Model.__call__,
             audio_classifier.Model.__call__, clap.Model.__call__]  # fmt: skip
    known = {name for call in calls for name in inspect.signature(call).parameters}
    known |= {"prefill", "extend", "apply", "rngs"}
    table = CONVERSION.partition("| argument there |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines()[2:]]
    assert len(rows) >= 14
    for theirs, _, ours in rows:
        said = {name for name in re.findall(r"`(\w+)`", ours)}
        assert said <= known, (theirs, said - known)
