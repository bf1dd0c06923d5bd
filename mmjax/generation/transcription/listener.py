"""A Whisper that writes down windows of sound, many side by side.

    listener = Listener(loaded.model, loaded.variables, loaded.processor)
    heard = listener.hear(samples, Options(words=True))  # at most 30 seconds, on its own
    heard.text, heard.tokens, heard.words

* `encode` -> `languages`, `write` -> `align` are the steps; long recordings are long_form.py's.
* Windows are computed in batches of 1, 2, 4, 8 ... rows, prompts padded on the left to a few
  lengths: few programs. A window's random numbers come from its own seed: batch mates change
  nothing.

Letters: B windows, T frames, M mel bins, C encoded frames, S samples.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.generation.generate import bucket
from mmjax.generation.options import Options as Generation
from mmjax.generation.transcription import alignment, programs, segments, timing
from mmjax.generation.transcription.options import Options
from mmjax.generation.transcription.rules import Timestamps
from mmjax.generation.transcription.transcript import Word
from mmjax.generation.transcription.words import Spelling
from mmjax.layers.cache import KeyValues
from mmjax.layers.placement import on_one_cpu
from mmjax.layers.stack import layers_apart
from mmjax.processors import speech
from mmjax.typing import Float

PROMPT = 4  # tokens of a prompt without a text before it


class Draft(NamedTuple):
    """What was written down of a window at one temperature."""

    tokens: tuple[int, ...]  # without the end
    text: str  # without times
    log_prob: float  # mean of a token, the end included
    compression: float  # how many times shorter zlib makes the text
    no_speech: float  # probability that the window holds none
    temperature: float


class Heard(NamedTuple):
    """A window on its own."""

    text: str
    tokens: tuple[int, ...]  # times included, without the end
    words: tuple[Word, ...]  # seconds from its start; empty where they were not asked for
    draft: Draft
    language: str
    silent: bool  # no speech: text, tokens and words are empty


class Listener:
    """A Whisper and what it takes to read what it says.

    Args:
      variables: its parameters, {"params": ...}.
      processor: a Whisper's, with its tokenizer.

    Raises:
      ConfigError: a model or a processor that is no Whisper's, or has no tokenizer.
    """

    def __init__(
        self, model: nn.Module, variables: Mapping[str, Any], processor: speech.Whisper
    ) -> None:
        if not hasattr(processor, "decoding") or not hasattr(model, "encode_audio"):
            name = type(model).__module__.rpartition(".")[2]
            raise ConfigError(f"a {name} writes nothing down: give a Whisper")
        if processor.tokenizer is None:
            raise ConfigError("the Whisper's folder has no tokenizer.json: nobody can read it")
        self.model = model
        params = nn.unbox(variables["params"])
        if on_one_cpu():
            params = layers_apart(params)
        self.variables = {"params": params}
        self.mel = processor.mel
        self.decoding = processor.decoding
        self.spelling = Spelling(processor.tokenizer, processor.decoding.end)
        stack = model.config.decoder
        named = processor.decoding.alignment_heads
        self._heads = alignment.heads_of(named, stack.layers, stack.heads)

    @property
    def frames(self) -> int:
        """T of a window."""
        return self.model.config.frames

    def encode(self, features: Float[np.ndarray, "B T M"]) -> KeyValues:
        """What the decoder reads of some windows, [layers, B', C, N, H]; rows behind B are copies.

        Args:
          features: log-mel frames of whole windows.
        """
        rows = np.minimum(np.arange(_size(len(features))), len(features) - 1)
        return programs.encode(self.model, self.variables, features[rows])

    def languages(self, context: KeyValues) -> list[tuple[str, float]]:
        """The likeliest language of each window, and its probability; of the rows of `encode`.

        A model for English alone says "en".
        """
        known = self.decoding.languages
        if not known:
            return [("en", 1.0)] * context.key.shape[1]
        start = jnp.full((context.key.shape[1], 1), self.decoding.start)
        logits = programs.first_logits(self.model, self.variables, context, start)
        logits = np.asarray(logits)[:, list(known.values())]
        odds = np.exp(logits - logits.max(1, keepdims=True))
        odds = odds / odds.sum(1, keepdims=True)
        names = [name.strip("<|>") for name in known]
        return [(names[row.argmax()], float(row.max())) for row in odds]

    def prompt(
        self, options: Options, language: str, before: Sequence[int] = ()
    ) -> tuple[int, ...]:
        """The tokens that a window's text goes on from.

        Args:
          before: tokens of the text before it; the last ones count.
        """
        rules = self.decoding
        start = rules.prompt(language, options.task, timestamps=options.timestamps)
        room = rules.longest // 2 - 1
        if not before or room < 1:
            return tuple(start)
        return (rules.previous, *tuple(before)[-room:], *start)

    def write(
        self,
        context: KeyValues,
        prompts: Sequence[Sequence[int]],
        options: Options,
        seeds: Sequence[int] | None = None,
    ) -> list[Draft]:
        """The texts of windows, each at the first temperature that does.

        Args:
          context: of `encode`.
          prompts: of each window.
          seeds: of each window's random numbers; None: all 0.
        """
        seeds = [0] * len(prompts) if seeds is None else seeds
        attempts: list[list[Draft]] = [[] for _ in prompts]
        left = list(range(len(prompts)))
        for temperature in options.temperatures:
            chosen = _rows(context, left)
            some = [tuple(prompts[row]) for row in left]
            drafts = self.draft(chosen, some, options, temperature, [seeds[row] for row in left])
            for row, draft in zip(left, drafts, strict=True):
                attempts[row].append(draft)
            left = [row for row in left if _fails(attempts[row][-1], options)]
            if not left:
                break
        return [
            _best(attempts[row], options) if row in left else attempts[row][-1]
            for row in range(len(prompts))
        ]

    def draft(
        self,
        context: KeyValues,
        prompts: Sequence[tuple[int, ...]],
        options: Options,
        temperature: float,
        seeds: Sequence[int],
    ) -> list[Draft]:
        """The texts of windows at one temperature."""
        rules = self.decoding
        size = context.key.shape[1]
        limit = rules.longest
        most = max(map(len, prompts))
        length = PROMPT if most <= PROMPT else max(most, min(bucket(most), limit // 2 + 4))
        new = min(options.max_new_tokens, limit - length)
        rows = np.minimum(np.arange(size), len(prompts) - 1)
        ids = np.zeros((len(prompts), length), np.int32)
        mask = np.zeros((len(prompts), length), bool)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt) :] = prompt
            mask[row, length - len(prompt) :] = True
        # <|startoftranscript|> is as far from the end in all of them
        start = len(self.prompt(options, self._any_language(options)))
        places = np.tile([length - start, length - 1], (size, 1))
        generation = self._generation(options, temperature, new)
        keys = jax.vmap(jax.random.key)(jnp.asarray(np.asarray(seeds, np.uint32)[rows]))
        said = programs.write(
            self.model, generation, rules.no_speech, self.variables, context, ids[rows], mask[rows],
            places, keys,
        )  # fmt: skip
        out = []
        for row in range(len(prompts)):
            tokens = [int(token) for token in said.tokens[row, : said.lengths[row]]]
            ended = bool(tokens) and tokens[-1] == rules.end
            tokens = tokens[:-1] if ended else tokens
            text = self.spelling.text(tokens).strip()
            total = float(said.log_probs[row].sum())
            silence = float(said.no_speech[row])
            mean = total / (len(tokens) + 1)
            out.append(Draft(tuple(tokens), text, mean, _compression(text), silence, temperature))
        return out

    def align(
        self, context: KeyValues, row: int, draft: Draft, language: str, options: Options,
        frames: int,
    ) -> timing.Timing:  # fmt: skip
        """The words of a window's text, in seconds from its start.

        Args:
          row: of the context.
          frames: of sound in the window.
        """
        end = self.decoding.end
        text = [token for token in draft.tokens if token < end]
        words = self.spelling.words(text, language)
        if not words:
            return timing.Timing([], 0.0)
        plain = dataclasses.replace(options, timestamps=False)
        prompt = self.prompt(plain, language)
        tokens = [*prompt, *text, end]
        length = bucket(len(tokens))
        ids = np.full((1, length), end, np.int32)
        ids[0, : len(tokens)] = tokens
        real = (np.arange(length) < len(tokens))[None].astype(np.int32)
        arguments = (self.variables, _rows(context, [row]), ids, real)
        weights, probabilities = alignment.attended(self.model, self._heads, end, *arguments)
        steps = max(1, frames // segments.STEP)
        weights = np.asarray(weights)[:, : len(tokens), :steps]
        aligned = alignment.align(weights, np.asarray(probabilities)[: len(tokens)], len(prompt))
        return timing.timing(words, aligned)

    def hear(
        self,
        samples: Float[np.ndarray, " S"],
        options: Options | None = None,
        before: Sequence[int] = (),
    ) -> Heard:
        """A window on its own: at most 30 seconds of one channel at the mel's rate.

        Args:
          before: tokens of the text before it.
        """
        options = options or Options()
        found = self.mel.batch([samples])
        context = self.encode(found.features)
        language = options.language or self.languages(context)[0][0]
        prompt = self.prompt(options, language, before)
        (draft,) = self.write(context, [prompt], options, [options.seed])
        if silent(draft, options) or too_quiet(samples, options):
            return Heard("", (), (), draft, language, True)
        words: tuple[Word, ...] = ()
        if options.words:
            frames = max(1, round(len(samples) / self.mel.hop))
            found = self.align(context, 0, draft, language, options, frames)
            words = timing.finished(timing.Placed([one for one in found.words if one.text], 0, 0))
        return Heard(draft.text, draft.tokens, words, draft, language, False)

    def _any_language(self, options: Options) -> str:
        """All prompts of a model have one length, whatever is spoken."""
        return options.language or next(iter(self.decoding.languages), "")

    def _generation(self, options: Options, temperature: float, new: int) -> Generation:
        rules = self.decoding
        processors: tuple[Timestamps, ...] = ()
        if options.timestamps:
            latest = options.latest_start
            steps = None if latest is None else round(latest * alignment.STEPS)
            one = Timestamps(rules.first_time, rules.end, rules.no_timestamps, steps)
            processors = (one,)
        never = rules.suppressed if options.suppressed is None else options.suppressed
        return Generation(
            max_new_tokens=new,
            end_ids=(rules.end,),
            padding_id=rules.end,
            temperature=temperature,
            suppressed=tuple(never),
            suppressed_first=rules.suppressed_first,
            renormalised=True,
            beams=options.beams if temperature == 0 else 1,
            processors=processors,
        )


def silent(draft: Draft, options: Options) -> bool:
    """Whether a window holds no speech, as the model has it."""
    if options.no_speech is None or draft.no_speech <= options.no_speech:
        return False
    return options.log_prob is None or draft.log_prob <= options.log_prob


def too_quiet(samples: Float[np.ndarray, " S"], options: Options) -> bool:
    """Whether a window has no sample that can be heard."""
    return float(np.abs(samples).max(initial=0.0)) <= options.silence


def _fails(draft: Draft, options: Options) -> bool:
    """Whether the next temperature is to be tried."""
    repeats = options.compression is not None and draft.compression > options.compression
    doubtful = options.log_prob is not None and draft.log_prob < options.log_prob
    quiet = options.no_speech is not None and draft.no_speech > options.no_speech
    return (repeats or doubtful) and not (doubtful and quiet)


def _best(drafts: Sequence[Draft], options: Options) -> Draft:
    """Of drafts that all fail, the likeliest that does not repeat itself; as of the last
    temperature, so that it is no prompt."""
    fresh = [
        one for one in drafts
        if options.compression is not None and one.compression <= options.compression
    ]  # fmt: skip
    best = max(fresh or drafts, key=lambda one: one.log_prob)
    return best._replace(temperature=drafts[-1].temperature)


def _compression(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _size(rows: int) -> int:
    """The number of rows that are computed."""
    return 1 << (rows - 1).bit_length()


def _rows(context: KeyValues, rows: Sequence[int]) -> KeyValues:
    """Some windows of a context; the last one again up to a size that is computed."""
    have = context.key.shape[1]
    index = [rows[min(i, len(rows) - 1)] for i in range(_size(len(rows)))]
    if index == list(range(have)):
        return context
    return jax.tree.map(lambda x: x[:, np.array(index)], context)
