"""A conversation with its cache says what one without says, and reads only what is new."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.config import ConfigError
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.generation.session import Session
from mmjax.layers import transformer
from mmjax.models import gpt2

OPTIONS = Options(max_new_tokens=6, end_ids=(3,), temperature=0.7)


@pytest.fixture(scope="module")
def generator():
    body = transformer.Config(width=24, layers=2, heads=2, hidden=48, initialisation="gpt2")
    model = gpt2.Model(gpt2.Config(31, 64, body))
    variables = unbox(jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 2), jnp.int32)))
    return Generator(model, jax.tree.map(lambda x: 6 * x if x.ndim > 1 else x, variables))


def from_scratch(generator, ids, seed, prefix=None):
    both_ways = {} if prefix is None else {"prefix": (np.arange(len(ids)) < prefix)[None]}
    said = generator(dict(inputs=np.array([ids]), **both_ways), OPTIONS, seed)
    return said.tokens[0, 0, : said.lengths[0, 0]].tolist()


def test_every_turn_is_what_it_would_be_from_scratch(generator):
    session = Session(generator, slots=64)
    text = [5, 9, 2, 11]
    read = []
    for turn, question in enumerate(([7, 8], [20, 21, 22], [4])):
        text += question
        read.append(session.read(np.array(text)))
        answer = list(session.say(OPTIONS, turn))
        assert answer == from_scratch(generator, text, turn)
        text += answer
    # behind the first turn: the last word of the answer, which was not read yet, and the question
    assert read == [6, 4, 2]
    assert session.read(np.array(text[:9] + [17] + text[10:])) == len(text) - 9  # an edited turn
    text[9] = 17
    assert list(session.say(OPTIONS, 5)) == from_scratch(generator, text, 5)


@pytest.mark.slow
def test_the_first_prompt_of_a_prefix_model(generator):
    """It is read in one piece, whatever part of it was read before."""
    session = Session(generator, slots=64)
    text = [5, 9, 2, 11, 7, 8]
    assert session.read(np.array(text), prefix=6) == 6
    answer = list(session.say(OPTIONS, 1))
    assert answer == from_scratch(generator, text, 1, prefix=6)
    assert answer != from_scratch(generator, text, 1)
    text += [*answer, 20, 21]
    assert session.read(np.array(text), prefix=6) == 3
    assert list(session.say(OPTIONS, 2)) == from_scratch(generator, text, 2, prefix=6)
    text[4] = 17
    assert session.read(np.array(text), prefix=6) == len(text)  # an edited prompt
    assert list(session.say(OPTIONS, 3)) == from_scratch(generator, text, 3, prefix=6)


def test_an_answer_that_is_broken_off(generator):
    session = Session(generator, slots=64)
    text = [5, 9, 2]
    session.read(np.array(text))
    answer = session.say(OPTIONS, 1)
    text += [next(answer), next(answer)]
    answer.close()
    assert session.read(np.array([*text, 8])) == 2
    assert list(session.say(OPTIONS, 2)) == from_scratch(generator, [*text, 8], 2)


def test_embeddings_stand_for_their_tokens(generator):
    ids = np.array([5, 9, 2, 11, 7])
    vectors = generator.model.apply(generator.variables, jnp.asarray(ids)[None], method="embed")[0]
    session = Session(generator, slots=32)
    session.read(ids[:3], vectors[:3])
    assert session.read(ids, vectors) == 2
    assert list(session.say(OPTIONS, 3)) == from_scratch(generator, ids, 3)


def test_what_does_not_fit(generator):
    session = Session(generator, slots=1000)
    assert session.slots == 64  # the model's context
    with pytest.raises(ConfigError, match="`read` the conversation first"):
        next(session.say(OPTIONS))
    with pytest.raises(ConfigError, match="the conversation is empty"):
        session.read(np.array([], int))
    with pytest.raises(ConfigError, match="64 tokens leaves no room for an answer in 64 slots"):
        session.read(np.arange(64) % 31)
    session.read(np.arange(60) % 31)
    with pytest.raises(ConfigError, match="max_new_tokens is 6, but only 4 of 64 slots are left"):
        next(session.say(OPTIONS))
    with pytest.raises(ConfigError, match="goes on from one answer"):
        next(session.say(Options(beams=2)))
