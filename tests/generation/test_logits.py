"""The rules of what may be said next, one by one, on logits written by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.generation import history, logits
from mmjax.generation.options import Options

IDS = jnp.array([[0, 1, 2, 1], [3, 4, 3, 4]])
MASK = jnp.array([[False, True, True, True], [True, True, True, True]])
LOGITS = jnp.array([[1.0, 2.0, -3.0, 0.5, 0.0], [0.0, 1.0, 2.0, 3.0, -1.0]])


def behind(*tokens):
    """The history of the two prompts and what was said since."""
    state = history.start(IDS, MASK, 2, 4)
    for token in tokens:
        state = state.add(jnp.array(token), jnp.ones(2, bool))
    return state


def forbidden(rule, *tokens):
    left = np.asarray(rule(LOGITS, behind(*tokens)))
    return [list(np.flatnonzero(np.isneginf(row))) for row in left]


def test_a_history_has_its_padding_on_the_left():
    right = history.start(jnp.array([[7, 8, 0, 0]]), jnp.array([[1, 1, 0, 0]]), 1, 2)
    assert right.ids[0].tolist() == [0, 0, 7, 8, 0, 0]
    assert right.real[0].tolist() == [False, False, True, True, False, False]


def test_repetition_penalty():
    got = logits.repetition_penalty(2.0)(LOGITS, behind([3, 0]))
    # row 0 has read 1 and 2 and said 3; its padding, token 0, counts for nothing
    np.testing.assert_allclose(got[0], [1.0, 1.0, -6.0, 0.25, 0.0])
    np.testing.assert_allclose(got[1], [0.0, 1.0, 2.0, 1.5, -2.0])


@pytest.mark.parametrize("length, tokens, wanted", [
    (1, [], [[1, 2], [3, 4]]),
    (2, [], [[2], [3]]),  # after 1 came 2; after 4 came 3
    (3, [], [[], [3]]),  # 3 4 3 -> nothing; "3 4" came before 3
    (3, [[2, 3]], [[1], [4]]),
    (4, [[2, 3], [1, 4]], [[2], [3]]),
    (9, [], [[], []]),
])  # fmt: skip
def test_no_sequence_twice(length, tokens, wanted):
    assert forbidden(logits.no_repeat_ngram(length), *tokens) == wanted


def test_suppressed_and_forced():
    options = Options(
        max_new_tokens=4, end_ids=(4,), min_new_tokens=1, suppressed=(0,), suppressed_first=(1,)
    )
    rules = logits.processors(options)

    def both(scores, state):
        return logits.apply(rules, scores, state)

    assert forbidden(both) == [[0, 1, 4]] * 2
    assert forbidden(both, [2, 2]) == [[0]] * 2
    rules = logits.processors(Options(max_new_tokens=3, forced=(2, 3), forced_end=1))
    assert forbidden(both) == [[0, 1, 3, 4]] * 2
    assert forbidden(both, [2, 2]) == [[0, 1, 2, 4]] * 2
    assert forbidden(both, [2, 2], [3, 3]) == [[0, 2, 3, 4]] * 2


def test_narrowing():
    scores = jnp.log(jnp.array([[0.4, 0.1, 0.3, 0.15, 0.05]]))

    def left(rule, *arguments):
        return np.flatnonzero(np.isfinite(rule(scores, *arguments)[0])).tolist()

    assert left(logits.top_k, 2) == [0, 2]
    assert left(logits.top_p, 0.7001) == [0, 2, 3]
    assert left(logits.top_p, 0.6999) == [0, 2]
    assert left(logits.top_p, 0.01) == [0]
    assert left(logits.min_p, 0.3) == [0, 2, 3]
