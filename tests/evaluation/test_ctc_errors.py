"""Errors of letters that CTC says, with a language model and beside one that hears nothing."""

import numpy as np
import pytest

from mmjax.config import ConfigError
from mmjax.data.source import InMemory
from mmjax.evaluation import ctc_errors, language_alone
from mmjax.evaluation.base import Context
from mmjax.evaluation.ctc_errors import CtcErrors
from mmjax.generation import ngram
from mmjax.processors import spoken

TRAINING = InMemory([{"text": text} for text in ("press one", "press two", "press one now")])
HELD_OUT = InMemory([{"text": "Press 1!"}, {"text": "press two now"}])
PROCESSOR = spoken.build(spoken.Config(), lambda: [TRAINING, HELD_OUT], None)


def context(training=(TRAINING,)):
    return Context(
        source=HELD_OUT, training=lambda: list(training), encode=PROCESSOR.encode,
        show=PROCESSOR.show, decode=HELD_OUT.__getitem__, batches=lambda spec: iter(()),
    )  # fmt: skip


def heard(texts, strength=5.0):
    """Logits that say the letters of texts one after the other, a blank behind each."""
    frames = 2 * max(map(len, texts))
    logits = np.zeros((len(texts), frames, PROCESSOR.tokenizer.vocab_size), np.float32)
    mask = np.zeros((len(texts), frames), bool)
    for row, text in enumerate(texts):
        for place, letter in enumerate(PROCESSOR.tokenizer.encode(text)):
            logits[row, 2 * place, letter] = strength
            logits[row, 2 * place + 1, 0] = strength
        mask[row, : 2 * len(text)] = True
    return {"logits": logits, "logits_mask": mask, "index": np.arange(len(texts))}


def test_what_is_heard_is_compared_as_it_is_said():
    errors = CtcErrors(unit="character")
    errors.check(context())
    result = errors.finish(heard(["press one", "press twe now"]), context())
    assert result.metrics["cer"] == pytest.approx(1 / (9 + 13))
    assert "press twe now" in result.media["transcripts"]


def test_a_language_model_mends_a_letter():
    rows = heard(["press one", "press two"], strength=8.0)
    rows["logits"][0, 2] = 0.0
    rows["logits"][0, 2, PROCESSOR.tokenizer.encode("w")[0]] = 3.0
    rows["logits"][0, 2, PROCESSOR.tokenizer.encode("r")[0]] = 2.5
    greedy = CtcErrors().predictions(rows, context())
    mended = CtcErrors(beams=8, order=4, weight=0.5).predictions(rows, context())
    assert greedy == ["pwess one", "press two"] and mended == ["press one", "press two"]
    assert CtcErrors(beams=8).predictions(rows, context()) == greedy


def test_what_cannot_be_done_is_said():
    with pytest.raises(ConfigError, match="needs beams to choose among"):
        CtcErrors(order=3).check(context())
    with pytest.raises(ConfigError, match="no training set"):
        CtcErrors(order=3, beams=4).check(context(training=()))
    with pytest.raises(ConfigError, match="no training set has the evaluated set's name"):
        language_alone.check(language_alone.Config(), context(training=()))


def test_the_likeliest_text_of_a_length():
    """Held against all texts."""
    texts = [list(text) for text in ("01", "011", "10", "01")]
    model = ngram.train(texts, 3)
    machine = ngram.automaton(model, ["0", "1"])
    found = language_alone.likeliest_texts(machine, range(5))
    for length in range(5):
        every = [list(f"{one:0{length}b}") if length else [] for one in range(2**length)]
        best = max(every, key=model.score)
        assert [str(one) for one in found[length]] == best


def test_nothing_is_heard():
    measured = language_alone.measure(language_alone.Config(order=4), context())
    assert 0 < measured["cer"] < 1
    words = ctc_errors.identities(context(), [TRAINING])
    assert len(words) == 3 and words[0][0] == words[1][0]
