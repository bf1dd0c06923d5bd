"""Models of the house that listen and answer: recognisers and replies for streaming/.

    loaded = mmjax.load("whisper-tiny.en")
    listener = Listener(recogniser(loaded))
    conversation = Conversation(by_chat(Chat(mmjax.load("runs/vlm"))))

Letters: T samples, L tokens or frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.models import wav2vec2
from mmjax.models import whisper as whisper_models
from mmjax.processors.inference import Inference
from mmjax.run.chat import Chat
from mmjax.streaming import ctc
from mmjax.streaming.activity import RATE
from mmjax.streaming.conversation import Reply, Turn
from mmjax.streaming.recognition import Recogniser, Window, Word

TOKENS = 160  # of a window at most


def recogniser(loaded: Inference) -> Recogniser:
    """The recogniser that a model is.

    Raises:
      ConfigError: a model that does not hear words.
    """
    if isinstance(loaded.config, whisper_models.Config):
        return Whisper(loaded)
    if isinstance(loaded.config, wav2vec2.Config) and loaded.config.letters:
        return letters(loaded)
    raise ConfigError(
        f"a {type(loaded.model).__module__.rsplit('.', 1)[-1]} hears no words: give a Whisper, or "
        "a wav2vec 2.0 with letters"
    )


class Whisper:
    """Greedy, without times of its own: the words are spread over the window by their letters."""

    def __init__(self, loaded: Inference) -> None:
        self._processor = loaded.processor
        self._rules = loaded.processor.decoding
        model = loaded.model
        self._generator = Generator(model, {"params": loaded.variables["params"]})
        self._encode = jax.jit(lambda v, x: model.apply(v, x, method="encode_audio"))

    def __call__(self, window: Window) -> list[Word]:
        rules = self._rules
        features = self._processor([window.samples]).features
        context = self._encode(self._generator.variables, jnp.asarray(features))
        options = Options(
            max_new_tokens=TOKENS, end_ids=(rules.end,), padding_id=rules.end,
            suppressed=(*rules.suppressed, *range(rules.no_timestamps, rules.no_timestamps + 1502)),
            suppressed_first=rules.suppressed_first,
        )  # fmt: skip
        prompt = np.array([rules.prompt("en")])
        said = self._generator(dict(inputs=prompt, context=context), options)
        tokens = said.tokens[0, 0, : said.lengths[0, 0]]
        texts = self._processor.tokenizer.decode(tokens).split()
        letters = np.cumsum([0, *(len(text) + 1 for text in texts)])
        times = letters / max(letters[-1], 1) * len(window.samples) / RATE
        return [Word(*row) for row in zip(texts, times[:-1].tolist(), times[1:].tolist())]


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
