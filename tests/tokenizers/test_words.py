"""Whole words: the most frequent ones, nothing for others, a tokenizer.json as any other."""

import pytest

from mmjax.tokenizers import bpe, words

TEXTS = ["A red fox", "a fox, animal, face", "grinning face", "red apple, fruit", "café au lait"]


@pytest.fixture(scope="module")
def tokenizer():
    return words.train(TEXTS, 100)


def test_a_word_is_one_id_wherever_it_stands(tokenizer):
    fox = tokenizer.encode("fox")
    assert len(fox) == 1
    assert tokenizer.encode("a red FOX!") == tokenizer.encode("a-red") + fox
    assert tokenizer.decode(tokenizer.encode("Red, Café;  face")) == "red café face"


@pytest.mark.parametrize("text", ["zebra", "foxes", "x", "日本語", "<end>", " ,;", ""])
def test_an_unknown_word_leaves_nothing(tokenizer, text):
    assert tokenizer.encode(text) == []
    assert tokenizer.encode(f"fox {text} face") == tokenizer.encode("fox face")


def test_the_most_frequent_words_have_room_first():
    small = words.train(TEXTS, 7)
    assert small.vocab_size == 7
    assert sorted(small.tokens(range(3, 7))) == sorted(["Ġa", "Ġface", "Ġfox", "Ġred"])


def test_case_is_kept_when_asked():
    kept = words.train(TEXTS, 100, lowercase=False)
    assert kept.encode("Red") == [] and len(kept.encode("red A")) == 2


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    again = bpe.load(tmp_path / "tokenizer.json")
    assert again.fingerprint == tokenizer.fingerprint == words.train(TEXTS, 100).fingerprint
    assert again.encode("a new fox") == tokenizer.encode("a fox")
    assert dict(again.special) == {"<pad>": 0, "<start>": 1, "<end>": 2}


def test_no_room_and_no_text():
    with pytest.raises(ValueError, match="no room for 3 specials and a word"):
        words.train(TEXTS, 3)
    with pytest.raises(ValueError, match="no text to train a tokenizer on"):
        words.train(["", " ,"], 100)
