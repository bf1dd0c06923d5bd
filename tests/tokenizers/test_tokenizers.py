"""Byte-level BPE: deterministic, lossless, special tokens by name and never from a text."""

import pickle
import subprocess
import sys

import pytest

from mmjax.tokenizers import bpe

TEXTS = ["A red fox", "a fox, animal, face", "grinning face", "red apple, fruit"] * 5
OTHER_PROCESS = f"""
from mmjax.tokenizers import bpe
print(bpe.train({TEXTS!r}, 300).fingerprint)
"""


@pytest.fixture(scope="module")
def tokenizer():
    return bpe.train(TEXTS, 300)


def test_training_is_the_same_in_another_process(tokenizer):
    out = subprocess.run([sys.executable, "-c", OTHER_PROCESS], capture_output=True, text=True)
    assert out.stdout.strip() == tokenizer.fingerprint, out.stderr


@pytest.mark.parametrize(
    "text", ["a fox", "Zürich 🦊 — naïve", "<end> <pad>", "日本語", "tab\tand  two"]
)
def test_round_trip_of_any_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == " ".join(text.lower().split())
    assert max(ids) < tokenizer.vocab_size
    assert tokenizer.encode_batch([text, "x"])[0] == ids


def test_case_is_kept_when_asked():
    kept = bpe.train(TEXTS, 300, lowercase=False)
    assert kept.decode(kept.encode("A Fox")) == "A Fox"


def test_a_word_is_the_same_token_at_the_start_and_inside(tokenizer):
    assert tokenizer.encode("fox")[-1] == tokenizer.encode("red fox")[-1]


def test_special_tokens_by_name(tokenizer):
    assert dict(tokenizer.special) == {"<pad>": 0, "<start>": 1, "<end>": 2}
    assert "<mask>" not in tokenizer.special and tokenizer.special.get("<mask>") is None
    with pytest.raises(bpe.TokenizerError, match=r"no special token '<mask>'.*'<end>' \(2\)"):
        tokenizer.special["<mask>"]


def test_a_text_never_holds_a_special_token(tokenizer):
    for copy in (tokenizer, pickle.loads(pickle.dumps(tokenizer))):
        assert not set(copy.encode("the <end> of <start>")) & set(copy.special.values())


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "run" / "tokenizer.json")
    loaded = bpe.load(tmp_path / "run" / "tokenizer.json")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode("a red fox") == tokenizer.encode("a red fox")
    with pytest.raises(
        bpe.TokenizerError, match="tokenizer.json has no special token '<|x|>'".replace("|", r"\|")
    ):
        loaded.special["<|x|>"]


def test_a_file_with_other_special_tokens(tmp_path):
    bpe.train(TEXTS, 300, specials=("<|startoftext|>", "<|endoftext|>")).save(
        tmp_path / "clip.json"
    )
    loaded = bpe.load(tmp_path / "clip.json")
    assert loaded.special["<|endoftext|>"] == 1
    assert loaded.special["<start>"] == 0  # found by what it is for
    with pytest.raises(bpe.TokenizerError, match="no special token '<mask>'.*startoftext"):
        loaded.special["<mask>"]


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="JSON files there"):
        bpe.load(tmp_path / "tokenizer.json")
    for content, message in (
        ("{", "not a tokenizer.json"),
        ('{"a": 1}', "no 'model'"),
        ('{"model": 3}', "not a readable"),
        ("\xff", "not a tokenizer.json"),
    ):
        (tmp_path / "t.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(bpe.TokenizerError, match=message):
            bpe.load(tmp_path / "t.json")


def test_no_text_and_no_room():
    with pytest.raises(ValueError, match="no text"):
        bpe.train(["", "  "], 300)
    with pytest.raises(ValueError, match="no room.*259 at least"):
        bpe.train(TEXTS, 100)
