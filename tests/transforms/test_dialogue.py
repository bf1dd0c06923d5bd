"""Conversations as tokens: what is read and what is to be said, and where pictures stand."""

import dataclasses

import numpy as np
import pytest

from mmjax.data.source import CorruptExample
from mmjax.tokenizers import words
from mmjax.transforms.dialogue import (
    SPECIALS,
    AsConversation,
    EachImage,
    EncodeConversation,
    checked,
    placed,
)

TOKENIZER = words.train(["what is it a cat dog be brief"], 40, specials=SPECIALS)
NAMES = {number: name for name, number in TOKENIZER.special.items()}
USER = {"role": "user", "content": "what is it"}
CAT = {"role": "assistant", "content": "a cat"}
PICTURES = np.zeros((2, 4, 4, 3), np.float32)


def encoded(turns, answered=True, image_tokens=2, **fields):
    encode = EncodeConversation(TOKENIZER, image_tokens, 40, answered)
    made = encode({"conversation": turns, **fields})
    tokens = [NAMES.get(number) or TOKENIZER.decode([number]) for number in made["text"].tolist()]
    return " ".join(tokens), made["text_weight"].astype(int).tolist() if answered else []


def test_what_the_assistant_says_is_learned():
    text, weight = encoded([{"role": "system", "content": "be brief"}, USER, CAT, USER, CAT])
    turn = "<user> what is it <end> <assistant> a cat <end>"
    assert text == f"<system> be brief <end> {turn} {turn}"
    assert weight == [0] * 4 + 2 * ([0] * 5 + [0, 1, 1, 1])


def test_a_prompt_ends_where_the_assistant_is_to_answer():
    text, _ = encoded([USER, CAT], answered=False)
    assert text == "<user> what is it <end> <assistant>"
    assert encoded([USER], answered=False)[0] == text
    assert encoded([USER, CAT, USER], answered=False)[0].endswith("it <end> <assistant>")


def test_pictures_stand_first_or_where_the_text_says():
    image = "<image> <image>"
    text, weight = encoded([USER, CAT], image=PICTURES)
    assert text.startswith(f"<user> {image} {image} what is it <end>")
    assert weight[:8] == [0] * 8
    between = [{"role": "user", "content": "is <image> a cat <image>"}]
    assert encoded(between, image=PICTURES)[0] == f"<user> is {image} a cat {image} <end>"
    later = [USER, CAT, {"role": "user", "content": "<image>what is it"}]
    assert encoded(later, image=PICTURES[:1])[0].count("<image>") == 2
    assert encoded([USER])[0].count("<image>") == 0


def test_roles_in_words():
    """As LLaVA-1.5 writes them: the model's own start, and an end behind answers alone."""
    said = "user: assistant: be brief what is it a cat"
    known = words.train([said], 40, specials=(*SPECIALS, "<start>"))
    encode = EncodeConversation(known, 2, 40, True, in_words=True)
    turns = [{"role": "system", "content": "be brief"}, USER, CAT, USER, CAT]
    made = encode({"conversation": turns, "image": PICTURES[:1]})
    tokens = known.tokens(made["text"].tolist())
    turn = "what is it assistant a cat <end>"  # these tokens know no colon
    wanted = f"<start> be brief user <image> <image> {turn} user {turn}"
    assert " ".join(tokens).replace("Ġ", "") == wanted
    learned = [token for token, one in zip(tokens, made["text_weight"], strict=True) if one]
    assert learned == [*tokens[-3:], *tokens[-3:]]
    prompt = dataclasses.replace(encode, answered=False)({"conversation": turns[:3]})
    assert known.decode(prompt["text"]).endswith("what is it assistant")


@pytest.mark.parametrize("turns, pictures, problem", [
    ([{"role": "user", "content": "<image>"}], 2, "2 pictures, but <image> stands 1 times"),
    ([{"role": "user", "content": "<image>"}], 0, "0 pictures, but <image> stands 1 times"),
    ([CAT], 1, "1 pictures, but no turn of the user"),
])  # fmt: skip
def test_pictures_without_a_place(turns, pictures, problem):
    with pytest.raises(CorruptExample, match=problem):
        placed(turns, {"<image>": pictures})


@pytest.mark.parametrize("turns, problem", [
    ("hello", "a conversation is a list of turns"),
    ([], "a conversation is a list of turns"),
    ([{"role": "user"}], "turn 0 is no"),
    ([USER, {"role": "bot", "content": "a"}], "turn 1 has the role 'bot'; there are user, assis"),
])  # fmt: skip
def test_what_is_no_conversation(turns, problem):
    with pytest.raises(CorruptExample, match=problem):
        checked(turns)


def test_a_conversation_that_is_too_long():
    encode = EncodeConversation(TOKENIZER, 30, 40, True)
    with pytest.raises(CorruptExample, match="69 tokens, more than max_length=40"):
        encode({"conversation": [USER, CAT], "image": PICTURES})


def test_questions_become_conversations():
    row = {"text": "what is it", "answer": "a cat"}
    assert AsConversation()(row)["conversation"] == [USER, CAT]
    assert AsConversation()({"text": "what is it"})["conversation"] == [USER]
    given = {"conversation": [USER]}
    assert AsConversation()(given) is given
    with pytest.raises(CorruptExample, match="neither a 'conversation' nor a 'text'"):
        AsConversation()({"answer": "a cat"})


def test_each_picture_is_transformed():
    double = EachImage((lambda example, rng: {"image": example["image"] * 2},), 2, 2)
    one = np.ones((2, 2, 3))
    rng = np.random.default_rng(0)
    assert double({"image": one}, rng)["image"].shape == (1, 2, 2, 3)
    assert (double({"image": [one, one]}, rng)["image"] == 2).all()
