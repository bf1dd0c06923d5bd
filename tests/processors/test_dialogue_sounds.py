"""Conversations with sounds: rows, packs, chats, files, and what is refused."""

import dataclasses
import functools
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax.linen import unbox
from PIL import Image

from mmjax.commands import chat as command
from mmjax.config import ConfigError
from mmjax.conversion.load import Loaded
from mmjax.data.pipeline import Pipeline
from mmjax.data.plan import Mixture, Sequential
from mmjax.data.source import CorruptExample, InMemory
from mmjax.errors import UserError
from mmjax.generation.options import Options
from mmjax.layers import transformer
from mmjax.models import gpt2, token_tower, vit, vlm, whisper_encoder
from mmjax.processors import dialogue, sounds
from mmjax.readers import conversations
from mmjax.run.chat import Chat
from mmjax.tasks import language
from mmjax.training import gradients
from mmjax.transforms.audio import Sound
from tests.talks import picture, talk

BODY = transformer.Config(width=16, layers=1, heads=2, hidden=32)
WORDS = dict(image_size=8, patch_size=4, max_images=2, max_length=40, tokenizer="words")
HEARS = sounds.Config(bins=8, seconds=0.5, max_clips=2, stack=4)


def clip(seconds, level=0.1):
    noise = np.random.default_rng(round(1000 * seconds)).normal(size=round(16_000 * seconds))
    return (level * noise).astype(np.float32)


SOURCE = InMemory([
    {"audio": clip(0.2), "conversation": talk("what is it", "a cat")},
    {"audio": [clip(0.3), clip(0.1)], "conversation": talk("is <audio> as <audio>", "no")},
    {"conversation": talk("what", "a dog", "and it", "a cat")},
    {"audio": [clip(0.1)], "image": picture(40),
     "conversation": talk("what is <image>", "a", "and <audio>", "a dog")},
    {"audio": [clip(0.7)], "conversation": talk("what is it", "a cat")},  # corrupt: too long
    {"conversation": [
        {"role": "user", "content": [
            {"type": "text", "text": "is it"}, {"type": "audio", "audio": clip(0.25)},
        ]},
        {"role": "assistant", "content": "a cat"},
    ]},
])  # fmt: skip
GOOD = 5
TOKENS = [[3], [4, 2], [], [2], [], [4]]  # of each row's clips: seconds / 0.08, rounded up


@functools.cache
def processor(**fields):
    return dialogue.build(dialogue.Config(**WORDS, audio=HEARS, **fields), lambda: [SOURCE], None)


def batch(**fields):
    """All rows, in the order of the first epoch."""
    one = processor(**fields)
    plan = one.plan(Mixture((len(SOURCE),), len(SOURCE), seed=1, steps=1), [SOURCE])
    return Pipeline([SOURCE], plan, one.train, seed=0).batch(0).arrays


def test_rows_with_another_number_of_clips():
    arrays = batch()
    assert arrays["weight"].sum() == GOOD
    special = processor().tokenizer.special["<audio>"]
    for row, index in enumerate(arrays["index"].tolist()):
        heard = arrays["audio_mask"][row].sum(1)
        tokens = [-(-int(frames) // 8) for frames in heard if frames]
        assert tokens == TOKENS[index]
        assert (arrays["text"][row] == special).sum() == sum(tokens)
        assert arrays["text_weight"][row][arrays["text"][row] == special].sum() == 0
    # as long as the longest clip and four frames that convolutions look at, rounded up
    assert arrays["audio"].shape == (6, 2, 40, 8)
    row = int(np.flatnonzero(arrays["index"] == 3)[0])
    shown = processor().show(arrays, row)
    assert shown["audio"].shape == (8, 10, 3) and shown["text"] == "what is a and a dog"


def test_an_evaluation_is_as_long_as_its_own_rows():
    one = processor()
    plan = Sequential(len(SOURCE), 6, one.shape(SOURCE))
    arrays, corrupt = Pipeline([SOURCE], plan, one.evaluate, seed=0).batch(0)
    assert arrays["audio"].shape == (6, 2, 40, 8) and len(corrupt) == 1
    assert "0.70 seconds; the model hears 0.5 at a time" in corrupt[0].reason


def test_a_whisper_that_is_not_told_hears_the_silence_of_its_window():
    whole = dataclasses.replace(HEARS, masked=False)
    made = whole.transform({"audio": clip(0.2)})
    assert made["audio"].shape == (1, 50, 8) and made["audio_mask"].sum() == 20
    assert (made["audio"][0, 30:] == made["audio"][0, -1]).all()
    assert whole.measured({"audio": clip(0.2)})[1] == 50


def test_samples_for_a_model_that_reads_them():
    waves = sounds.Config(bins=0, seconds=0.5, stack=2)
    made = waves.transform({"audio": clip(0.2)})
    assert made["audio"].shape == (1, 3200) and made["audio_tokens"] == (5,)
    np.testing.assert_allclose([made["audio"].mean(), made["audio"].std()], [0, 1], atol=1e-3)
    with pytest.raises(ConfigError, match="pool is of Whisper's encoder"):
        sounds.Config(bins=0, pool=2)


@functools.cache
def hearing():
    """A model with eyes and ears, and parameters that leave no part without influence."""
    sizes = processor().sizes
    config = vlm.Config(
        vit.Config(8, 4, pool="mean", transformer=BODY),
        language=gpt2.Config(processor().vocab_size, 64, BODY),
        image_id=sizes["image_id"],
        audio=token_tower.Config(whisper_encoder.Config(8, 50, BODY), stack=4),
        audio_id=sizes["audio_id"],
    )
    task = language.build(language.Config(), vlm.Model(config))
    made = jax.eval_shape(task.init, jax.random.key(0), batch())
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape)), unbox(made))
    return task, params["params"]


def test_packed_conversations_with_sounds_lose_what_those_apart_lose():
    task, params = hearing()

    @jax.jit
    def loss(batch):
        variables = {"params": params, "state": {}}
        key = jax.random.key(0)
        return gradients.gradients(task, variables, params, batch, key, jnp.int32(0), 1)[0]

    apart = loss(batch())
    assert np.isfinite(apart)
    np.testing.assert_allclose(loss(batch(pack=3, pack_length=40)), apart, rtol=1e-5)


@pytest.fixture
def loaded():
    task, params = hearing()
    return Loaded("native", task.model, params, processor(), task.model.config)


def wav(samples):
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.slow
def test_turns_with_sounds_and_pictures_are_those_of_a_conversation_from_scratch(loaded):
    options = Options(max_new_tokens=3, end_ids=loaded.processor.end_ids)
    chat = Chat(loaded, options, slots=64)
    asked = [("what is it", [], [wav(clip(0.2))]), ("and", [picture(9)], [clip(0.1)])]
    for number, (text, images, audio) in enumerate(asked):
        answer = chat.ask(text, images, audio=audio)
        again = Chat(loaded, options, slots=64)
        again.messages = chat.messages[: 2 * number]
        assert again.ask(text, images, audio=audio) == answer
    kinds = [part["type"] for part in chat.messages[2]["content"]]
    assert kinds == ["image", "audio", "text"]


def test_in_the_terminal(loaded, monkeypatch, capsys, tmp_path):
    for name, seconds in (("a", 0.2), ("b", 0.1)):
        (tmp_path / f"{name}.wav").write_bytes(wav(clip(seconds)))
    monkeypatch.setattr(command, "load", lambda name: loaded)
    first, second = tmp_path / "a.wav", tmp_path / "b.wav"
    typed = ["what is it", "/audio no.wav", f"/audio {second}", "and it"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(typed)))
    command.run(command.Options(model="tiny", audio=(str(first),), max_new_tokens=3))
    out, err = capsys.readouterr()
    chat = Chat(loaded, Options(max_new_tokens=3, end_ids=loaded.processor.end_ids))
    said = [chat.ask("what is it", audio=[first]), chat.ask("and it", audio=[second])]
    assert out.splitlines() == said
    assert "there is no sound no.wav" in err


MISTAKES = {  # message -> what is asked with which sounds
    "0 clips, but <audio> stands 1 times": ("what is <audio>", []),
    "2 clips, but <audio> stands 3 times": ("what is <audio>", [clip(0.1), clip(0.2)]),
    "3 clips, more than audio.max_clips=2": ("what", [clip(0.1)] * 3),
    "a clip of 0.60 seconds; the model hears 0.5 at a time": ("what", [clip(0.6)]),
    "No such file or directory: 'no.wav'": ("what", ["no.wav"]),
    "not a readable sound file": ("what", [b"RIFFxxxx"]),
    "samples are NaN": ("what", [np.full(1600, np.nan, np.float32)]),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_turn_that_cannot_be_heard_changes_nothing(loaded, message):
    """Said before anything is compiled; the conversation goes on without it."""
    chat = Chat(loaded, Options(max_new_tokens=3), slots=64)
    text, audio = MISTAKES[message]
    with pytest.raises((UserError, FileNotFoundError), match=message):
        chat.ask(text, audio=audio)
    assert chat.messages == []


def test_a_model_that_does_not_hear_says_so():
    deaf = dialogue.build(dialogue.Config(**WORDS), lambda: [SOURCE], None)
    message = {"role": "user", "content": [{"type": "audio", "audio": clip(0.1)}]}
    with pytest.raises(CorruptExample, match="has sounds, and the processor takes none"):
        deaf.chat([[message]])
    blind = processor(**{}).config
    blind = dialogue.build(dataclasses.replace(blind, max_images=0), lambda: [SOURCE], None)
    assert "image_id" not in blind.sizes and "audio_id" in blind.sizes
    message = {"role": "user", "content": [{"type": "image", "image": picture(3)}]}
    with pytest.raises(CorruptExample, match="1 pictures, more than max_images=0"):
        blind.chat([[message]])
    assert set(blind.chat([talk("what")])) == {"inputs", "mask"}


@pytest.fixture
def folder(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(wav(clip(0.2 if name == "a" else 0.1)))
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    return tmp_path


def test_files_of_conversations_in_every_form(folder):
    asked = {"role": "user", "content": "what is it"}
    said = {"role": "assistant", "content": "a cat"}
    part = {"type": "audio", "audio": "b.wav"}
    mixed = [part, {"type": "image", "image": "a.png"}, {"type": "text", "text": "what"}]
    rows = [
        {"audio": "a.wav", "conversation": [asked, said]},
        {"audio": ["a.wav", "b.wav"], "image": "a.png", "conversation": [asked, said]},
        {"conversation": [{"role": "user", "content": mixed}, said]},
        {"conversation": [{"role": "user", "content": [dict(part, audio="no.wav")]}, said]},
        {"audio": "a.wav", "conversation": [{"role": "user", "content": [part]}, said]},
        {"conversation": [{"role": "user", "content": [{"type": "smell"}]}, said]},
    ]
    path = folder / "talks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = conversations.open(conversations.Config(path=str(path)))
    one = processor()
    plan = Sequential(len(source), 6, one.shape(source))
    arrays, corrupt = Pipeline([source], plan, one.evaluate, seed=0).batch(0)
    heard = arrays["audio_mask"].sum(2)
    assert heard[:3].tolist() == [[20, 0], [20, 10], [10, 0]]
    assert arrays["image_mask"].sum(1).tolist() == [0, 1, 1, 0, 0, 0]
    reasons = [(bad.where[-6:], bad.reason.split(":")[0]) for bad in corrupt]
    assert reasons == [
        ("line 4", "a clip that cannot be opened"),
        ("line 5", "clips in parts of messages and in 'audio' besides"),
        ("line 6", "turn 0 has a part of type 'smell'; there are text, image, audio, video"),
    ]


def test_llavas_form_with_a_sound(folder):
    turns = [{"from": "human", "value": "<audio>\nwhat"}, {"from": "gpt", "value": "a cat"}]
    path = folder / "talks.jsonl"
    path.write_text(json.dumps({"audio": "a.wav", "conversations": turns}) + "\n")
    source = conversations.open(conversations.Config(path=str(path)))
    made = processor().encode([source[0]])
    assert made["audio_mask"].sum() == 20
    assert (made["text"] == processor().tokenizer.special["<audio>"]).sum() == 3


def test_a_sound_in_any_form_is_the_same(folder):
    expected = HEARS.clips(folder / "a.wav")
    samples, _ = soundfile.read(folder / "a.wav", dtype="float32")
    for form in (str(folder / "a.wav"), (folder / "a.wav").read_bytes(), samples,
                 Sound(samples, 16_000), np.stack([samples, samples], axis=1)):  # fmt: skip
        np.testing.assert_allclose(HEARS.clips(form).values, expected.values, atol=1e-6)


def test_a_plan_on_paper():
    config = dialogue.Config(**WORDS, audio=dataclasses.replace(HEARS, max_clips=1))
    config = dataclasses.replace(config, max_length=120)
    example = dialogue.paper(config)
    made = dialogue.build(config, None, None)
    assert made.encode([example])["answered"].shape[1] <= 120
