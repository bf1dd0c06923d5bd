"""What prompts with pictures or sounds have in common: texts, ids, answers, conversations.

* A thing's token of a text becomes as many as the model has vectors for it, another number for each
  thing where they differ.
* A conversation is written by the checkpoint's chat template (chat_template.py); a part of a
  message, {"type": "image", "image": ...} or {"type": "audio", "audio": ...}, holds its thing.

Letters: B batch, L tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.data.source import DataError
from mmjax.processors.checkpoints import chat_template, checkpoint
from mmjax.processors.checkpoints.chat_template import ChatTemplate, Message
from mmjax.tokenizers import pretrained


@dataclasses.dataclass(frozen=True)
class Processor(checkpoint.Processor):
    """Prepares prompts; called with the things and the texts."""

    template: ChatTemplate | None = None  # how a conversation is written
    end: str = ""  # "<eos>": behind an answer that is learned
    kind: ClassVar[str]  # of the things: "image"
    thing: ClassVar[str]  # one of them, for messages: "picture"
    keys: ClassVar[tuple[str, ...]]  # of a message's part that hold the thing

    def chat(
        self,
        conversations: Sequence[Message] | Sequence[Sequence[Message]],
        *,
        answer: bool = True,
        **variables: Any,
    ) -> dict[str, np.ndarray]:
        """The batch of one or several conversations; a part of a message holds its thing.

        Args:
          answer: the model's answer is next.
          variables: more that the chat template reads.

        Raises:
          ChatTemplateError: no template, a broken one, or one that refuses the conversation.
          DataError: things that are more or fewer than the template puts down.
        """
        if self.template is None:
            raise chat_template.ChatTemplateError(
                "the checkpoint has no chat template: write the prompt yourself, or give it one"
            )
        if isinstance(conversations[0], Mapping):
            conversations = [conversations]
        texts = [self.template(one, answer=answer, **variables) for one in conversations]
        things = [self._things_of(one) for one in conversations]
        start = self.template.tokens.get("bos_token")
        written = start is not None and texts[0].startswith(start)
        return self(things if any(things) else None, texts, special=not written)

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer, as far as the tokenizer's settings say."""
        names = {self.end}
        if self.template is not None:
            names.add(self.template.tokens.get("eos_token", ""))
        ids = [self._tokens.backend.token_to_id(name) for name in sorted(names - {""})]
        return tuple(number for number in ids if number is not None)

    def decode(self, ids: Sequence[int]) -> str:
        """The words of an answer."""
        return self._tokens.decode(ids)

    @property
    def _tokens(self) -> checkpoint.Tokens:
        if self.tokens is None:
            raise DataError("the checkpoint's folder has no tokenizer")
        return self.tokens

    def _written(self, number: int) -> str:
        """A thing's token as it stands in a text.

        Raises:
          DataError: the tokenizer does not know it.
        """
        name = self._tokens.backend.id_to_token(number)
        if name is None:
            raise DataError(
                f"the {self.kind} token, id {number}, is missing from the tokenizer's vocabulary "
                f"of {self._tokens.backend.get_vocab_size()}: add it there, or set "
                f"{self.kind}_id"
            )
        return name

    def _batch(
        self,
        texts: Sequence[str],
        answers: str | Sequence[str] | None = None,
        special: bool = True,
    ) -> dict[str, np.ndarray]:
        """Expanded texts as "inputs" and "mask" [B, L], and "prefix" with answers behind them."""
        ids = [self._ids(one, special) for one in texts]
        batch = {}
        if answers is not None:
            said = [answers] if isinstance(answers, str) else answers
            ids, read = self._answered(ids, said)
            batch["prefix"] = self._padded(read, False)
        batch["inputs"] = self._padded(ids, self._tokens.pad).astype(np.int32)
        batch["mask"] = self._padded([[True] * len(one) for one in ids], False)
        return batch

    def _ids(self, text: str, special: bool) -> list[int]:
        if special:
            return self._tokens.encode(text)
        return self._tokens.backend.encode(text, add_special_tokens=False).ids

    def _answered(
        self, prompts: Sequence[list[int]], answers: Sequence[str]
    ) -> tuple[list[list[int]], list[list[bool]]]:
        """Prompts with the answers behind them, and which of their tokens are the prompt's."""
        if len(prompts) != len(answers):
            raise DataError(f"{len(prompts)} prompts have {len(answers)} answers")
        ids = []
        read = []
        for prompt, answer in zip(prompts, answers, strict=True):
            said = self._ids(f"{answer}{self.end}", False)
            ids.append([*prompt, *said])
            read.append([True] * len(prompt) + [False] * len(said))
        return ids, read

    def _padded(self, rows: Sequence[Any], fill: int) -> np.ndarray:
        length = max(map(len, rows))
        out = np.full((len(rows), length), fill)
        for row, values in enumerate(rows):
            first = length - len(values) if self._tokens.side == "left" else 0
            out[row, first : first + len(values)] = values
        return out

    def _things_of(self, conversation: Sequence[Message]) -> list[Any]:
        """Those of a conversation, in order.

        Raises:
          DataError: a part that is no text and holds none, or another kind of thing.
        """
        things = []
        for message in conversation:
            content = message.get("content")
            for part in content if isinstance(content, list | tuple) else ():
                kind = part.get("type")
                if kind == self.kind:
                    things.append(self._held(part, message.get("role")))
                elif kind != "text":
                    raise DataError(
                        f"a part of the {message.get('role')}'s message is of type {kind!r}: the "
                        f"model reads text and {self.thing}s"
                    )
        return things

    def _held(self, part: Mapping[str, Any], role: Any) -> Any:
        for key in self.keys:
            if part.get(key) is not None:
                return part[key]
        names = " or ".join(map(repr, self.keys))
        raise DataError(
            f"a part of the {role}'s message is an {self.kind}, and holds none: give it as {names}"
        )

    def _by_row(self, things: Any, counts: Sequence[int], token: str) -> list[list[Any]]:
        """The things of each text, of which `counts` are asked for.

        Raises:
          DataError: more of them than tokens, or fewer.
        """
        if things is None:
            given: list[Any] = []
        elif isinstance(things, list | tuple):
            given = list(things)
        else:
            given = [things]
        if given and isinstance(given[0], list | tuple):
            if len(given) != len(counts):
                raise DataError(f"{len(counts)} texts have {len(given)} lists of {self.thing}s")
            for row, (own, count) in enumerate(zip(given, counts, strict=True)):
                if len(own) != count:
                    raise DataError(f"text {row} has {count} {token} and {len(own)} {self.thing}s")
            return [list(own) for own in given]
        if len(given) != sum(counts):
            raise DataError(
                f"the texts have {sum(counts)} {token} and {len(given)} {self.thing}s: each "
                f"{self.thing} has one"
            )
        ends = np.cumsum(counts)
        return [given[end - count : end] for end, count in zip(ends, counts, strict=True)]


def expanded(text: str, token: str, counts: Sequence[int]) -> str:
    """A text whose tokens stand as often as each thing has vectors."""
    words = text.split(token)
    between = [token * count for count in counts]
    return "".join(a + b for a, b in zip(words, [*between, ""], strict=True))


def template_of(folder: Path, read: checkpoint.Processor) -> ChatTemplate | None:
    """The chat template of a checkpoint's folder; None where it has none."""
    return chat_template.found(folder, pretrained.settings_of(folder), read.files)


def special_token(folder: Path, key: str) -> str:
    """Of a tokenizer's settings: "bos_token"; "" where they do not say."""
    token = pretrained.settings_of(folder).get(key) or ""
    return token["content"] if isinstance(token, Mapping) else token
