"""What the frames of a CTC model say: greedy reading, and prefix beams with a language model.

Graves et al. 2006 (https://www.cs.toronto.edu/~graves/icml_2006.pdf); prefix beams and the fusion
with a language model: Hannun et al. 2014, https://arxiv.org/abs/1408.2873.

* A beam is a text and the probability of all sayings of the frames so far that read as it, those
  that end in a blank apart from those that end in its last letter: only behind a blank does the
  same letter come twice.
* A text that is reached both by waiting and from a shorter beam is one beam. With beams enough the
  sum is exact; tests hold it against all alignments.
* Beams are ordered by log p(text | sound) + weight * log p(text) + bonus * letters, where the
  language model is an automaton of letters (ngram.py). Shapes are static: one compilation for a
  number of frames.

Letters: B batch, T frames, V vocabulary with the blank, K beams.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.generation.ngram import Automaton
from mmjax.typing import Array, Bool, Float, Int, Shaped

NEVER = -1e30  # logarithm of what is impossible: finite, so that sums of it are


class Read(NamedTuple):
    """Texts, their letters in front."""

    text: Int[Array, "B T"]
    mask: Bool[Array, "B T"]  # True: a letter


class Found(NamedTuple):
    """The best texts of each row, the best one first."""

    text: Int[Array, "B K T"]
    mask: Bool[Array, "B K T"]  # True: a letter
    sound: Float[Array, "B K"]  # log p(text | sound)
    language: Float[Array, "B K"]  # log p(text), 0 without a language model
    score: Float[Array, "B K"]  # what they are ordered by


class _Beams(NamedTuple):
    """Of one row."""

    text: Int[Array, "K T"]
    length: Int[Array, " K"]  # letters
    blank: Float[Array, " K"]  # log-probability of sayings that end in a blank
    letter: Float[Array, " K"]  # and of those that end in the last letter
    state: Int[Array, " K"]  # of the language model
    language: Float[Array, " K"]  # its log-probability of the text so far


def greedy(logits: Float[Array, "B T V"], mask: Shaped[Array, "B T"], blank: int = 0) -> Read:
    """The likeliest letter of each frame; repeats are one, and blanks go."""
    best, kept = spoken_frames(logits, mask, blank)
    order = jnp.argsort(~kept, axis=1, stable=True)
    return Read(jnp.take_along_axis(best, order, axis=1), jnp.take_along_axis(kept, order, axis=1))


def spoken_frames(
    logits: Float[Array, "B T V"], mask: Shaped[Array, "B T"], blank: int = 0
) -> tuple[Int[Array, "B T"], Bool[Array, "B T"]]:
    """(the likeliest letter of each frame, whether it is the first of its kind): when each letter
    of the greedy reading begins."""
    best = jnp.where(mask.astype(bool), logits.argmax(-1), blank)
    before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=blank)[:, :-1]
    return best, (best != blank) & (best != before)


@functools.partial(jax.jit, static_argnames=("blank", "beams"))
def search(
    logits: Float[Array, "B T V"],
    mask: Shaped[Array, "B T"],
    blank: int = 0,
    *,
    beams: int = 16,
    language: Automaton | None = None,
    weight: float | Float[Array, ""] = 0.5,
    bonus: float | Float[Array, ""] = 0.0,
) -> Found:
    """Prefix beam search.

    Args:
      language: over the vocabulary; what it says of the blank counts for nothing.
      weight: of its log-probability, in nats a nat of the sound's.
      bonus: nats for each letter, against the language model's liking for short texts.
    """
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    row = functools.partial(
        _row, blank=blank, beams=beams, language=language, weight=weight, bonus=bonus
    )
    return jax.vmap(row)(log_probs, mask.astype(bool))


def _row(
    log_probs: Array,
    mask: Array,
    blank: int,
    beams: int,
    language: Automaton | None,
    weight: float | Array,
    bonus: float | Array,
) -> Found:
    length = len(log_probs)
    nothing = jnp.full(beams, NEVER)
    start = 0 if language is None else language.start
    state = _Beams(
        text=jnp.full((beams, length), blank),
        length=jnp.zeros(beams, jnp.int32),
        blank=nothing.at[0].set(0.0),
        letter=nothing,
        state=jnp.full(beams, start, jnp.int32),
        language=jnp.zeros(beams),
    )

    def step(state: _Beams, frame: tuple[Array, Array]) -> tuple[_Beams, None]:
        probs, there = frame
        heard = _heard(state, probs, blank, language, weight, bonus)
        return jax.tree.map(lambda new, old: jnp.where(there, new, old), heard, state), None

    state, _ = jax.lax.scan(step, state, (log_probs, mask))
    sound = jnp.logaddexp(state.blank, state.letter)
    said = state.language
    if language is not None:
        said = said + jnp.maximum(jnp.asarray(language.end)[state.state], NEVER)
    score = _score(sound, said, state.length, weight, bonus)
    order = jnp.argsort(-score, stable=True)
    letters = jnp.arange(length)[None] < state.length[:, None]
    return Found(state.text[order], letters[order], sound[order], said[order], score[order])


def _score(
    sound: Array, said: Array, length: Array, weight: float | Array, bonus: float | Array
) -> Array:
    """What beams are ordered by; what the sound rules out stays impossible."""
    score = sound + weight * said + bonus * length
    return jnp.where(sound > NEVER / 2, score, NEVER)


def _heard(
    state: _Beams,
    probs: Array,
    blank: int,
    language: Automaton | None,
    weight: float | Array,
    bonus: float | Array,
) -> _Beams:
    """The best beams after one more frame."""
    beams, length = state.text.shape
    vocabulary = len(probs)
    both = jnp.logaddexp(state.blank, state.letter)
    last = jnp.take_along_axis(state.text, jnp.maximum(state.length - 1, 0)[:, None], 1)[:, 0]
    empty = state.length == 0

    # A beam waits: a blank, or its last letter goes on.
    stay_blank = both + probs[blank]
    stay_letter = jnp.where(empty, NEVER, state.letter + probs[last])

    # A beam grows by a letter; by its last one only from behind a blank.
    letters = jnp.arange(vocabulary)[None]
    again = (letters == last[:, None]) & ~empty[:, None]
    grown = jnp.where(again, state.blank[:, None], both[:, None]) + probs[None]  # [K, V]
    grown = jnp.where(letters == blank, NEVER, grown)

    # Where beam i grows into what beam j is already, the two are one.
    place = jnp.arange(length)[None]
    rests = jnp.where(place < (state.length - 1)[:, None], state.text, blank)  # without the last
    whole = jnp.where(place < state.length[:, None], state.text, blank)
    same = (whole[:, None] == rests[None]).all(-1)
    same &= state.length[:, None] + 1 == state.length[None]
    same &= (both > NEVER / 2)[None]  # [K from, K into]
    into = jnp.where(same, grown[:, last], NEVER)
    stay_letter = jnp.logaddexp(stay_letter, jax.nn.logsumexp(into, axis=0))
    taken = (same[:, :, None] & (letters[None] == last[None, :, None])).any(1)
    grown = jnp.where(taken, NEVER, grown)

    said = state.language[:, None] + jnp.zeros((1, vocabulary))
    states = jnp.broadcast_to(state.state[:, None], said.shape)
    if language is not None:
        said = said + jnp.maximum(jnp.asarray(language.scores)[state.state], NEVER)
        states = jnp.asarray(language.following)[state.state]
    stay = _score(
        jnp.logaddexp(stay_blank, stay_letter), state.language, state.length, weight, bonus
    )
    grow = _score(grown, said, state.length[:, None] + 1, weight, bonus)
    _, best = jax.lax.top_k(jnp.concatenate([stay, grow.reshape(-1)]), beams)

    waits = best < beams
    source = jnp.where(waits, best, (best - beams) // vocabulary)
    letter = jnp.where(waits, 0, (best - beams) % vocabulary)
    text = state.text[source]
    at_end = place == state.length[source][:, None]
    text = jnp.where(at_end & ~waits[:, None], letter[:, None], text)
    return _Beams(
        text=text,
        length=state.length[source] + ~waits,
        blank=jnp.where(waits, stay_blank[source], NEVER),
        letter=jnp.where(waits, stay_letter[source], grown[source, letter]),
        state=jnp.where(waits, state.state[source], states[source, letter]),
        language=jnp.where(waits, state.language[source], said[source, letter]),
    )
