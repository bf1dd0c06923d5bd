"""A conversation with a model, in words, pictures, sounds and videos.

    chat = Chat(mmjax.load("llava-hf/llava-1.5-7b-hf"))  # or mmjax.restore("runs/vlm")
    print(chat.ask("What is this?", images=["cat.png"]))
    print(chat.ask("And what is said here?", audio=["hello.wav"]))  # and video=["cat.mp4"]
    for piece in chat.stream("And what colour is it?"):
        print(piece, end="", flush=True)

* The model's processor writes the conversation down (`chat`: a checkpoint's chat template, or the
  roles of processors/dialogue.py), with things of any sense in any turn.
* The cache is kept between turns (generation/session.py): a new turn costs its own tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.generation.generate import Generator
from mmjax.generation.options import Options
from mmjax.generation.session import Session
from mmjax.layers.senses import SENSES
from mmjax.processors.inference import Inference

SLOTS = 2048  # tokens of a conversation, where the model's context is not shorter


class Chat:
    """A conversation of several turns.

    Args:
      model: a language model with or without eyes and ears, loaded or restored, whose processor
        can `chat`.
      options: of the answers; None: greedy, up to the end that the processor names.
      system: what the model is told first; "": nothing.
      slots: tokens of the whole conversation at most.

    Raises:
      ConfigError: a model that does not talk.
    """

    def __init__(
        self,
        model: Inference,
        options: Options | None = None,
        *,
        system: str = "",
        slots: int = SLOTS,
    ) -> None:
        self._processor = model.processor
        if not hasattr(self._processor, "chat") or not hasattr(model.model, "extend"):
            raise ConfigError(
                f"a {type(model.model).__module__.rsplit('.', 1)[-1]} does not talk: give a "
                "language model whose processor writes conversations down"
            )
        self._options = options or Options(end_ids=tuple(self._processor.end_ids))
        self._generator = Generator(model.model, {"params": model.variables["params"]})
        self._session = Session(self._generator, slots)
        self.messages: list[dict[str, Any]] = []  # the conversation up to now
        if system:
            self.messages.append({"role": "system", "content": system})

    def ask(
        self,
        text: str,
        images: Sequence[Any] = (),
        seed: int = 0,
        *,
        audio: Sequence[Any] = (),
        video: Sequence[Any] = (),
    ) -> str:
        """The whole answer; arguments as of `stream`."""
        return "".join(self.stream(text, images, seed, audio=audio, video=video))

    def stream(
        self,
        text: str,
        images: Sequence[Any] = (),
        seed: int = 0,
        *,
        audio: Sequence[Any] = (),
        video: Sequence[Any] = (),
    ) -> Iterator[str]:
        """The answer piece by piece, as it is made.

        Args:
          images: pictures that stand before the text: paths, bytes, Pillow images, arrays.
          seed: of the random numbers, where the options ask for any.
          audio: sounds that stand behind the pictures: paths, bytes, samples at 16 kHz.
          video: videos that stand behind the sounds: paths, bytes, frames [T, H, W, 3].

        Raises:
          ConfigError: a conversation that has become too long.
          CorruptExample, DataError: things that the model cannot take.
          ChatTemplateError: one that the checkpoint's template refuses.
        """
        parts = [{"type": "image", "image": image} for image in images]
        parts += [{"type": "audio", "audio": clip} for clip in audio]
        parts += [{"type": "video", "video": clip} for clip in video]
        content = [*parts, {"type": "text", "text": text}] if parts else text
        asked = [*self.messages, {"role": "user", "content": content}]
        self._read(asked)
        said: list[int] = []
        shown = ""
        for token in self._session.say(self._options, seed):
            if token not in self._options.end_ids:
                said.append(token)
            whole = self._processor.decode(said)
            if not whole.endswith("\N{REPLACEMENT CHARACTER}"):  # half a letter waits for the rest
                yield whole[len(shown) :]
                shown = whole
        # An answer that was broken off is forgotten, with its question.
        self.messages = [*asked, {"role": "assistant", "content": self._processor.decode(said)}]

    def _read(self, messages: Sequence[dict[str, Any]]) -> None:
        batch = self._processor.chat([messages], answer=True)
        mask = np.asarray(batch["mask"][0]).astype(bool)
        ids = np.asarray(batch["inputs"][0])[mask]
        prefix = self._prefix(messages, len(ids))
        senses = {name: jnp.asarray(batch[name]) for name in SENSES if name in batch}
        if not senses:
            self._session.read(ids, prefix=prefix)
            return
        embeddings = self._generator.model.apply(
            self._generator.variables, jnp.asarray(ids)[None], **senses, method="embed"
        )
        self._session.read(ids, embeddings[0], prefix)

    def _prefix(self, messages: Sequence[dict[str, Any]], tokens: int) -> int:
        """Tokens that see each other both ways: what stands before the first answer."""
        if not getattr(self._generator.model.config, "prefix_lm", False):
            return 0
        roles = [message["role"] for message in messages]
        if "assistant" not in roles:
            return tokens
        first = self._processor.chat([messages[: roles.index("assistant")]], answer=True)
        return int(np.asarray(first["mask"]).sum())
