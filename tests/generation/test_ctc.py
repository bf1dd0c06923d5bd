"""Greedy reading and prefix beams, held against all alignments; language models that count."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.generation import ctc, ngram

VOCABULARY = ["", "a", "b"]  # the blank first
TEXTS = ["ab", "abb", "ba", "ab", "aab"]


def readings(log_probs, blank=0):
    """log p(text) of every text, by every way that the frames can speak."""
    frames, letters = log_probs.shape
    found = {}
    for said in itertools.product(range(letters), repeat=frames):
        read = tuple(one for one, _ in itertools.groupby(said) if one != blank)
        value = sum(log_probs[t, one] for t, one in enumerate(said))
        found[read] = np.logaddexp(found.get(read, -np.inf), value)
    return found


def logits(frames=5):
    return 2 * jax.random.normal(jax.random.key(1), (3, frames, 3))


def said(found, row, beam=0):
    return tuple(np.asarray(found.text[row, beam])[np.asarray(found.mask[row, beam])].tolist())


def test_greedy_reads_what_each_frame_says():
    best = jnp.array([[1, 1, 0, 1, 2, 2], [0, 0, 2, 0, 0, 1]])
    mask = jnp.arange(6)[None] < jnp.array([[6], [5]])
    found = ctc.greedy(jax.nn.one_hot(best, 3), mask)
    texts = [row[kept].tolist() for row, kept in zip(found.text, found.mask, strict=True)]
    assert texts == [[1, 1, 2], [2]]
    _, begins = ctc.spoken_frames(jax.nn.one_hot(best, 3), mask)
    assert np.flatnonzero(begins[0]).tolist() == [0, 3, 4]


def test_beams_enough_are_the_sum_over_all_alignments():
    rows = logits()
    mask = jnp.arange(5)[None] < jnp.array([[5], [5], [3]])
    found = ctc.search(rows, mask, beams=80)
    log_probs = np.asarray(jax.nn.log_softmax(rows))
    for row, frames in enumerate((5, 5, 3)):
        wanted = readings(log_probs[row, :frames])
        alive = int((np.asarray(found.sound[row]) > -1e20).sum())
        got = {said(found, row, beam): float(found.sound[row, beam]) for beam in range(alive)}
        assert len(got) == alive == len(wanted), "a text twice, or not at all"
        for text, value in wanted.items():
            assert got[text] == pytest.approx(value, abs=1e-4)
        assert said(found, row) == max(wanted, key=wanted.get)


def test_a_language_model_decides_with():
    model = ngram.train(TEXTS, 3)
    machine = ngram.automaton(model, VOCABULARY)
    rows = logits()
    found = ctc.search(
        rows, jnp.ones((3, 5), bool), beams=80, language=machine, weight=0.7, bonus=0.3
    )
    log_probs = np.asarray(jax.nn.log_softmax(rows))
    for row in range(3):
        scores = {}
        for text, value in readings(log_probs[row]).items():
            language = model.score([VOCABULARY[one] for one in text])
            scores[text] = value + 0.7 * language + 0.3 * len(text)
        best = max(scores, key=scores.get)
        assert said(found, row) == best
        assert float(found.score[row, 0]) == pytest.approx(scores[best], abs=1e-4)


def test_few_beams_find_a_text_not_worse_than_greedy():
    rows = logits(frames=12)
    mask = jnp.ones((3, 12), bool)
    found = ctc.search(rows, mask, beams=4)
    exact = ctc.search(rows, mask, beams=64)
    assert (np.asarray(found.sound[:, 0]) <= np.asarray(exact.sound[:, 0]) + 1e-4).all()
    assert found.text.shape == (3, 4, 12)


def test_probabilities_of_a_language_model_sum_to_one():
    model = ngram.train(TEXTS, 3, vocabulary="abc")
    for context in ([], ["a"], ["<s>", "a"], ["b", "a"], ["c", "c"]):
        total = sum(math.exp(model.log(context, token)) for token in (*"abc", ngram.END))
        assert total == pytest.approx(1.0), context
    assert model.score("ab") > model.score("ba") > model.score("cc")


def test_kneser_ney_counts_what_stands_before():
    """A token that is frequent behind one other alone is rare behind new ones."""
    texts = [["san", "francisco"]] * 5 + [[word, "tea"] for word in ("hot", "green", "black")]
    model = ngram.train(texts, 2)
    assert model.log(["new"], "tea") > model.log(["new"], "francisco")


def test_an_automaton_says_what_its_model_does():
    model = ngram.train(TEXTS, 3)
    machine = ngram.automaton(model, VOCABULARY)
    for text in ("", "ab", "bbbaab", "abba"):
        state, total = machine.start, 0.0
        for letter in text:
            column = VOCABULARY.index(letter)
            total += machine.scores[state, column]
            state = machine.following[state, column]
        assert total + machine.end[state] == pytest.approx(model.score(text), abs=1e-4)


def test_files_of_language_models(tmp_path):
    model = ngram.train(TEXTS, 3)
    ngram.save(model, tmp_path / "model.arpa")
    again = ngram.load(tmp_path / "model.arpa")
    assert again.order == 3
    for text in ("ab", "bbba", "zz"):
        assert again.score(text) == pytest.approx(model.score(text), abs=1e-4)
    (tmp_path / "bad.arpa").write_text("\\data\\\n\n\\2-grams:\n-0.5 a\n")
    with pytest.raises(ngram.LanguageModelError, match="'-0.5 a' is no line of the 2-grams"):
        ngram.load(tmp_path / "bad.arpa")
    (tmp_path / "empty.arpa").write_text("hello")
    with pytest.raises(ngram.LanguageModelError, match="it is no ARPA file"):
        ngram.load(tmp_path / "empty.arpa")
