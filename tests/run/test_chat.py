"""Chat: words and pictures in any turn, with the cache of the turns before, and in the terminal."""

import dataclasses
import io
import types

import jax
import numpy as np
import pytest
from flax.linen import unbox
from PIL import Image

import mmjax
from mmjax.commands import chat as command
from mmjax.config import ConfigError
from mmjax.conversion.load import Loaded
from mmjax.data.source import InMemory
from mmjax.errors import UserError
from mmjax.generation.options import Options
from mmjax.layers import transformer
from mmjax.models import gpt2, vit, vlm
from mmjax.processors import dialogue
from mmjax.processors.checkpoints.chat_template import ChatTemplateError
from mmjax.run.chat import Chat

BODY = transformer.Config(width=16, layers=1, heads=2, hidden=32)
ROWS = [{"text": "what is red or blue", "answer": "a cat and a dog"}]
RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)


@pytest.fixture(scope="module")
def loaded():
    """A tiny model with eyes, and words that it says at random."""
    config = dialogue.Config(
        image_size=8, patch_size=4, max_images=4, max_length=60, tokenizer="words", vocab_size=40
    )
    processor = dialogue.build(config, lambda: [InMemory(ROWS)], None)
    sizes = processor.sizes
    config = vlm.Config(
        image=vit.Config(image_size=8, patch_size=4, pool="mean", transformer=BODY),
        language=gpt2.Config(processor.vocab_size, 64, BODY),
        image_id=sizes["image_id"],
    )
    model = vlm.Model(config)
    made = unbox(jax.jit(model.init)(jax.random.key(3), *vlm.inputs(config)))
    params = jax.tree.map(lambda x: 4 * x if x.ndim > 1 else x, made["params"])
    return Loaded("native", model, params, processor, config)


@pytest.fixture(scope="module")
def options(loaded):
    return Options(max_new_tokens=5, end_ids=loaded.processor.end_ids)


def png():
    file = io.BytesIO()
    Image.fromarray(RED).save(file, "PNG")
    return file.getvalue()


def test_turns_are_those_of_a_conversation_from_scratch(loaded, options):
    chat = Chat(loaded, options, slots=64)
    asked = [("what is red", [png()]), ("or blue", []), ("what is a dog", [RED])]
    for number, (text, images) in enumerate(asked):
        answer = chat.ask(text, images)
        again = Chat(loaded, options, slots=64)
        again.messages = chat.messages[: 2 * number]  # all turns before, and an empty cache
        assert "".join(again.stream(text, images)) == answer
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 3
    assert chat.messages[4]["content"][0] == {"type": "image", "image": RED}


def test_an_answer_that_is_broken_off_is_forgotten(loaded):
    chat = Chat(loaded, Options(max_new_tokens=5), slots=64)  # without an end, it says all five
    pieces = chat.stream("what is red")
    next(pieces)
    pieces.close()
    assert chat.messages == []
    assert chat.ask("what is red") == Chat(loaded, Options(max_new_tokens=5)).ask("what is red")


def test_what_cannot_talk_or_is_too_long(loaded, options):
    with pytest.raises(ConfigError, match="a clip does not talk"):
        Chat(mmjax.load("tests/golden/checkpoints/clip"))
    chat = Chat(loaded, dataclasses.replace(options, max_new_tokens=60), slots=64)
    with pytest.raises(ConfigError, match="only .* of 64 slots are left"):
        chat.ask("what is red")


def refusing(*_, **__):
    raise ChatTemplateError("the chat template cannot be used: roles must alternate")


MISTAKES = {  # message -> what is asked with which pictures
    "0 pictures, but <image> stands 1 times": ("what is <image>", []),
    "2 pictures, but <image> stands 3 times": ("what is <image>", [RED, RED]),
    "5 pictures, more than max_images=4": ("what is red", [RED] * 5),
    "the conversation has .. tokens, more than max_length=60": ("a cat " * 40, []),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_turn_that_cannot_be_read_changes_nothing(loaded, options, message):
    """Said before anything is compiled; the conversation goes on without it."""
    chat = Chat(loaded, options, slots=64)
    text, images = MISTAKES[message]
    with pytest.raises(UserError, match=message):
        chat.ask(text, images)
    assert chat.messages == []


def test_the_prefix_of_a_chat_is_its_first_prompt(loaded, options):
    config = dataclasses.replace(loaded.config, prefix_lm=True)
    chat = Chat(dataclasses.replace(loaded, model=vlm.Model(config)), options)
    asked = [{"role": "user", "content": "what is red"}]
    said = [*asked, {"role": "assistant", "content": "a cat"}, *asked]
    assert chat._prefix(said, 15) == len("<user> what is red <end> <assistant>".split())
    assert chat._prefix(asked, 6) == 6
    assert Chat(loaded, options)._prefix(said, 15) == 0  # a causal model has none


def test_a_template_that_refuses_is_said_before_anything_compiles(loaded, options):
    processor = types.SimpleNamespace(chat=refusing, end_ids=(0,))
    chat = Chat(dataclasses.replace(loaded, processor=processor), options)
    with pytest.raises(UserError, match="roles must alternate"):
        chat.ask("what is red")


def test_in_the_terminal(loaded, monkeypatch, capsys, tmp_path):
    (tmp_path / "red.png").write_bytes(png())
    monkeypatch.setattr(command, "load", lambda name: loaded)
    picture = tmp_path / "red.png"
    typed = ["what is red", f"/image {picture}", "/image no.png", "is <image>", "or blue", "/new"]
    typed += ["/quit", "a"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(typed)))
    command.run(command.Options(model="tiny", max_new_tokens=3))
    out, err = capsys.readouterr()
    chat = Chat(loaded, Options(max_new_tokens=3, end_ids=loaded.processor.end_ids))
    first = chat.ask("what is red")
    assert out == f"{first}\n{chat.ask('or blue', [png()])}\n"
    assert "there is no picture no.png" in err
    with pytest.raises(ConfigError, match="needs a --model"):
        command.run(command.Options())
