"""Captions: chosen by the rng, tokenised with visible truncation, bad ones named, bounded."""

import numpy as np
import pytest

from mmjax.data.source import CorruptExample, InMemory
from mmjax.tokenizers import bpe
from mmjax.transforms.text import (
    ChooseCaption,
    DropWords,
    Tokenize,
    all_captions,
    text_lengths,
    text_shape,
)

WORDS = "red green blue fox bird fish runs swims flies".split()
TOKENIZER = bpe.train([" ".join(WORDS)] * 3, 400)
START, END, PAD = (TOKENIZER.special[name] for name in ("<start>", "<end>", "<pad>"))


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty caption"),
        (" \n", "empty caption"),
        (("red fox", ""), "empty caption"),
        ((), "no caption"),
        (None, "no caption"),
        (b"caf\xe9 au lait", "invalid UTF-8: byte 0xe9 at position 3"),
        (17, "int, not text"),
        (("fox", 3.5), "float, not text"),
    ],
)
def test_bad_captions_are_named(text, reason):
    for transform in (ChooseCaption(), Tokenize(TOKENIZER, 8)):
        with pytest.raises(CorruptExample, match=reason):
            transform({"text": text}, rng())
    with pytest.raises(CorruptExample, match="no caption in 'text'"):
        Tokenize(TOKENIZER, 8)({})


def test_choice_is_uniform_and_by_the_rng():
    captions = ("red fox", "blue bird", "green fish")
    chosen = [ChooseCaption()({"text": captions}, rng(seed))["text"] for seed in range(300)]
    assert all(70 < chosen.count(one) < 130 for one in captions)
    assert ChooseCaption()({"text": captions}, rng(7)) == ChooseCaption()(
        {"text": captions}, rng(7)
    )
    assert ChooseCaption()({"text": "fox", "id": "a"}, rng()) == {"text": "fox", "id": "a"}


def test_words_are_left_out_by_the_rng_and_one_stays():
    text = " ".join(WORDS)
    drop = DropWords(0.3)
    kept = [drop({"text": text, "id": 1}, rng(seed)) for seed in range(300)]
    assert all(one["id"] == 1 for one in kept)
    words = [one["text"].split() for one in kept]
    assert all(w == [x for x in WORDS if x in w] for w in words)  # in their order
    share = np.mean([len(w) for w in words]) / len(WORDS)
    assert abs(share - (0.7 + 0.3 / len(WORDS))) < 0.02
    assert drop({"text": text}, rng(7)) == drop({"text": text}, rng(7))
    assert all(len(DropWords(1.0)({"text": text}, rng(s))["text"].split()) == 1 for s in range(9))
    with pytest.raises(CorruptExample, match="empty caption"):
        drop({"text": " "}, rng())


def test_one_caption():
    out = Tokenize(TOKENIZER, 8)({"text": "red fox"})
    assert out["text"].tolist() == [START, *TOKENIZER.encode("red fox"), END]
    assert out["text"].dtype == np.int32 and not out["text_truncated"]
    assert Tokenize(TOKENIZER, 8)({"text": b"red fox"})["text"].tolist() == out["text"].tolist()


def test_truncation_keeps_the_end_and_is_visible():
    tokenize = Tokenize(TOKENIZER, 5)
    out = tokenize({"text": "red green blue fox bird"})
    assert out["text"].tolist() == [START, *TOKENIZER.encode("red green blue"), END]
    assert out["text_truncated"]
    assert not tokenize({"text": "red green blue"})["text_truncated"]
    assert tokenize({"text": ("fox", "red green blue fox")})["text_truncated"]


def test_several_captions():
    out = Tokenize(TOKENIZER, 8)({"text": ("red fox", "bird")})
    mask = [[True] * 4, [True] * 3 + [False]]
    assert out["text_mask"].tolist() == mask and out["text"].shape == (2, 4)
    assert out["text"][1].tolist() == [START, *TOKENIZER.encode("bird"), END, PAD]


def test_without_special_tokens():
    out = Tokenize(TOKENIZER, 2, start=None, end=None, pad=None)({"text": "red fox bird"})
    assert out["text"].tolist() == TOKENIZER.encode("red fox")


def test_names_and_lengths_are_checked_at_once():
    for wrong in ({"start": "<x>"}, {"end": "<x>"}, {"pad": "<x>"}):
        with pytest.raises(bpe.TokenizerError, match="no special token '<x>'"):
            Tokenize(TOKENIZER, 8, **wrong)
    with pytest.raises(ValueError, match="max_length=2 leaves no room between <start> and <end>"):
        Tokenize(TOKENIZER, 2)


class WithoutColumns(InMemory):
    def column(self, name):
        return None


@pytest.mark.parametrize("kind", [InMemory, WithoutColumns])
def test_lengths_bound_what_the_transform_gives(kind):
    texts = ["red", "red fox", ("red", "green blue fox"), "red green blue fox bird fish", "", "fox"]
    source, tokenize = kind([{"text": text} for text in texts]), Tokenize(TOKENIZER, 6)
    lengths = text_lengths(source, tokenize)
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [3, 4, 5, 6, 1, 3]
    for row, length in enumerate(lengths):
        if texts[row]:
            assert tokenize(source[row])["text"].shape[-1] == length
    assert text_shape(source, tokenize) == (6,)
    several = kind([{"text": ("fox", "red fox")}, {"text": ("bird",)}])
    assert text_shape(several, tokenize) == (2, 4)


def test_all_captions_leaves_bad_ones_out():
    source = InMemory([{"text": "a"}, {"text": ("b", "c")}, {"text": " "}])
    assert all_captions([source, source]) == ["a", "b", "c"] * 2
