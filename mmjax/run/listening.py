"""Models of the house that listen and answer: recognisers and replies for streaming/.

    loaded = mmjax.load("whisper-tiny.en")
    listener = Listener(recogniser(loaded))
    conversation = Conversation(by_chat(Chat(mmjax.load("runs/vlm"))))

Letters: T samples, L tokens or frames, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.config import ConfigError
from mmjax.generation.transcription.options import Options
from mmjax.models import wav2vec2
from mmjax.models import whisper as whisper_models
from mmjax.processors.inference import Inference
from mmjax.run.chat import Chat
from mmjax.run.transcribe import Transcriber
from mmjax.streaming import ctc
from mmjax.streaming.activity import RATE
from mmjax.streaming.conversation import Reply, Turn
from mmjax.streaming.recognition import Recogniser, Window, Word


def recogniser(loaded: Inference, language: str = "") -> Recogniser:
    """The recogniser that a model is.

    Args:
      language: that is spoken, for a Whisper of many languages; "": each window's likeliest.

    Raises:
      ConfigError: a model that does not hear words.
    """
    if isinstance(loaded.config, whisper_models.Config):
        return Whisper(loaded, language)
    if isinstance(loaded.config, wav2vec2.Config) and loaded.config.letters:
        return letters(loaded)
    raise ConfigError(
        f"a {type(loaded.model).__module__.rsplit('.', 1)[-1]} hears no words: give a Whisper, or "
        "a wav2vec 2.0 with letters"
    )


class Whisper:
    """A Whisper that hears windows of up to 30 seconds, words with the times of its attention.

    Args:
      language: "en", "fr"; "": each window's likeliest.
      options: of the transcription; by default the likeliest tokens, once: a draw at a higher
        temperature says something else each time, and would agree with nothing.
    """

    def __init__(
        self, loaded: Inference, language: str = "", options: Options | None = None
    ) -> None:
        self._listener = Transcriber(loaded).listener
        options = options or Options(temperatures=(0.0,), silence=1e-3)
        self._options = dataclasses.replace(options, language=language, words=True)

    def __call__(self, window: Window) -> list[Word]:
        before = self._listener.spelling.encode(" ".join(window.before)) if window.before else ()
        heard = self._listener.hear(window.samples, self._options, before)
        return [Word(word.text.strip(), word.start, word.end) for word in heard.words]


def letters(loaded: Inference) -> Callable[[Window], list[Word]]:
    """A wav2vec 2.0 or HuBERT with a CTC head. Its attention looks both ways, so each window is
    computed whole; lengths are rounded up to a second, so that few programs are compiled."""
    config = loaded.config
    model = loaded.model
    processor = loaded.processor
    run = jax.jit(lambda v, x, m: model.apply(v, x, m).logits)
    stride = int(np.prod([stage.stride for stage in config.front]))

    def logits(samples: np.ndarray) -> np.ndarray:
        prepared = processor([samples])
        size = -(-len(samples) // RATE) * RATE
        padded = np.pad(prepared.samples, ((0, 0), (0, size - len(samples))))
        mask = None if prepared.mask is None else np.arange(size)[None] < len(samples)
        found = run(loaded.variables, padded, mask)[0]
        return np.asarray(found)[: max(0, wav2vec2.frames(config, len(samples)))]

    return ctc.recogniser(logits, processor.tokenizer, stride / RATE)


def by_chat(chat: Chat, system: str = "") -> Reply:
    """A language model's replies. It is told the turns that are kept, so it may talk for ever."""

    def reply(turns: Sequence[Turn]) -> str:
        past = [dict(role=turn.role, content=turn.text) for turn in turns[:-1]]
        while past and past[0]["role"] != "user":  # its question is forgotten
            past.pop(0)
        first: list[dict[str, Any]] = [dict(role="system", content=system)] if system else []
        chat.messages = [*first, *past]
        return chat.ask(turns[-1].text)

    return reply
