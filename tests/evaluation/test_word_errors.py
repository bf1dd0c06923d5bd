"""Word error rate: the edit distance by hand, the ratio of sums, texts read by the processor."""

import numpy as np
import pytest
from evaluation.contexts import context

from mmjax.config import ConfigError
from mmjax.data.source import DataError, InMemory
from mmjax.evaluation import base
from mmjax.evaluation.texts import normalised
from mmjax.evaluation.word_errors import WordErrors, alignment, edit_distance

SAID = ["The cat sat.", "a dog", "It's raining, isn\N{RIGHT SINGLE QUOTATION MARK}t it?"]
HEARD = ["the cat sat", "the dog ran", "it's raining"]


@pytest.mark.parametrize("one, other, distance", [
    ("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0),
    ("flaw", "lawn", 2), ("intention", "execution", 5),
])  # fmt: skip
def test_edit_distances_by_hand(one, other, distance):
    assert edit_distance(one, other) == distance == edit_distance(other, one)


def test_an_alignment_is_a_shortest_way():
    rng = np.random.default_rng(0)
    for _ in range(50):
        one = rng.integers(0, 3, rng.integers(0, 9)).tolist()
        other = rng.integers(0, 3, rng.integers(0, 9)).tolist()
        pairs = alignment(one, other)
        assert [a for a, _ in pairs if a is not None] == one
        assert [b for _, b in pairs if b is not None] == other
        assert sum(a != b for a, b in pairs) == edit_distance(one, other)


def test_texts_are_made_comparable():
    assert normalised("  Hello, World!\n") == "hello world"
    assert normalised("Don\N{RIGHT SINGLE QUOTATION MARK}t — stop_it") == "don't stop it"
    assert normalised("\N{LATIN SMALL LIGATURE FI}ne Ⅷ") == "fine viii"


def generate(variables, batch, keys):
    return {"text": batch["text"], "text_mask": batch["text"] > 0}


def stream(texts):
    """Bytes as token ids, in batches of two rows."""
    ids = np.zeros((len(texts), 40), np.int32)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = list(text.encode())
    for start in range(0, len(texts), 2):
        part = ids[start : start + 2]
        index = np.arange(start, start + len(part))
        yield {"text": part, "index": index, "weight": np.ones(len(part), np.float32)}


def show(arrays, row):
    return {"text": bytes(arrays["text"][row][arrays["text_mask"][row]].tolist()).decode()}


def measured(evaluator=None, said=SAID):
    source = InMemory([{"text": text} for text in said])
    ours = context(source, show=show)
    return base.run(evaluator or WordErrors(), generate, None, stream(HEARD), ours)


def test_the_rate_is_one_of_sums():
    found = measured()
    rate = found.queries["wer"]
    assert rate.numerator.tolist() == [0, 2, 2] and rate.denominator.tolist() == [3, 2, 4]
    kinds = {"wer_substitutions": 1 / 9, "wer_deletions": 2 / 9, "wer_insertions": 1 / 9}
    assert found.metrics == pytest.approx({"wer": 4 / 9, **kinds})
    assert found.queries["index"].tolist() == [0, 1, 2]
    assert f"{SAID[1]}\n{HEARD[1]}" in found.media["transcripts"]
    assert measured(WordErrors(keep=1)).media["transcripts"].count("\n") == 1
    # of equal numbers of errors the shorter text comes first; the first text has none
    assert found.media["worst"] == (
        "A   dog ***\nTHE dog RAN\n\nit's raining ISN'T IT\nit's raining ***** **"
    )


def test_characters_and_texts_as_they_are():
    found = measured(WordErrors(unit="character"), ["the cat", "the dog ran", "it's raining"])
    assert found.metrics["cer"] == pytest.approx(4 / 30)
    assert measured(WordErrors(normalise=False)).queries["wer"].numerator[0] == 2


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match="no 'transcript' to compare with; it has text"):
        WordErrors(reference="transcript").check(context(InMemory([{"text": "a"}])))
    with pytest.raises(DataError, match="not one of 3 references holds a word"):
        measured(said=["", "...", "!"])
    with pytest.raises(ConfigError, match="gave no 'words', only text, text_mask"):
        measured(WordErrors(text="words"))
