"""Generation without a reference at hand: beside whole uncached forwards, all texts, exact odds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

from mmjax.config import ConfigError
from mmjax.generation import generate
from mmjax.generation.generate import Generator, bucket
from mmjax.generation.options import Options
from mmjax.layers import transformer
from mmjax.models import gpt2

VOCAB = 31
BODY = transformer.Config(width=24, layers=2, heads=2, hidden=48, initialisation="gpt2")


def made(vocab=VOCAB, context=64, scale=6.0):
    """A tiny decoder whose weights are large enough for its choices to be clear."""
    model = gpt2.Model(gpt2.Config(vocab, context, BODY))
    variables = unbox(jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 2), jnp.int32)))
    return model, jax.tree.map(lambda x: x * scale if x.ndim > 1 else x, variables)


@pytest.fixture(scope="module")
def decoder():
    return made()


@pytest.fixture(scope="module")
def generator(decoder):
    return Generator(*decoder)


def ragged(rows, longest, seed=0, side="left"):
    """Prompts of 1 to `longest` tokens."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, VOCAB, (rows, longest))
    lengths = rng.integers(1, longest + 1, rows)
    place = np.arange(longest)[None]
    mask = place >= longest - lengths[:, None] if side == "left" else place < lengths[:, None]
    return dict(inputs=np.where(mask, ids, 0), mask=mask)


def plain(decoder, prompt, options):
    """Greedy, each token from the whole text; logits of each token as well."""
    model, variables = decoder
    apply = jax.jit(lambda ids, mask: model.apply(variables, ids, mask).logits)
    texts, scores = [], []
    for ids, mask in zip(prompt["inputs"], prompt["mask"], strict=True):
        text = list(ids[mask])
        start = len(text)
        log_probs = []
        while len(text) - start < options.max_new_tokens:
            padded = np.zeros((1, 64), np.int32)
            padded[0, : len(text)] = text
            logits = apply(padded, np.arange(64)[None] < len(text))[0, len(text) - 1]
            text.append(int(logits.argmax()))
            log_probs.append(float(jax.nn.log_softmax(logits)[text[-1]]))
            if text[-1] in options.end_ids:
                break
        missing = options.max_new_tokens - len(log_probs)
        texts.append(text[start:] + [options.padding_id] * missing)
        scores.append(log_probs + [0.0] * missing)
    return np.array(texts), np.array(scores)


@pytest.mark.parametrize("side", ["left", "right"])
def test_greedy_is_what_the_whole_text_says(decoder, generator, side):
    prompt = ragged(6, 9, side=side)
    options = Options(max_new_tokens=12, end_ids=(3, 7), padding_id=30)
    said = generator(prompt, options)
    texts, log_probs = plain(decoder, prompt, options)
    np.testing.assert_array_equal(said.tokens[:, 0], texts)
    np.testing.assert_allclose(said.log_probs[:, 0], log_probs, atol=1e-5)
    assert set(said.lengths[:, 0]) > {12}  # some end before, some do not
    np.testing.assert_allclose(said.scores[:, 0], log_probs.sum(1), atol=1e-4)
    streamed = np.stack(list(generator.stream(prompt, options)), axis=1)
    np.testing.assert_array_equal(streamed, texts[:, : streamed.shape[1]])


def test_enough_beams_find_the_likeliest_of_all_texts():
    model, variables = made(vocab=5, scale=3.0)
    ids = np.array([[1, 2, 3], [4, 4, 1]])
    best = Generator(model, variables)(
        dict(inputs=ids), Options(max_new_tokens=4, beams=125, returns=3, length_penalty=0.0)
    )
    texts = np.array(list(itertools.product(range(5), repeat=4)))
    for row, prompt in enumerate(ids):
        whole = np.concatenate([np.tile(prompt, (len(texts), 1)), texts], axis=1)
        logits = jax.nn.log_softmax(jax.jit(model.apply)(variables, whole).logits[:, 2:-1])
        scores = np.take_along_axis(np.asarray(logits), texts[..., None], -1)[..., 0].sum(1)
        order = np.argsort(-scores)[:3]
        np.testing.assert_array_equal(best.tokens[row], texts[order])
        np.testing.assert_allclose(best.scores[row], scores[order], atol=1e-4)
        np.testing.assert_allclose(best.log_probs[row].sum(1), scores[order], atol=1e-4)


DRAWS = dict(temperature=1.3, top_k=9, top_p=0.8, min_p=0.05)


def exact(logits):
    """The probabilities that `DRAWS` allow, computed the long way."""
    logits = np.asarray(logits, np.float64) / DRAWS["temperature"]
    order = np.argsort(-logits)
    allowed = list(order[: DRAWS["top_k"]])
    odds = np.exp(logits - logits.max())
    share = odds[allowed] / odds[allowed].sum()
    kept = [token for n, token in enumerate(allowed) if share[:n].sum() < DRAWS["top_p"]]
    kept = [token for token in kept if odds[token] >= DRAWS["min_p"]]
    out = np.zeros(len(logits))
    out[kept] = odds[kept] / odds[kept].sum()
    return out


def test_samples_have_the_odds_of_the_narrowed_softmax(decoder, generator):
    prompt = dict(inputs=np.array([[5, 9, 2]]))
    model, variables = decoder
    wanted = exact(jax.jit(model.apply)(variables, prompt["inputs"]).logits[0, -1])
    draws = 20_000
    said = generator(prompt, Options(max_new_tokens=1, returns=draws, **DRAWS), seed=4)
    counts = np.bincount(said.tokens[0, :, 0], minlength=VOCAB)
    possible = wanted > 0
    assert possible.sum() > 3 and counts[~possible].sum() == 0
    expected = draws * wanted[possible]
    chi_square = np.sum((counts[possible] - expected) ** 2 / expected)
    freedom = possible.sum() - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)  # about one time in 30,000


def test_a_row_draws_the_same_whoever_stands_beside_it(generator):
    prompt = ragged(4, 7)
    options = Options(max_new_tokens=8, temperature=1.0, returns=2, end_ids=(3,))
    seeds = np.array([3, 1, 4, 1])
    said = generator(prompt, options, seeds)
    np.testing.assert_array_equal(generator(prompt, options, seeds).tokens, said.tokens)
    assert (generator(prompt, options, seeds + 1).tokens != said.tokens).any((1, 2)).all()
    assert (said.tokens[:, 0] != said.tokens[:, 1]).any(1).all()
    alone = {name: value[2:3] for name, value in prompt.items()}
    np.testing.assert_array_equal(generator(alone, options, seeds[2:3]).tokens[0], said.tokens[2])
    streamed = np.stack(list(generator.stream(prompt, options, seeds)), axis=1)
    whole = said.tokens.reshape(8, -1)
    np.testing.assert_array_equal(streamed, whole[:, : streamed.shape[1]])


def test_nothing_is_compiled_again_for_prompts_of_other_lengths(generator):
    options = Options(max_new_tokens=3)
    generator(ragged(2, 20), options)
    before = generate._answers._cache_size()
    for length in (17, 19, 24):
        generator(ragged(2, length), options)
    assert generate._answers._cache_size() == before
    assert [bucket(n) for n in (1, 16, 17, 25, 33, 49, 97)] == [16, 16, 24, 32, 48, 64, 128]


def test_embeddings_say_what_their_tokens_say(decoder, generator):
    model, variables = decoder
    prompt = ragged(3, 6)
    options = Options(max_new_tokens=6)
    vectors = model.apply(variables, jnp.asarray(prompt["inputs"]), method="embed")
    said = generator(dict(prompt, inputs=vectors), options)
    np.testing.assert_array_equal(said.tokens, generator(prompt, options).tokens)
    half = Options(max_new_tokens=6, cache_dtype="bfloat16")
    close = generator(prompt, half)
    np.testing.assert_allclose(close.log_probs[:, 0, 0], said.log_probs[:, 0, 0], atol=0.5)


@pytest.mark.parametrize("options, problem", [
    (dict(max_new_tokens=0), "max_new_tokens is 0: it is 1 or more"),
    (dict(top_p=0.0), "top_p is 0.0: it is above 0"),
    (dict(min_p=2.0), "min_p is 2.0"),
    (dict(repetition_penalty=0.0), "repetition_penalty is 0.0"),
    (dict(beams=2, temperature=1.0), "beams are not drawn at random"),
    (dict(beams=2, returns=3), "2 beams have no 3 answers"),
    (dict(returns=2), "the likeliest answer is one, not 2"),
    (dict(forced=(1, 2), max_new_tokens=1), "2 tokens are forced, but max_new_tokens is 1"),
])  # fmt: skip
def test_options_that_make_no_sense(options, problem):
    with pytest.raises(ConfigError, match=problem):
        Options(**options)


def test_prompts_that_cannot_be_answered(generator):
    empty = dict(inputs=np.ones((2, 3), int), mask=np.array([[1, 1, 1], [0, 0, 0]]))
    with pytest.raises(ConfigError, match="prompt 1 is empty"):
        generator(empty, Options())
    with pytest.raises(ConfigError, match="prompt of 60 tokens and 8 new ones do not fit .* 64"):
        generator(dict(inputs=np.ones((1, 60), int)), Options(max_new_tokens=8))
    with pytest.raises(ConfigError, match="beams have no token to show"):
        next(generator.stream(dict(inputs=np.ones((1, 6), int)), Options(beams=2)))
    full = generator(dict(inputs=np.ones((1, 60), int)), Options(max_new_tokens=4))
    assert full.tokens.shape == (1, 1, 4) and np.isfinite(full.log_probs).all()
